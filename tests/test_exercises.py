"""Exercises: the checkers take right answers, and say what else is wrong.

The answers are in `answers`.  That the book's own solutions are right and
that its stubs count as unanswered is in their outputs, which nbval compares.
"""

import importlib
import re
from functools import cache

import nbformat
import pytest
import torch
from answers import Answers
from support import ROOT

from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.detr import found
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.teaching import exercises
from detr_lite.teaching.exercises import Wrong, check
from detr_lite.teaching.exercises.chapter6 import Noisy
from detr_lite.teaching.exercises.chapter7 import Shrunken

BOOK = ROOT / "book"
ALL: dict[str, Answers] = {
    f"{chapter}.{number}": answers
    for chapter in range(1, 8)
    for number, answers in importlib.import_module(
        f"answers.chapter{chapter}"
    ).ANSWERS.items()
}
FUNCTIONS = [n for n, some in ALL.items() if any(map(callable, some.right))]
THINGS = [torch.zeros(2, 7), torch.tensor(float("nan")), [], "text", {}]


@pytest.fixture
def say(capsys):
    """Return what the checker of an exercise says to an answer."""

    def run(number, answer):
        check(number, answer)
        start, _, said = capsys.readouterr().out.partition(": ")
        assert start == f"Exercise {number}"
        return said

    return run


# What the book has.


@cache
def cells(number: str) -> list:
    """Return the cells that check an exercise."""
    (path,) = BOOK.glob(f"0{number[0]}_*.ipynb")
    return [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and f'check("{number}"' in cell.source
    ]


@pytest.mark.parametrize("number", ALL)
def test_the_book_has_a_stub_and_a_solution(number):
    stub, solution = cells(number)
    says = f"Exercise {number}: not answered yet.\n"
    assert [output.text for output in stub.outputs] == [says]
    assert solution.source.startswith(f"#@title Solution to exercise {number}")
    assert "solution" in solution.metadata["tags"]
    printed = "".join(output.text for output in solution.outputs)
    assert f"Exercise {number}: right." in printed
    for cell in (stub, solution):
        assert not [t for t in cell.metadata.get("tags", []) if "nbval" in t]


def test_every_checker_and_every_exercise_of_the_book_is_tried():
    checkers = {
        f"{chapter}.{name.removeprefix('exercise_')}"
        for chapter in range(1, 8)
        for name in dir(
            importlib.import_module(f"{exercises.__name__}.chapter{chapter}")
        )
        if name.startswith("exercise_")
    }
    asked = set()
    for path in BOOK.glob("*.ipynb"):
        asked |= set(re.findall(r'check\(\\"([\d.]+)', path.read_text()))
    assert checkers == asked == set(ALL)


# What the checkers say.


def each(kind: str) -> list:
    """Return what pytest needs for all answers of that kind."""
    return [
        pytest.param(number, one, id=f"{number}-{i}")
        for number, answers in ALL.items()
        for i, one in enumerate(getattr(answers, kind))
    ]


@pytest.mark.parametrize(("number", "answer"), each("right"))
def test_a_right_answer_in_any_form_is_taken(say, number, answer):
    assert say(number, answer).startswith("right.")


@pytest.mark.parametrize(("number", "mistake"), each("wrong"))
def test_a_mistake_gets_its_own_hint(say, number, mistake):
    answer, words = mistake
    said = say(number, answer)
    assert said.startswith("not yet.")
    assert words in said


@pytest.mark.parametrize(("number", "edge"), each("edges"))
def test_an_answer_may_be_off_by_so_much_and_no_more(say, number, edge):
    answer, within, beyond = edge
    for sign in (1, -1):
        assert say(number, answer(sign * within)).startswith("right.")
        assert say(number, answer(sign * beyond)).startswith("not yet.")


@pytest.mark.parametrize("number", [n for n in ALL if ALL[n].choices])
def test_one_choice_is_right(say, number):
    """Which one, the book's solution says: the checker measures it."""
    said = [say(number, choice) for choice in ALL[number].choices]
    (right,) = (text for text in said if text.startswith("right."))
    said.remove(right)
    assert all(text.startswith("not yet.") for text in said)
    assert say(number, "none of them") not in said


