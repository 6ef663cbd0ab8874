"""Exercises: checkers that say whether an answer is right, and why not.

The checkers of a chapter are the functions exercise_1, exercise_2, ... of
the module named after it.  Each takes the answer, raises Wrong with a
sentence if it is not right, and may return a remark for when it is.
"""

import importlib
from collections.abc import Callable

from detr_lite.errors import ConfigError


class Wrong(Exception):
    """What is wrong with an answer, as a sentence with a hint in it."""


class Unanswered(Exception):
    """The exercise is as the book left it."""


def check(number: str, answer) -> None:
    """Say whether the answer to an exercise is right.

    number: chapter and exercise, "3.1"; answer: what the exercise asks for,
    a value or a function.  What the book has at its place, `...`, counts as
    not answered yet, and so does a function that returns None.
    """
    checker = _checker(number)
    try:
        remark = checker(_wrapped(answer))
    except Unanswered:
        print(f"Exercise {number}: not answered yet.")
    except Wrong as wrong:
        print(f"Exercise {number}: not yet. {wrong}")
    else:
        print(f"Exercise {number}: right." + (f" {remark}" if remark else ""))


def _checker(number: str) -> Callable:
    chapter, _, exercise = number.partition(".")
    try:
        module = importlib.import_module(f"{__name__}.chapter{chapter}")
        return getattr(module, f"exercise_{exercise}")
    except (ImportError, AttributeError):
        raise ConfigError(f"The book has no exercise {number}.") from None


def _wrapped(answer):
    """Return an answer whose calls end in a value, Wrong or Unanswered."""
    if answer is ... or answer is None:
        raise Unanswered
    if isinstance(answer, type) or not callable(answer):
        return answer

    def ask(*args, **kwargs):
        try:
            value = answer(*args, **kwargs)
        except Exception as error:
            raise Wrong(
                f"Your function raised {type(error).__name__}: {error}"
            ) from error
        if value is None or value is ...:
            raise Unanswered
        return value

    return ask
