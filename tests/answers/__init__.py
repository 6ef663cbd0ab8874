"""Right and wrong answers to the book's exercises, one module a chapter.

Each module has ANSWERS, by the number of the exercise.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answers:
    """What the checker of an exercise takes, and what it says to the rest.

    right: it takes all of them; functions, where the exercise asks for one.
    wrong: pairs of a typical mistake and words of the hint that it gets.
    edges: triples (answer, within, beyond).  answer(off) is right but for
        `off`, in either direction: within is still taken, beyond is not.
    choices: all that can be answered, where the checker measures which one
        is right; `wrong` then holds what is none of them.
    """

    right: tuple = ()
    wrong: tuple[tuple[object, str], ...] = ()
    edges: tuple[tuple[Callable, float, float], ...] = ()
    choices: tuple = ()
