"""Which device is used: the one named, else the best there is."""

import torch

from detr_lite.errors import ConfigError


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
