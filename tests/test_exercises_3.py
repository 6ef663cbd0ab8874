"""Chapter 3's checkers: right answers of any form, and typical mistakes."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from detr_lite.attention_maps import AttentionMaps
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import chapter3, check

NOTEBOOK = Path(__file__).parents[1] / "book" / "03_attention_maps.ipynb"
NUMBERS = ["3.1", "3.2", "3.3", "3.4", "3.5"]


@pytest.fixture(scope="module")
def cells():
    """The code of the chapter's cells."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [c.source for c in notebook.cells if c.cell_type == "code"]


@pytest.fixture(scope="module")
def names(cells):
    """What the exercises use of the cells above them."""
    model = load_model("scenes", device="cpu").requires_grad_(False)
    names = {
        "AttentionMaps": AttentionMaps,
        "Part": Part,
        "attention": model.bbox_attention,
        "check": check,
        "evaluate": evaluate,
        "model": model,
        "nn": torch.nn,
        "scenes": SceneSplit(VALIDATION_SEED, 64),
        "torch": torch,
    }
    toy = next(c for c in cells if c.startswith("q = torch.tensor"))
    made = next(c for c in cells if c.startswith("toy = AttentionMaps"))
    exec(toy, names)
    exec(made.partition("packaged")[0], names)
    return names


@pytest.mark.parametrize("number", NUMBERS)
def test_stub_and_solution(cells, names, capsys, number):
    call = f'check("{number}"'
    stub, solution = (c for c in cells if call in c)
    exec(stub, dict(names))
    said = f"Exercise {number}: not answered yet.\n"
    assert capsys.readouterr().out == said
    assert solution.startswith(f"#@title Solution to exercise {number}\n")
    exec(solution, dict(names))
    said = capsys.readouterr().out
    assert f"Exercise {number}: right." in said
    assert "False" not in said


def test_every_checker_is_in_the_book(cells):
    mine = [n for n in dir(chapter3) if re.match(r"exercise_\d+$", n)]
    assert mine == [f"exercise_{n[2:]}" for n in NUMBERS]


def says(capsys, number, answer):
    """Return what the checker says of an answer."""
    check(number, answer)
    return capsys.readouterr().out


def refuses(capsys, number, answer, hint):
    """Assert that the checker says no, and why."""
    said = says(capsys, number, answer)
    assert f"Exercise {number}: not yet." in said
    assert hint in said


@pytest.mark.parametrize(
    "number", [131584, 131584.0, torch.tensor(131584), np.int64(131584)]
)
def test_a_number_of_parameters_of_any_type(capsys, number):
    assert "3.1: right" in says(capsys, "3.1", number)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (131072, "bias"),
        (65792, "one linear layer"),
        (65536, "one linear layer"),
        (197376, "with values"),
        (8 * 131584, "don't repeat"),
        (0, "Count a d x d matrix"),
        (1000, "Count a d x d matrix"),
        (float("nan"), "Count a d x d matrix"),
        ("many", "one whole number"),
        ([1, 2], "one whole number"),
    ],
)
def test_wrong_numbers_of_parameters(capsys, number, hint):
    refuses(capsys, "3.1", number, hint)


@pytest.mark.parametrize(
    "pair",
    [
        (1 / 12, 1 / 6),
        [0.083, 0.167],
        torch.tensor([1 / 12, 1 / 6], dtype=torch.float64),
        np.array([1 / 12, 1 / 6]),
    ],
)
def test_the_maps_of_nothing_in_any_form(capsys, pair):
    assert "3.2: right" in says(capsys, "3.2", pair)


@pytest.mark.parametrize(
    ("pair", "hint"),
    [
        ((1 / 6, 1 / 12), "swapped"),
        ((0, 0), "e^0 is not 0"),
        ((1 / 6, 1 / 6), "two heads of six"),
        ((1 / 12, 1 / 12), "One head alone"),
        ((1 / 4, 1 / 2), "how many numbers"),
        (1 / 12, "two numbers"),
        ((1 / 12,), "two numbers"),
        ("ab", "two numbers"),
    ],
)
def test_wrong_maps_of_nothing(capsys, pair, hint):
    refuses(capsys, "3.2", pair, hint)


