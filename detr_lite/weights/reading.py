"""Reading files of weights: numbers and text, and never code.

A safetensors file holds nothing else.  A .pth or .bin file is a pickle,
which can name any function of any module to be called; torch's
`weights_only` reader refuses all but tensors and plain Python data.
"""

import argparse
import re
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from detr_lite.errors import WeightsError
from detr_lite.files.output import expanded

# Of DistributedDataParallel, of torch.compile, and of Lightning's modules.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
# What a checkpoint of training has, and the original's has not.
_UNFINISHED = {"settings", "trainer", "processes"}
# How the files of torch.save, new and old, and of pickle begin.
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_checkpoint(
    path: str | Path,
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the text and the tensors of a file of weights.

    path: safetensors, or what torch.save wrote: a state dict, bare or as
    "model" or "state_dict" in a training checkpoint (whose other entries are
    left out).  The text is what a safetensors file says of itself.
    What DistributedDataParallel, torch.compile or Lightning has put before
    all names is taken off.  The content of the file counts, not its suffix.
    WeightsError says why it is refused.
    """
    path = expanded(path)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; name a file in it.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no file {path}.") from error
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}); fix that."
        ) from error
    # A safetensors file begins with the length of its header, any eight
    # bytes, and the header is JSON: so its ninth byte says more than those.
    if start.startswith(_PICKLES) and start[8:] != b"{":
        return {}, _unwrapped(_read_pickle(path))
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, _unwrapped(state)
    # Beside its own errors, of types that torch lacks: KeyError and others.
    except Exception as error:
        raise WeightsError(
            f"{path} is not a whole .safetensors file ({error}); "
            "it may be cut off: copy it again."
        ) from error


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers of a model put before all names."""
    for prefix in _WRAPPERS * 2:  # one in the other
        if state and all(name.startswith(prefix) for name in state):
            state = {n.removeprefix(prefix): t for n, t in state.items()}
    return state


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # The original's training checkpoints hold their arguments as a Namespace.
    # Other protocols than torch's would warn first, and then be refused.
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with allowed, warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    # What broken bytes make torch raise is not documented: anything.
    except Exception as error:
        raise _refused(path, str(error)) from error
    if isinstance(content, dict) and content.keys() >= _UNFINISHED:
        raise WeightsError(
            f"{path} is a checkpoint of a training that has not finished; "
            "finish it with `detr-lite train --resume`, and name the "
            "model.safetensors of its folder."
        )
    for key in ("model", "state_dict"):  # the original's, and Lightning's
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(
            isinstance(name, str) and isinstance(tensor, Tensor)
            for name, tensor in content.items()
        )
    ):
        raise WeightsError(
            f"{path} holds no state dict; save model.state_dict(), or "
            '{"model": model.state_dict()}.'
        )
    return dict(content)


def _refused(path: Path, reason: str) -> WeightsError:
    """Explain torch's refusal; the name of a function in it matters."""
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return WeightsError(
            f"{path} is a pickle that calls {named[1]}, which may run any "
            "code, or is cut off in that name, so it was not loaded; get the "
            "weights as .safetensors or as a bare state dict."
        )
    return WeightsError(
        f"{path} is a pickle but not a whole file of tensors: it may be cut "
        "off, then copy it again, or hold something else, then get the "
        "weights as .safetensors."
    )
