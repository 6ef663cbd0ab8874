"""Chapter 1: its exercises take right answers, and say what is wrong."""

import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from detr_lite.teaching.exercises import check

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "book" / "01_encoded_image.ipynb"


@pytest.fixture(scope="module")
def cells():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [c for c in notebook.cells if c.cell_type == "code"]


@pytest.fixture
def say(capsys):
    """Return what the checker of an exercise says to an answer."""

    def run(exercise, answer):
        check(f"1.{exercise}", answer)
        return capsys.readouterr().out

    return run


def names():
    """Return what the cells of the exercises find in the notebook."""
    return {
        "best": (0, 2),
        "check": check,
        "math": math,
        "torch": torch,
        "weights": torch.rand(1, 2, 8, 144, 144).softmax(-1),
    }


@pytest.mark.parametrize("exercise", range(1, 5))
def test_the_books_solution_is_right(cells, capsys, exercise):
    title = f"#@title Solution to exercise 1.{exercise}"
    (cell,) = (c for c in cells if c.source.startswith(title))
    assert "solution" in cell.metadata["tags"]
    exec(cell.source, names())
    assert f"Exercise 1.{exercise}: right." in capsys.readouterr().out


@pytest.mark.parametrize("exercise", range(1, 5))
def test_the_untouched_exercise_is_unanswered(cells, capsys, exercise):
    (cell,) = (
        c
        for c in cells
        if f'check("1.{exercise}"' in c.source and "#@title" not in c.source
    )
    exec(cell.source, names())
    out = capsys.readouterr().out
    assert out == f"Exercise 1.{exercise}: not answered yet.\n"


@pytest.mark.parametrize("exercise", range(1, 5))
def test_a_value_where_a_function_is_asked_for(say, exercise):
    assert "is a function" in say(exercise, 3.0)


@pytest.mark.parametrize("exercise", range(1, 5))
def test_an_error_in_the_answer_is_shown(say, exercise):
    def answer(*args):
        raise IndexError("out of range")

    assert "raised IndexError: out of range" in say(exercise, answer)


@pytest.mark.parametrize("exercise", range(1, 5))
def test_an_answer_of_the_wrong_kind(say, exercise):
    assert "not yet" in say(exercise, lambda *args: "text")
    assert "not yet" in say(exercise, lambda *args: torch.zeros(2, 7))
    assert "not yet" in say(exercise, lambda *args: [])


# 1: positions


def by_halving(height, width):
    for _ in range(5):
        height, width = (height + 1) // 2, (width + 1) // 2
    return [height, width]


@pytest.mark.parametrize(
    "answer",
    [
        by_halving,
        lambda h, w: torch.tensor(by_halving(h, w)),
        lambda h, w: np.ceil(np.array([h, w]) / 32),
        lambda h, w: torch.empty(h, w)[::32, ::32].shape,
    ],
)
def test_1_takes_any_pair(say, answer):
    assert "right" in say(1, answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda h, w: (h // 32, w // 32), "You round down"),
        (lambda h, w: by_halving(w, h), "h, then w"),
        (lambda h, w: by_halving(h, w)[0], "Return (h, w)"),
        (lambda h, w: (h / 32, w / 32), "There are 25 rows and 34 columns"),
        (
            lambda h, w: (h // 32 + 1, w // 32 + 1),
            "There are 25 rows and 34 columns for 800 x 1066 pixels, not "
            "26 x 34",
        ),
    ],
)
def test_1_names_the_mistake(say, answer, hint):
    assert hint in say(1, answer)


# 2: fold


def scale_of(norm, eps=1e-5):
    return norm.weight / (norm.running_var + eps).sqrt()


def by_probing(weight, norm):
    """Ask the norm what it makes of 0 and of 1."""
    channels = len(weight)
    shift = norm(torch.zeros(1, channels, 1, 1)).flatten()
    scale = norm(torch.ones(1, channels, 1, 1)).flatten() - shift
    return torch.einsum("cikl,c->cikl", weight, scale), shift


@pytest.mark.parametrize(
    "answer",
    [
        by_probing,
        lambda w, n: [x.double() for x in by_probing(w, n)],
        lambda w, n: (by_probing(w, n)[0], by_probing(w, n)[1].tolist()),
    ],
)
def test_2_takes_any_right_fold(say, answer):
    assert "right" in say(2, answer)


def changes_the_weight(weight, norm):
    bias = by_probing(weight.clone(), norm)[1]
    weight *= scale_of(norm)[:, None, None, None]
    return weight, bias


def along_the_inputs(weight, norm):
    return weight * scale_of(norm)[:3, None, None], norm.bias


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda w, n: by_probing(w, n)[0], "Return two tensors"),
        (lambda w, n: (by_probing(w, n)[0], n.bias), "the bias is not"),
        (
            lambda w, n: (by_probing(w, n)[0], n.bias - n.running_mean),
            "the bias is not",
        ),
        (lambda w, n: (w, by_probing(w, n)[1]), "has to take the norm's"),
        (
            lambda w, n: (
                w * scale_of(n, 0)[:, None, None, None],
                by_probing(w, n)[1],
            ),
            "1e-5 is added",
        ),
        (along_the_inputs, "each output channel"),
        (changes_the_weight, "has changed"),
        (lambda w, n: by_probing(w, n)[::-1], "The weight comes first"),
        (lambda w, n: (by_probing(w, n)[0], [0.0]), "not one a channel"),
        (lambda w, n: (w[0], n.bias), "its shape is"),
    ],
)
def test_2_names_the_mistake(say, answer, hint):
    assert hint in say(2, answer)