def by_loops(joint):
    result = joint.double()
    for maps in result:
        for head in maps:
            head /= head.sum()
    return result


def by_logarithms(joint):
    scores = joint.log()
    return scores.flatten(2).softmax(-1).view_as(scores)


@pytest.mark.parametrize("function", [by_loops, by_logarithms])
def test_other_ways_to_maps_per_head(capsys, function):
    assert "3.3: right" in says(capsys, "3.3", function)


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda joint: joint, "joint maps still"),
        (lambda joint: joint * joint.shape[1], "on average only"),
        (lambda joint: joint / joint.sum(1, keepdim=True), "over its posit"),
        (
            lambda joint: joint.flatten(2).softmax(-1).view_as(joint),
            "another softmax",
        ),
        (lambda joint: joint / joint.sum(-1, keepdim=True), "do not sum to 1"),
        (lambda joint: joint.sum((-1, -2)), "tensor of the same shape"),
        (lambda joint: joint.tolist(), "tensor of the same shape"),
        (lambda joint: joint / joint.sum((-1, -2)), "raised RuntimeError"),
        (torch.ones(5, 4, 3, 6), "is a function"),
    ],
)
def test_wrong_maps_per_head(capsys, function, hint):
    refuses(capsys, "3.3", function, hint)


def place(maps, half=0.5, relative=True):
    _, h, w = maps.shape
    total = [0.0, 0.0]
    for head in maps:
        for y in range(h):
            for x in range(w):
                total[0] += float(head[y, x]) * (x + half)
                total[1] += float(head[y, x]) * (y + half)
    return [total[0] / w, total[1] / h] if relative else total


def brightest(maps):
    _, h, w = maps.shape
    y, x = divmod(int(maps.sum(0).argmax()), w)
    return (x + 0.5) / w, (y + 0.5) / h


def from_border_to_border(maps):
    weights = maps.sum(0)
    ys, xs = (torch.linspace(0, 1, n) for n in weights.shape)
    return weights.sum(0) @ xs, weights.sum(1) @ ys


@pytest.mark.parametrize(
    "function", [place, lambda maps: torch.tensor(place(maps))]
)
def test_other_ways_to_the_place(capsys, function):
    assert "3.4: right" in says(capsys, "3.4", function)


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda maps: place(maps)[::-1], "swapped"),
        (lambda maps: place(maps, half=0), "half a position"),
        (lambda maps: place(maps, relative=False), "divide by w and by h"),
        (lambda maps: place(maps, 0, False), "divide by w and by h"),
        (brightest, "not the mean"),
        (from_border_to_border, "the picture's borders"),
        (lambda maps: place(maps[:1]), "of all heads"),
        (lambda maps: place(maps)[0], "two numbers"),
        (lambda maps: maps.sum(0), "two numbers"),
        ((0.5, 0.5), "is a function"),
    ],
)
def test_wrong_places(capsys, function, hint):
    refuses(capsys, "3.4", function, hint)


def test_a_place_that_is_right_for_square_maps_alone(capsys):
    def square(maps):
        x, y = place(maps, relative=False)
        return x / maps.shape[-1], y / maps.shape[-1]

    refuses(capsys, "3.4", square, "3 x 5 positions")


def test_a_head_of_any_type_and_the_others(capsys):
    """Exactly the heads that things need are right."""
    quality = chapter3._things_without_each_head()
    best = quality.index(min(quality))
    for form in (best, float(best), torch.tensor(best), np.int64(best)):
        assert "3.5: right" in says(capsys, "3.5", form)
    for head, without in enumerate(quality):
        if without > min(quality) + 0.02:
            refuses(capsys, "3.5", head, "more things are left")
    for head in (-1, 8, 0.5):
        refuses(capsys, "3.5", head, "numbered 0 to 7")
    refuses(capsys, "3.5", "head one", "number of one head")
    refuses(capsys, "3.5", [1, 2], "number of one head")
