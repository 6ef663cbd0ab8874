"""Chapter 2: its exercises take every right answer, and no other."""

from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.detr import found
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import check

NOTEBOOK = (
    Path(__file__).resolve().parents[1] / "book" / "02_box_embeddings.ipynb"
)


@pytest.fixture(scope="module")
def cells():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [c.source for c in notebook.cells if c.cell_type == "code"]


@pytest.fixture(scope="module")
def names():
    """What the cells of the exercises find in the notebook."""
    model = load_model("scenes", device="cpu")
    scenes = SceneSplit(VALIDATION_SEED, 256)
    logits, boxes = [], []
    with torch.no_grad():
        for i in range(0, 256, 32):
            part = collate([scenes[j] for j in range(i, i + 32)])
            output = model.detr(part.images, part.padding_mask)
            logits.append(output.class_logits)
            boxes.append(output.boxes)
    logits = torch.cat(logits)
    return {
        "check": check,
        "cxcywh_to_xyxy": cxcywh_to_xyxy,
        "torch": torch,
        "boxes": [torch.cat(boxes)],
        "kept": found(logits, model.threshold),
        "classes": logits.argmax(-1),
        "isthing": torch.tensor(
            [c.isthing for c in scenes.categories] + [False]
        ),
    }


@pytest.fixture
def say(capsys):
    """Return what the checker of an exercise says to an answer."""

    def run(exercise, answer):
        check(f"2.{exercise}", answer)
        return capsys.readouterr().out

    return run


def right(text):
    return ": right." in text


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_books_solution_is_right(cells, names, capsys, exercise):
    title = f"#@title Solution to exercise 2.{exercise}\n"
    (source,) = (c for c in cells if c.startswith(title))
    exec(source, dict(names))
    assert f"Exercise 2.{exercise}: right." in capsys.readouterr().out


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_untouched_exercise_is_unanswered(cells, capsys, exercise):
    (source,) = (
        c for c in cells if f'check("2.{exercise}"' in c and "#@title" not in c
    )
    exec(source, {"check": check})
    out = capsys.readouterr().out
    assert out == f"Exercise 2.{exercise}: not answered yet.\n"


@pytest.mark.parametrize(
    "answer",
    [1 / 3, 0.333, Fraction(1, 3), torch.tensor([1 / 3]), np.float32(1 / 3)],
)
def test_1_takes_any_number(say, answer):
    assert right(say(1, answer))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3, "inverse"),
        (0.25, "only the unmatched"),
        (0.1, "p = 0.77"),
        (0, "0 or less"),
        (-1 / 3, "0 or less"),
        ("a third", "one number"),
        (torch.ones(2), "one number"),
    ],
)
def test_1_says_what_is_off(say, answer, words):
    assert words in say(1, answer)


def box_by_box(boxes, height, width):
    """The same by a loop, as lists of whole numbers."""
    rows = []
    for cx, cy, w, h in boxes.tolist():
        x, y = (cx - w / 2) * width, (cy - h / 2) * height
        rows.append([int(x), int(y), int(x + w * width), int(y + h * height)])
    return rows


def in_place(boxes, height, width):
    boxes[:, :2] -= boxes[:, 2:] / 2
    boxes[:, 2:] += boxes[:, :2]
    boxes *= torch.tensor([width, height] * 2)
    return boxes.numpy()


@pytest.mark.parametrize("answer", [box_by_box, in_place])
def test_2_takes_lists_and_arrays(say, answer):
    assert right(say(2, answer))


def pixels(boxes, height, width):
    return boxes * torch.tensor([width, height, width, height])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda b, h, w: pixels(cxcywh_to_xyxy(b), w, h), "swapped"),
        (lambda b, h, w: cxcywh_to_xyxy(b), "still relative"),
        (pixels, "still center and size"),
        (
            lambda b, h, w: torch.cat(
                (
                    pixels(cxcywh_to_xyxy(b), h, w)[:, :2],
                    pixels(b, h, w)[:, 2:],
                ),
                1,
            ),
            "not width and height",
        ),
        (
            lambda b, h, w: pixels(cxcywh_to_xyxy(b), h, w) + 1,
            "has the corners (0, 0, 160, 80), not (1, 1, 161, 81)",
        ),
        (lambda b, h, w: b[0], "has the shape (4,)"),
        (lambda b, h, w: "corners", "as a tensor"),
        (lambda b, h, w: b @ b, "raised RuntimeError"),
    ],
)
def test_2_says_what_is_off(say, answer, words):
    assert words in say(2, answer)


