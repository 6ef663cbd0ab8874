"""check() says what became of an answer, whatever the answer is."""

import pytest

from detr_lite.errors import ConfigError
from detr_lite.teaching import exercises
from detr_lite.teaching.exercises import Wrong, check


@pytest.fixture
def asked(monkeypatch):
    """Exercise 0.1: a function that doubles a number."""

    class Chapter:
        @staticmethod
        def exercise_1(answer):
            if answer(2) != 4:
                raise Wrong("Try it with 2.")
            return "Doubled."

    chapters = {"detr_lite.teaching.exercises.chapter0": Chapter}
    monkeypatch.setattr(exercises.importlib, "import_module", chapters.get)


def no_answer(number): ...


def fails(number):
    raise ValueError("no")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: 2 * x, "right. Doubled."),
        (lambda x: x + 2, "right. Doubled."),
        (lambda x: x, "not yet. Try it with 2."),
        (fails, "not yet. Your function raised ValueError: no"),
        (4, "not yet. The answer must be a function."),
        (no_answer, "not answered yet."),
        (lambda x: ..., "not answered yet."),
        (..., "not answered yet."),
        (None, "not answered yet."),
    ],
)
def test_an_answer_is_judged(asked, capsys, answer, words):
    check("0.1", answer)
    assert capsys.readouterr().out == f"Exercise 0.1: {words}\n"


def test_a_fault_of_the_checker_is_not_the_readers(monkeypatch):
    class Chapter:
        @staticmethod
        def exercise_1(answer):
            return len(3)

    chapters = {"detr_lite.teaching.exercises.chapter0": Chapter}
    monkeypatch.setattr(exercises.importlib, "import_module", chapters.get)
    with pytest.raises(TypeError, match="has no len"):
        check("0.1", 1)


@pytest.mark.parametrize("number", ["0.1", "1.99", "1", "x"])
def test_an_unknown_exercise_is_refused(number):
    with pytest.raises(ConfigError, match=f"no exercise {number}"):
        check(number, 1)
