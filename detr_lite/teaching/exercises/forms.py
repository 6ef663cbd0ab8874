"""The form of an answer: a function, numbers or a tensor, else Wrong.

Numbers may be Python's, NumPy's or torch's, in a list or in a tensor.
"""

import math

import torch
from torch import Tensor

from detr_lite.teaching.exercises import Wrong


def needs_function(answer) -> None:
    """Refuse what is no function."""
    if not callable(answer) or isinstance(answer, type):
        raise Wrong("The answer is a function; give its name, without ().")


def number(answer, sentence: str) -> float:
    """Return an answer as a number; sentence: what to say if it is none."""
    return numbers([answer], 1, sentence)[0]


def numbers(answer, count: int, sentence: str) -> list[float]:
    """Return an answer's numbers; sentence: what to say if it has others."""
    try:
        found = [float(value) for value in answer]
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(sentence) from None
    if len(found) != count or not all(map(math.isfinite, found)):
        raise Wrong(sentence)
    return found


def tensor(answer, sentence: str, shape: tuple | None = None) -> Tensor:
    """Return an answer as a float64 tensor of that shape, if one is asked.

    sentence: what to say if it is none, without the full stop.
    """
    try:
        if isinstance(answer, list | tuple):
            rows = [torch.as_tensor(r, dtype=torch.float64) for r in answer]
            answer = torch.stack(rows)
        found = torch.as_tensor(answer).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{sentence}, not a {type(answer).__name__}.") from None
    if shape is not None and found.shape != tuple(shape):
        raise Wrong(
            f"{sentence}: its shape is {tuple(found.shape)}, not "
            f"{tuple(shape)}."
        )
    return found


def near(a, b, tolerance: float = 1e-3) -> bool:
    """Return whether no number of one is further than that from the other's.

    A hundred-thousandth of the number is granted for float32.
    """
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    return torch.allclose(a, b, rtol=1e-5, atol=tolerance)
