"""Write the shipped model for the book's pages: tools/make_web_weights.py.

    python tools/make_web_weights.py           write the file
    python tools/make_web_weights.py --check   compare PQ on 512 scenes

The file is a script, as tools/web_file.py describes it; its header holds the
configuration and the classes.
Names are the parameters' own; norms have joined their convolutions.  Kind
"int8" is one float32 scale for each row and a byte for each number, and
"float16" two bytes.  Bytes are for the large matrices only, and not for the
first weights of the attention maps: they are hundreds of times as large as
their neighbors (map_gain), and a scale that both share would round the
neighbors away.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from web_file import join, load, save, split

from detr_lite.backbone import FrozenBatchNorm2d
from detr_lite.data.batch import IMAGENET_MEAN, IMAGENET_STD
from detr_lite.data.scenes import VALIDATION_COUNT, VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import PanopticModel
from detr_lite.savings.folded_norms import _pairs as norm_pairs

FILE, VARIABLE = "weights.js", "detrLiteWeights"
LARGE = 2000  # numbers from which on a matrix is rounded to bytes
FIRST = "mask_head.lay1.weight"  # stored in two: of the image, of the maps


def tensors_of(model: PanopticModel) -> dict[str, Tensor]:
    """Return the model's numbers by name, as the page computes with them."""
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    names = {module: name for name, module in model.named_modules()}
    for convolution, norm in norm_pairs(model):
        scale, shift = norm.scale_and_shift()
        name = names[convolution]
        weight = tensors[f"{name}.weight"]
        tensors[f"{name}.weight"] = weight * scale[:, None, None, None]
        tensors[f"{name}.bias"] = shift
    first = tensors.pop(FIRST)
    tensors[f"{FIRST}.image"] = first[:, : model.config.width]
    tensors[f"{FIRST}.maps"] = first[:, model.config.width :]
    return tensors


def pack(model: PanopticModel) -> bytes:
    """Return the file's header and numbers."""
    blocks = []
    for name, tensor in tensors_of(model).items():
        kind = _kind(name, tensor)
        block = _bytes(tensor.numpy(), kind)
        blocks.append((name, tensor.shape, kind, block))
    header = {
        "config": asdict(model.config),
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "classes": [asdict(c) for c in model.categories],
    }
    return join(header, blocks)


def _kind(name: str, tensor: Tensor) -> str:
    large = tensor.dim() > 1 and tensor.numel() > LARGE
    return "int8" if large and not name.endswith(".maps") else "float16"


def _bytes(numbers: np.ndarray, kind: str) -> bytes:
    if kind == "float16":
        return numbers.astype("<f2").tobytes()
    rows = numbers.reshape(len(numbers), -1)
    scale = (np.abs(rows).max(1, keepdims=True) / 127).astype("<f4")
    return scale.tobytes() + np.round(rows / scale).astype(np.int8).tobytes()


def unpack(data: bytes) -> dict[str, Tensor]:
    """Return the numbers of a file by name, as the page reads them."""
    header, numbers = split(data)
    tensors = {}
    for name, shape, kind, at in header["tensors"]:
        count = int(np.prod(shape))
        if kind == "float16":
            values = np.frombuffer(numbers, "<f2", count, at)
        else:
            scale = np.frombuffer(numbers, "<f4", shape[0], at)
            rows = np.frombuffer(numbers, np.int8, count, at + scale.nbytes)
            values = rows.reshape(shape[0], -1) * scale[:, None]
        values = values.astype(np.float32).reshape(shape)
        tensors[name] = torch.from_numpy(values)
    return tensors


@torch.no_grad()
def rounded_model() -> PanopticModel:
    """Return the shipped model with the numbers of the page's file."""
    model = load_model("scenes", device="cpu")
    tensors = unpack(load(FILE))
    parts = [tensors.pop(f"{FIRST}.{part}") for part in ("image", "maps")]
    tensors[FIRST] = torch.cat(parts, 1)
    for norm in _frozen_norms(model):  # they have joined: change nothing
        norm.weight.fill_(1)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - 1e-5)
    names = {module: name for name, module in model.named_modules()}
    for convolution, norm in norm_pairs(model):
        norm.bias.copy_(tensors.pop(f"{names[convolution]}.bias"))
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors.pop(name))
    assert not tensors
    return model


def _frozen_norms(model: nn.Module) -> Iterator[FrozenBatchNorm2d]:
    return (m for m in model.modules() if isinstance(m, FrozenBatchNorm2d))


def write() -> None:
    """Write the committed file."""
    save(FILE, VARIABLE, pack(load_model("scenes", device="cpu")))


def check() -> None:
    """Print the PQ of the shipped model and of the rounded one."""
    scenes = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    shipped = evaluate(load_model("scenes", device="cpu"), scenes)
    rounded = evaluate(rounded_model(), scenes)
    for name, result in (("shipped", shipped), ("rounded", rounded)):
        print(f"{name}: PQ {result.metrics['pq']:.5f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        write()
        print("The pages' weights are in book/_assets/widgets.")