def test_a_query_of_another_quarter_is_told_which(say):
    model = load_model("scenes", device="cpu")
    scenes = SceneSplit(VALIDATION_SEED, 256)
    isthing = torch.tensor([c.isthing for c in scenes.categories] + [False])
    counts = 0
    for start in range(0, 256, 32):
        batch = collate([scenes[i] for i in range(start, start + 32)])
        with torch.no_grad():
            output = model.detr(batch.images, batch.padding_mask)
        things = isthing[output.class_logits.argmax(-1)]
        things &= found(output.class_logits, model.threshold)
        right, lower = (output.boxes[..., :2] > 0.5).unbind(-1)
        quarters = ~lower & ~right, ~lower & right, lower & right
        counts += torch.stack([(things & q).sum(0) for q in quarters])
    names = ("upper left", "upper right", "lower right")
    for name, query in zip(names, counts.argmax(1), strict=True):
        assert f"the most things in the {name}" in say("2.5", query)


@pytest.mark.parametrize("number", ALL)
def test_what_is_no_answer_is_refused_and_never_an_error(say, number):
    for thing in THINGS:
        assert say(number, thing).startswith("not yet.")
        if number in FUNCTIONS:
            answer = say(number, lambda *args, thing=thing: thing)
            assert answer.startswith("not yet.")


@pytest.mark.parametrize("number", FUNCTIONS)
def test_where_a_function_is_asked_for(say, number):
    def fails(*args):
        raise IndexError("out of range")

    assert "is a function" in say(number, 3.0)
    assert "is a function" in say(number, float)
    assert "raised IndexError: out of range" in say(number, fails)
    for nothing in (None, ...):
        said = say(number, lambda *args, nothing=nothing: nothing)
        assert said == "not answered yet.\n"


@pytest.mark.parametrize("number", ALL)
def test_the_untouched_exercise_is_unanswered(say, number):
    for nothing in (None, ...):
        assert say(number, nothing) == "not answered yet.\n"


# check() itself.


@pytest.mark.parametrize("remark", ["Doubled.", None])
def test_the_checkers_remark_is_said(monkeypatch, capsys, remark):
    class Chapter:
        @staticmethod
        def exercise_1(answer):
            if answer != 4:
                raise Wrong("Try 4.")
            return remark

    monkeypatch.setattr(
        exercises.importlib, "import_module", lambda name: Chapter
    )
    check("0.1", 4)
    check("0.1", 5)
    said = "right. Doubled." if remark else "right."
    assert capsys.readouterr().out == (
        f"Exercise 0.1: {said}\nExercise 0.1: not yet. Try 4.\n"
    )


def test_a_fault_of_the_checker_is_not_the_readers(monkeypatch):
    class Chapter:
        @staticmethod
        def exercise_1(answer):
            return len(3)

    monkeypatch.setattr(
        exercises.importlib, "import_module", lambda name: Chapter
    )
    with pytest.raises(TypeError, match="has no len"):
        check("0.1", 1)


@pytest.mark.parametrize("number", ["0.1", "1.99", "1", "x"])
def test_an_unknown_exercise_is_refused(number):
    with pytest.raises(ConfigError, match=f"no exercise {number}"):
        check(number, 1)


# The splits that chapters 6 and 7 make worse.


def test_noise_is_the_same_each_time_and_leaves_the_truth_alone():
    split = SceneSplit(VALIDATION_SEED, 4)
    noisy, again = Noisy(split, 2, 30.0), Noisy(split, 2, 30.0)
    assert len(noisy) == 2
    assert noisy.categories == split.categories
    assert torch.equal(noisy[1].image, again[1].image)
    assert torch.equal(noisy[1].id_map, split[1].id_map)
    off = noisy[1].image.float() - split[1].image.float()
    assert 25 < off.std() < 32
    assert torch.equal(Noisy(split, 2, 0.0)[0].image, split[0].image)


def test_shrunken_pictures_lose_detail_and_keep_the_truth():
    split = SceneSplit(VALIDATION_SEED, 4)
    small = Shrunken(4, 12)
    assert len(small) == 4
    assert small.categories == split.categories
    assert small[1].image.shape == split[1].image.shape
    assert torch.equal(small[1].id_map, split[1].id_map)
    flat = small[1].image.float().diff().abs().mean()
    assert flat < 0.5 * split[1].image.float().diff().abs().mean()
    assert torch.equal(Shrunken(4, 96)[0].image, split[0].image)