# 3: shifted


def by_angles(code, step, temperature):
    """Read the angle off the code, turn it, and write the code anew."""
    channels = len(code)
    turned = []
    for i in range(0, channels, 2):
        angle = math.atan2(code[i], code[i + 1])
        angle += step / temperature ** (i / channels)
        turned += [math.sin(angle), math.cos(angle)]
    return turned


@pytest.mark.parametrize(
    "answer",
    [by_angles, lambda c, s, t: torch.tensor(by_angles(c, s, t)).double()],
)
def test_3_takes_lists_and_tensors(say, answer):
    assert "right" in say(3, answer)


def one_angle(code, step, temperature):
    return by_angles(code, step, 1.0)


def in_halves(code, step, temperature):
    turned = by_angles(code, step, temperature)
    return turned[0::2] + turned[1::2]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda c, s, t: by_angles(c, -s, t), "the wrong way"),
        (lambda c, s, t: c, "as it was"),
        (one_angle, "All pairs turn by one angle"),
        (in_halves, "their order is not"),
        (lambda c, s, t: c + s, "turn pair k"),
        (lambda c, s, t: c[:6], "Return a code of the same length"),
    ],
)
def test_3_names_the_mistake(say, answer, hint):
    assert hint in say(3, answer)


# 4: reach


def by_steps(weights, columns, how):
    y, x = torch.arange(15) // columns, torch.arange(15) % columns
    steps = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    return (weights * how(*steps)).sum(-1).mean(-1)


def by_loops(weights, columns, power=0.5, mean=True):
    reach = []
    for head in weights.tolist():
        total = 0.0
        for i, row in enumerate(head):
            for j, share in enumerate(row):
                dy, dx = i // columns - j // columns, i % columns - j % columns
                total += share * (dy**2 + dx**2) ** power
        reach.append(total / len(head) if mean else total)
    return reach


@pytest.mark.parametrize(
    "answer",
    [
        by_loops,
        lambda w, c: np.array(by_loops(w, c)),
        lambda w, c: torch.tensor(by_loops(w, c)).half().float(),
    ],
)
def test_4_takes_lists_arrays_and_tensors(say, answer):
    assert "right" in say(4, answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda w, c: by_loops(w, c, power=1), "squared distances"),
        (lambda w, c: by_loops(w, c, mean=False), "the sum over the tokens"),
        (lambda w, c: by_steps(w, c, torch.add), "in a straight line"),
        (lambda w, c: by_steps(w, c, torch.maximum), "in a straight line"),
        (lambda w, c: by_loops(w, 3), "Rows and columns are mixed up"),
        (lambda w, c: by_loops(w, 15), "distance in token numbers"),
        (lambda w, c: sum(by_loops(w, c)) / 3, "a number for each head"),
        (lambda w, c: [1.0, 1.0, 1.0], "The means are off"),
    ],
)
def test_4_names_the_mistake(say, answer, hint):
    assert hint in say(4, answer)
