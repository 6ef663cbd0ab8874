"""Chapter 4's exercises: solutions, other right answers, and mistakes."""

from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F

from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.detr import found
from detr_lite.models import SCENES_CONFIG
from detr_lite.teaching.exercises import chapter4, check

NOTEBOOK = Path(__file__).parents[1] / "book" / "04_fpn_features.ipynb"
LABELS = [i for i, c in enumerate(SCENE_CATEGORIES) if c.isthing]
RIGHT = 64 * 32 * 9 * 100 * 134


def cells(start, part):
    """Return the code cells that start with a text and have another."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code"
        and cell.source.startswith(start)
        and part in cell.source
    ]


def said(capsys, number, answer):
    """Return what the checker says about an answer."""
    check(f"4.{number}", answer)
    return capsys.readouterr().out.removeprefix(f"Exercise 4.{number}: ")


class Threshold:
    """What the notebook's `model` has that exercise 4 needs."""

    threshold = SCENES_CONFIG.threshold
    categories = SCENE_CATEGORIES


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_notebooks_solution_is_right_and_its_stub_unanswered(
    capsys, number
):
    names = {
        "torch": torch,
        "check": check,
        "found": found,
        "model": Threshold,
    }
    stub, solution = cells("", f'check("4.{number}"')
    assert solution.startswith(f"#@title Solution to exercise 4.{number}\n")
    exec(stub, names)
    out = f"Exercise 4.{number}: not answered yet.\n"
    assert capsys.readouterr().out == out
    exec(solution, names)
    assert capsys.readouterr().out.startswith(f"Exercise 4.{number}: right.")


@pytest.mark.parametrize(
    "answer", [RIGHT, float(RIGHT), torch.tensor(RIGHT), 246_988_800]
)
def test_multiply_adds(capsys, answer):
    assert said(capsys, 1, answer).startswith("right")


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (RIGHT // 9, "nine places"),
        (2 * RIGHT, "count as one"),
        (100 * RIGHT, "100 queries"),
        (RIGHT + 32 * 13400, "bias"),
        (64 * 32 * 9 * 50 * 67, "Res4's size"),
        (32 * 16 * 9 * 200 * 267, "stage 5"),
        (12345, "input channels times"),
        ("many", "whole number"),
        ([RIGHT], "whole number"),
        (True, "whole number"),
    ],
)
def test_wrong_multiply_adds(capsys, answer, part):
    out = said(capsys, 1, answer)
    assert out.startswith("not yet")
    assert part in out


def nearest_in_two_steps(x, size):
    height, width = x.shape[-2:]
    rows = [i * height // size[0] for i in range(size[0])]
    columns = [i * width // size[1] for i in range(size[1])]
    return x[..., rows, :][..., columns].double()


@pytest.mark.parametrize(
    "answer",
    [
        nearest_in_two_steps,
        lambda x, size: F.interpolate(x, size=size, mode="nearest"),
    ],
)
def test_nearest(capsys, answer):
    assert said(capsys, 2, answer).startswith("right")


def copied_twice_and_cropped(x, size):
    twice = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return twice[..., : size[0], : size[1]]


def rounded(x, size):
    rows = (torch.linspace(0, x.shape[-2] - 1, size[0])).round().long()
    columns = (torch.linspace(0, x.shape[-1] - 1, size[1])).round().long()
    return x[..., rows[:, None], columns]


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda x, size: F.interpolate(x, size, mode="bilinear"), "new ones"),
        (rounded, "j * w // W"),
        (copied_twice_and_cropped, "(1, 2, 3, 5) to the size (7, 8)"),
        (
            lambda x, size: x.repeat_interleave(2, -1).repeat_interleave(
                2, -2
            ),
            "(2, 3, 50, 68), not (2, 3, 50, 67)",
        ),
        (lambda x, size: x.tolist(), "not a list"),
        (lambda x, size: x[9], "IndexError"),
        (7, "is a function"),
    ],
)
def test_wrong_nearest(capsys, answer, part):
    out = said(capsys, 2, answer)
    assert out.startswith("not yet")
    assert part in out


def by_loops(x, groups):
    out = torch.empty_like(x, dtype=torch.float64)
    size = x.shape[1] // groups
    for sample in range(len(x)):
        for i in range(groups):
            part = slice(i * size, (i + 1) * size)
            group = x[sample, part].double()
            variance = group.var(correction=0)
            out[sample, part] = (group - group.mean()) / (
                variance + 1e-5
            ).sqrt()
    return out


@pytest.mark.parametrize(
    "answer", [by_loops, lambda x, groups: F.group_norm(x, groups)]
)
def test_group_norm(capsys, answer):
    assert said(capsys, 3, answer).startswith("right")


