"""Settings that trade: exact digits, or time to start, for speed or memory.

What makes a model faster and leaves its answer alone is on by default and
needs no setting.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace

import torch

from detr_lite.errors import ConfigError

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
    """How a trained model computes; its weights stay float32.

    Attributes:
        precision: "float32", or half the memory for activations, fast only
            on a processor made for it: "bf16", 2 to 3 digits, or "fp16", 3
            to 4, for GPUs without bf16.
        compile: let torch.compile fuse the backbone and the transformer;
            needs a C++ compiler, and minutes for each new picture size.
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


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which a module computes in a precision."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision])


def float32_answers(output):
    """Return an output with its own tensors, and its detection's, float32.

    But for the pyramid, which nothing after the model reads.
    """
    changes = {}
    for field in fields(output):
        value = getattr(output, field.name)
        if field.name == "detection":
            changes[field.name] = float32_answers(value)
        elif torch.is_tensor(value) and value.is_floating_point():
            changes[field.name] = value.float()
    return replace(output, **changes)
