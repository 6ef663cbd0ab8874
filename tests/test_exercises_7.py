"""Chapter 7: its exercises take right answers alone."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from detr_lite import load_model
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.teaching.exercises import check
from detr_lite.teaching.exercises.chapter7 import Shrunken

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "book" / "07_real_images.ipynb"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


@pytest.fixture
def say(capsys):
    """Return what the checker of an exercise says to an answer."""

    def run(exercise, answer):
        check(f"7.{exercise}", answer)
        return capsys.readouterr().out

    return run


def names():
    """Return what the cells of the exercises find in the notebook."""
    return {
        "check": check,
        "evaluate": evaluate,
        "Shrunken": Shrunken,
        "shipped": load_model("scenes", "cpu"),
        "validation": SceneSplit(VALIDATION_SEED, 64),
    }


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_books_solution_is_right(cells, capsys, exercise):
    title = f"#@title Solution to exercise 7.{exercise}"
    (cell,) = (c for c in cells if c.source.startswith(title))
    assert "solution" in cell.metadata["tags"]
    exec(cell.source, names())
    assert f"Exercise 7.{exercise}: right." in capsys.readouterr().out


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_untouched_exercise_is_unanswered(cells, capsys, exercise):
    (cell,) = (
        c
        for c in cells
        if f'check("7.{exercise}"' in c.source and "#@title" not in c.source
    )
    exec(cell.source, names())
    out = capsys.readouterr().out
    assert out == f"Exercise 7.{exercise}: not answered yet.\n"


@pytest.mark.parametrize(
    "answer", [[92, 6], (92.0, 6.0), torch.tensor([92, 6]), np.array([92, 6])]
)
def test_1_takes_any_pair(say, answer):
    assert "right" in say(1, answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((6, 92), "swapped"),
        ((91, 5), 'one output more, for "no object"'),
        ((91, 6), "label 90 is the 91st"),
        ((251, 6), "251 is COCO's"),
        ((92, 5), "Our head has one output more"),
        ((92, 7), "ours has one for each class"),
        ((5, 7), "largest id + 1"),
        (92, "2 numbers"),
        ("many", "2 numbers"),
    ],
)
def test_1_names_the_mistake(say, answer, words):
    out = say(1, answer)
    assert "not yet" in out
    assert words in out


def size(shortest=800, longest=1333, other=int, swap=False):
    """Return a rule for sizes, with the mistake that is named."""

    def rule(height, width):
        short, long = sorted((height, width))
        side = shortest
        if long / short * side > longest:
            side = round(longest * short / long)
        sides = (side, other(side * long / short))
        return sides if (height <= width) != swap else sides[::-1]

    return rule


def test_2_takes_the_rule_written_another_way(say):
    def rule(height, width):
        side = min(800, round(1333 * min(height, width) / max(height, width)))
        if height <= width:
            return torch.tensor([side, side * width // height])
        return side * height // width, side

    assert "right" in say(2, rule)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (size(swap=True), "Height comes first"),
        (size(longest=10**9), "may not pass 1333"),
        (size(other=round), "cut off"),
        (size(other=float), "whole numbers"),
        (size(shortest=600), "should become 800"),
        (lambda h, w: 800, "2 numbers"),
        (lambda h, w: 1 / 0, "ZeroDivisionError"),
        (3, "The answer is a function"),
    ],
)
def test_2_names_the_mistake(say, rule, words):
    out = say(2, rule)
    assert "not yet" in out
    assert words in out


def rows(key, no_object=True, turned=False):
    """Return a rule for the rows that are kept, with a mistake.

    key: what makes two classes the same.
    """

    def kept(old, new):
        labels = {key(c): label for label, c in enumerate(old)}
        found = {
            label: labels[key(c)]
            for label, c in enumerate(new)
            if key(c) in labels
        }
        if no_object:
            found[len(new)] = len(old)
        return {v: k for k, v in found.items()} if turned else found

    return kept


def both(category):
    return category.id, category.name


def test_3_takes_tensors_as_numbers(say):
    def kept(old, new):
        found = rows(both)(old, new)
        return {torch.tensor(k): np.int64(v) for k, v in found.items()}

    assert "right" in say(3, kept)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (rows(lambda c: c.id), "rows can be kept"),
        (rows(both, no_object=False), '"no object", means the same'),
        (rows(both, turned=True), "keys are new rows"),
        (
            lambda old, new: {
                **{c.id: c.id for c in new if c in list(old)},
                len(new): len(old),
            },
            "rows are labels",
        ),
        (lambda old, new: [1, 2], "Return a dict"),
        ({1: 2}, "The answer is a function"),
    ],
    ids=["id alone", "no object", "turned", "ids", "list", "value"],
)
def test_3_names_the_mistake(say, kept, words):
    out = say(3, kept)
    assert "not yet" in out
    assert words in out


def test_4_takes_rounded_steps(say):
    assert "right" in say(4, [2_218_000, 5e-5])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((300 * 118287 / 64, 5e-5), "64 pictures each"),
        ((118287 / 16, 5e-5), "one epoch"),
        ((1e6, 5e-5), "Count the pictures"),
        ((300 * 118287 / 16, 2.5e-5), "linear rule"),
        ((300 * 118287 / 16, 2e-4), "lower rate"),
        ((300 * 118287 / 16, 1e-4), "square root of"),
        (7, "2 numbers"),
    ],
)
def test_4_names_the_mistake(say, answer, words):
    out = say(4, answer)
    assert "not yet" in out
    assert words in out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (90, "Take away more"),
        (6, "Leave more pixels"),
        (24.5, "a whole number"),
        (200, "4 to 96"),
        ("small", "a size in pixels"),
    ],
)
def test_5_says_where_to_look(say, answer, words):
    out = say(5, answer)
    assert "not yet" in out
    assert words in out


def test_shrunken_pictures_lose_detail_and_keep_the_truth():
    split = SceneSplit(VALIDATION_SEED, 4)
    small = Shrunken(split, 2, 12)
    assert len(small) == 2
    assert small.categories == split.categories
    assert small[1].image.shape == split[1].image.shape
    assert torch.equal(small[1].id_map, split[1].id_map)
    flat = small[1].image.float().diff().abs().mean()
    assert flat < 0.5 * split[1].image.float().diff().abs().mean()
    assert torch.equal(Shrunken(split, 2, 96)[0].image, split[0].image)