def normalized(x, groups, correction=0, eps=1e-5, root=True):
    rows = x.reshape(len(x), groups, -1)
    variance = rows.var(-1, correction=correction, keepdim=True) + eps
    divisor = variance.sqrt() if root else variance
    return ((rows - rows.mean(-1, keepdim=True)) / divisor).view(x.shape)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda x, g: normalized(x, x.shape[1]), "two channels"),
        (lambda x, g: normalized(x, 1), "one group"),
        (lambda x, g: normalized(x, x.shape[1] // g), "groups of"),
        (lambda x, g: normalized(x, g, correction=1), "one less"),
        (lambda x, g: normalized(x, g, root=False), "root of the variance"),
        (lambda x, g: normalized(x, g, eps=0), "NaN"),
        (
            lambda x, g: (
                x.reshape(len(x), g, -1)
                - x.reshape(len(x), g, -1).mean(-1, keepdim=True)
            ).view(x.shape),
            "variance isn't 1",
        ),
        (
            lambda x, g: F.batch_norm(x, None, None, training=True),
            "batch norm",
        ),
        (
            lambda x, g: normalized(x.transpose(0, 1)[None], g)[0].transpose(
                0, 1
            ),
            "over the samples",
        ),
        (lambda x, g: x, "mean 0 and variance 1"),
        (lambda x, g: x.flatten(1), "has the shape (2, 72)"),
        (lambda x, g: 3.0, "not a float"),
    ],
)
def test_wrong_group_norm(capsys, answer, part):
    out = said(capsys, 3, answer)
    assert out.startswith("not yet")
    assert part in out


def things_by_probability(detection):
    scores, labels = detection.class_logits.softmax(-1).max(-1)
    keep = torch.zeros_like(labels, dtype=torch.bool)
    for label in LABELS:
        keep |= labels == label
    return keep & (scores > 0.7)


def test_things_only(capsys):
    assert said(capsys, 4, things_by_probability).startswith("right")


def best(detection):
    return detection.class_logits.argmax(-1)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda d: found(d.class_logits, 0.7), "sure of stuff"),
        (lambda d: torch.isin(best(d), torch.tensor(LABELS)), "isn't sure"),
        (
            lambda d: (
                torch.isin(best(d), torch.tensor([*LABELS, 8]))
                & (d.class_logits.softmax(-1).amax(-1) > 0.7)
            ),
            "no object",
        ),
        (
            lambda d: found(d.class_logits, 0.7) & (best(d) == LABELS[0]),
            "not kept",
        ),
        (
            lambda d: torch.tensor([c.isthing for c in SCENE_CATEGORIES])[
                best(d)
            ],
            "IndexError",
        ),
        (lambda d: best(d), "True and False"),
        (lambda d: found(d.class_logits, 0.7).nonzero() > 0, "(2, 4)"),
        (lambda d: d.boxes[..., 0] > 2, "not kept"),
    ],
)
def test_wrong_things_only(capsys, answer, part):
    out = said(capsys, 4, answer)
    assert out.startswith("not yet")
    assert part in out


def test_level(capsys, monkeypatch):
    left = {"res2": 0.9, "res3": 0.8, "res4": 0.92}
    monkeypatch.setattr(chapter4, "_pq_without_detail", lambda: left)
    for answer in ("res3", "Res3", " res 3 "):
        assert said(capsys, 5, answer).startswith("right")
    for answer in ("res2", "res4"):
        out = said(capsys, 5, answer)
        assert out.startswith("not yet. Another level costs more PQ")
    for answer in ("res5", 3, "adapter2"):
        out = said(capsys, 5, answer)
        assert out.startswith("not yet. The answer is")
    assert said(capsys, 5, ...) == "not answered yet.\n"


def test_the_solution_for_the_level_agrees_with_the_checkers_measure(capsys):
    """The notebook's cell measures for itself; here it is run once more."""
    from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
    from detr_lite.data.subsets import Part
    from detr_lite.inference.evaluation import evaluate
    from detr_lite.inference.loading import load_model

    model = load_model("scenes", device="cpu")
    stub, solution = cells("", 'check("4.5"')
    names = {
        "check": check,
        "model": model,
        "head": model.mask_head,
        "evaluate": evaluate,
        "first": Part(SceneSplit(VALIDATION_SEED, 64), range(32)),
    }
    exec(stub, names)
    assert capsys.readouterr().out == "Exercise 4.5: not answered yet.\n"
    exec(solution, names)
    assert capsys.readouterr().out.startswith("Exercise 4.5: right.")
    assert names["left"] == pytest.approx(chapter4._pq_without_detail())
