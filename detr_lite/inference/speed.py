"""Settings that trade: exact digits, or time to start, for speed or memory.

What makes a model faster and leaves its answer alone is on by default and
needs no setting.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch

from detr_lite.errors import ConfigError

PRECISIONS = {
    "float32": None,
    "tf32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def check_precision(precision: str) -> None:
    """Refuse what is no precision."""
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision must be {', '.join(PRECISIONS)}, not {precision!r}."
        )


@dataclass(frozen=True)
class Speed:
    """How a trained model computes; its weights stay float32.

    Attributes:
        precision: "float32"; "tf32", the same but for NVIDIA's GPUs, whose
            products then have 3 digits; or half the memory for activations,
            fast only on a processor made for it: "bf16", 2 to 3 digits, or
            "fp16", 3 to 4, for GPUs without bf16.
        compile: let torch.compile fuse the backbone and the transformer;
            needs a C++ compiler, and minutes for each new image size.
        channels_last: keep the channels of a pixel side by side in memory,
            where the model allows it; see memory_format.
        chunk: masks made at a time; None follows the device, see
            ChunkedMaskHead.
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


@contextmanager
def float32_products(device: torch.device, precision: str) -> Iterator[None]:
    """Let NVIDIA's GPUs round the factors of products to TF32, or not.

    PyTorch's own choice is TF32 for convolutions and float32 for the rest.
    """
    if device.type != "cuda":
        yield
        return
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Let what runs in the block compute in a precision."""
    dtype = PRECISIONS[precision]
    with float32_products(device, precision):
        if dtype is None:
            yield
        else:
            with torch.autocast(device.type, dtype):
                yield


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Let a GPU compute the same twice, which takes longer."""
    if not on:
        yield
        return
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def float32_answers(output):
    """Return an output whose half-precision tensors are float32.

    But for the pyramid, which nothing after the model reads.
    """
    changes = {}
    for field in fields(output):
        value = getattr(output, field.name)
        if field.name == "detection":
            changes[field.name] = float32_answers(value)
        elif torch.is_tensor(value) and value.dtype in PRECISIONS.values():
            changes[field.name] = value.float()
    return replace(output, **changes)
