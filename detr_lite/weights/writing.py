"""Writing weights: whole models, in our layout or another, and backbones."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from detr_lite.errors import WeightsError
from detr_lite.files.output import staged_file
from detr_lite.models import ModelConfig
from detr_lite.weights.layouts import State, convert

FORMAT = "detr_lite 1"

# What neither the original nor transformers can do otherwise.
_FIXED = ("pool", "temperature", "cycles", "joint_softmax", "pyramid")


def save_model(
    model: nn.Module,
    path: str | Path,
    layout: str = "detr_lite",
    own_resnet: bool = False,
) -> None:
    """Write a PanopticModel or a DetectionModel.

    path: the file; a missing folder is made.
    layout: "detr_lite", with configuration and categories; or tensors alone
        for "original" or "transformers".  Those are safetensors, or, if path
        ends in .pth, torch.save's {"model": tensors}; for transformers the
        name that it looks for is model.safetensors.
    own_resnet: for transformers with its own ResNet (`ResNetConfig`), not
        one of timm.

    WeightsError if the other program has no such model, OutputError if the
    file cannot be written.
    """
    path = Path(path)
    state = model.state_dict()
    if layout == "detr_lite":
        _write(path, save(_plain(state), _metadata(model)))
        return
    _check_fixed(model.config, layout)
    state = _plain(convert(state, layout, own_resnet))
    if path.suffix == ".pth":
        write_pickle(path, {"model": state})
    else:
        # The text tells transformers that the tensors are torch's.
        _write(path, save(state, {"format": "pt"}))


def save_backbone(model: nn.Module, path: str | Path) -> None:
    """Write the ResNet of a model alone, under torchvision's names."""
    state = _plain(model.detr.backbone[0].body.state_dict())
    _write(Path(path), save(state, _metadata(model)))


def write_pickle(path: Path, content: dict) -> None:
    """Write a file as torch.save does, all of it or nothing.

    By way of memory: what torch.save raises on a full disk is no OSError.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with staged_file(path) as part:
        part.write_bytes(buffer.getvalue())


def _plain(state: State) -> State:
    """Return the tensors on the CPU, each with memory of its own."""
    return {
        name: tensor.detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }


def _metadata(model: nn.Module) -> dict[str, str]:
    config = replace(model.config, threshold=model.threshold)
    return {
        "format": FORMAT,
        "config": json.dumps(asdict(config)),
        "categories": json.dumps([asdict(c) for c in model.categories]),
    }


def _write(path: Path, content: bytes) -> None:
    """Write a safetensors file, so that equal models are equal files.

    A file begins with the header's size and the header, JSON; safetensors
    writes the texts in it in an order that changes from call to call.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    with staged_file(path) as part, part.open("wb") as file:
        file.write(content[:8])
        file.write(text.ljust(size))
        file.write(memoryview(content)[8 + size :])


def _check_fixed(config: ModelConfig, layout: str) -> None:
    usual = ModelConfig(num_classes=1)
    for name in _FIXED:
        value, wanted = getattr(config, name), getattr(usual, name)
        if value != wanted:
            raise WeightsError(
                f"A model with {name}={value} cannot be written in the "
                f"layout {layout!r}, whose models have {name}={wanted}; "
                'write it in the layout "detr_lite".'
            )