def sorted_first(costs):
    """Greedy by one sort, as a (T, 2) tensor in another order."""
    rows, columns, pairs = set(), set(), []
    for place in costs.flatten().argsort().tolist():
        q, t = place // costs.shape[1], place % costs.shape[1]
        if q not in rows and t not in columns:
            rows.add(q)
            columns.add(t)
            pairs.append([q, t])
    return torch.tensor(pairs[::-1])


def test_3_takes_another_algorithm_and_a_tensor(say):
    assert right(say(3, sorted_first))


def hungarian(costs):
    from scipy.optimize import linear_sum_assignment

    return list(zip(*linear_sum_assignment(costs.numpy()), strict=True))


def dearest(costs):
    return sorted_first(-costs)


def segment_by_segment(costs):
    pairs, left = [], costs.clone()
    for t in range(costs.shape[1]):
        q = left[:, t].argmin().item()
        left[q] = float("inf")
        pairs.append((q, t))
    return pairs


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hungarian, "better than greedy's"),
        (dearest, "its first pair is (0, 0). Which pair is the cheapest"),
        (segment_by_segment, "greedy pays 13 for other pairs; its first"),
        (
            lambda costs: list(enumerate(costs.argmin(0))),
            "A segment is used twice",
        ),
        (
            lambda costs: [(q, t) for t, q in enumerate(costs.argmin(0))],
            "A query is used twice",
        ),
        (lambda costs: sorted_first(costs)[1:], "need 3 pairs; there are 2"),
        (
            lambda costs: [(t, q) for q, t in sorted_first(costs)],
            "the query comes first",
        ),
        (lambda costs: sorted_first(costs)[:, 0], "pairs (query, segment)"),
        (lambda costs: 13, "pairs (query, segment)"),
    ],
)
def test_3_says_what_is_off(say, answer, words):
    assert words in say(3, answer)


def test_4_takes_what_the_attention_says_and_lists(say):
    def call(layer):
        zeros = torch.zeros(1, 2, layer.norm1.normalized_shape[0])
        return layer.self_attn(zeros, zeros, zeros)[:, :1]

    def by_hand(layer):
        linear = layer.self_attn.out_proj
        value = layer.self_attn.in_proj_bias[2 * linear.in_features :]
        pairs = zip(linear.weight, linear.bias, strict=True)
        return [(row * value).sum() + b for row, b in pairs]

    assert right(say(4, call))
    assert right(say(4, by_hand))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.in_proj_bias.chunk(3)[2], "out_proj comes after it"),
        (
            lambda x: x.out_proj.weight @ x.in_proj_bias.chunk(3)[2],
            "a bias of its own",
        ),
        (lambda x: x.out_proj(x.in_proj_bias.chunk(3)[0]), "of the queries"),
        (lambda x: x.out_proj(x.in_proj_bias.chunk(3)[1]), "of the keys"),
        (
            lambda x: (
                x.in_proj_bias.chunk(3)[2] @ x.out_proj.weight
                + x.out_proj.bias
            ),
            "the other way round",
        ),
        (lambda x: torch.zeros(16), "the numbers differ"),
        (lambda x: x.in_proj_bias, "there should be 16 numbers"),
        (lambda x: x.out_proj(x.in_proj_bias), "raised RuntimeError"),
        (lambda x: x.out_proj(x.in_proj_bias[-128:]), "has the width 16"),
    ],
)
def test_4_says_what_is_off(say, answer, words):
    assert words in say(4, lambda layer: answer(layer.self_attn))


def test_5_takes_a_tensor_and_knows_the_other_quarters(say, names):
    reports = names["kept"] & names["isthing"][names["classes"]]
    right_side, lower = (names["boxes"][0][..., :2] > 0.5).unbind(-1)

    def most(*there):
        return (reports & there[0] & there[1]).sum(0).argmax()

    assert right(say(5, most(lower, ~right_side)))
    answer = most(~lower, ~right_side).item()
    assert "the most things in the upper left; y grows" in say(5, answer)
    answer = most(lower, right_side).item()
    assert "the most things in the lower right" in say(5, answer)


def test_5_wants_a_query_that_reports_things_there(say, names):
    stuff = ~names["isthing"][names["classes"]] & names["kept"]
    answer = stuff.sum(0).argmax().item()
    assert "Another query reports more things" in say(5, answer)


@pytest.mark.parametrize("answer", [12, -1, 2.5])
def test_5_wants_the_number_of_a_query(say, answer):
    assert "from 0 to 11" in say(5, answer)


def test_5_wants_a_number(say):
    assert "one number" in say(5, "the sixth")
