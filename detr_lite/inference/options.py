"""Settings that trade: exact digits, or time to start, for speed or memory.

What makes a model faster and leaves its answer alone is on by default and
needs no setting.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import nn

from detr_lite.errors import ConfigError
from detr_lite.models import default_chunk, memory_format

PRECISIONS = {
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def device_named(name: str | None = None) -> torch.device:
    """Return the device of a name, such as "cpu", "cuda:1" or "mps".

    None: a GPU if there is one, CUDA's before Apple's, else the CPU.
    ConfigError if there is no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name is None:
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"{name!r} is no device; name cpu, cuda, cuda:1, ... or mps."
        ) from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}
    if (device.index or 0) >= there.get(device.type, 0):
        raise ConfigError(
            f"There is no device {name} here; leave the device out, or name "
            "cpu."
        )
    return device


def check_precision(precision: str) -> None:
    """Refuse what is no precision."""
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision must be {', '.join(PRECISIONS)}, not {precision!r}."
        )


@dataclass(frozen=True)
class Speed:
    """How a trained model computes; see tuned.

    Attributes:
        precision: "float32", or half the memory for activations, fast only
            on a processor made for it: "bf16", 2 to 3 digits, or "fp16", 3
            to 4, for GPUs without bf16.
        compile: let torch.compile fuse the backbone and the transformer;
            needs a C++ compiler, and minutes for each new picture size.
        channels_last: keep the channels of a pixel side by side in memory,
            where the model allows it; see memory_format.
        chunk: masks made at a time; None leaves it at what the model is
            built with, see default_chunk.
    """

    precision: str = "float32"
    compile: bool = False
    channels_last: bool = True
    chunk: int | None = None

    def __post_init__(self):
        check_precision(self.precision)
        if self.chunk is not None and self.chunk < 1:
            raise ConfigError(
                f"chunk must be at least 1 or None, not {self.chunk}."
            )


def tuned(model: nn.Module, speed: Speed) -> nn.Module:
    """Return the model, which from now on computes as the settings say.

    model: a PanopticModel or DetectionModel for predictions; training has
        settings of its own, see Engine.  Its weights stay float32.
    """
    for handle in vars(model).pop("speed_hooks", ()):
        handle.remove()
    order = torch.contiguous_format
    if speed.channels_last:
        order = memory_format(model.config)
    model.to(memory_format=order)
    if model.config.masks:
        chunk = speed.chunk or default_chunk(model.config)
        model.mask_head.chunk = chunk
    for part in (model.detr.backbone[0].body, model.detr.transformer):
        part._compiled_call_impl = None  # what Module.compile sets
        if speed.compile:
            part.compile()
    if speed.precision != "float32":
        lower = _Lower(PRECISIONS[speed.precision])
        model.speed_hooks = (
            model.register_forward_pre_hook(lower.enter),
            model.register_forward_hook(lower.leave, always_call=True),
        )
    return model


class _Lower:
    """Runs a model's forward in a lower precision; answers are float32."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.contexts: list[torch.autocast] = []

    def enter(self, _, inputs) -> None:
        context = torch.autocast(inputs[0].device.type, self.dtype)
        self.contexts.append(context)
        context.__enter__()

    def leave(self, _, inputs, output):
        self.contexts.pop().__exit__(None, None, None)
        return None if output is None else _float32(output)  # it failed


def _float32(output):
    """Return an output with its own tensors, and its detection's, float32.

    But for the pyramid, which nothing after the model reads.
    """
    changes = {}
    for field in fields(output):
        value = getattr(output, field.name)
        if field.name == "detection":
            changes[field.name] = _float32(value)
        elif torch.is_tensor(value) and value.is_floating_point():
            changes[field.name] = value.float()
    return replace(output, **changes)
