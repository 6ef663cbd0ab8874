"""Answers to the exercises of chapter 2."""

from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from answers import Answers
from detr_lite.boxes import cxcywh_to_xyxy

weight = Answers(
    right=(
        1 / 3,
        0.333,
        Fraction(1, 3),
        torch.tensor([1 / 3]),
        np.float32(1 / 3),
    ),
    wrong=(
        (3, "inverse"),
        (0.25, "only the unmatched"),
        (0.1, "p = 0.77"),
        (0, "0 or less"),
        (-1 / 3, "0 or less"),
        ("a third", "one number"),
        (torch.ones(2), "one number"),
    ),
    edges=((lambda off: 1 / 3 + off, 0.004, 0.006),),
)

# 2: corners in pixels


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


def pixels(boxes, height, width):
    return boxes * torch.tensor([width, height, width, height])


def corners(boxes, height, width):
    return pixels(cxcywh_to_xyxy(boxes), height, width)


def corner_and_size(boxes, height, width):
    first = corners(boxes, height, width)[:, :2]
    return torch.cat((first, pixels(boxes, height, width)[:, 2:]), 1)


pixel_corners = Answers(
    right=(box_by_box, in_place),
    wrong=(
        (lambda b, h, w: corners(b, w, h), "swapped"),
        (lambda b, h, w: cxcywh_to_xyxy(b), "still relative"),
        (pixels, "still center and size"),
        (corner_and_size, "not width and height"),
        (
            lambda b, h, w: corners(b, h, w) + 1,
            "has the corners (0, 0, 160, 80), not (1, 1, 161, 81)",
        ),
        (lambda b, h, w: b[0], "has the shape (4,)"),
        (lambda b, h, w: "corners", "as a tensor"),
        (lambda b, h, w: b @ b, "raised RuntimeError"),
    ),
    edges=(
        (lambda off: lambda b, h, w: corners(b, h, w) + off, 0.008, 0.013),
    ),
)

# 3: greedy matching


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


def hungarian(costs):
    return list(zip(*linear_sum_assignment(costs.numpy()), strict=True))


def segment_by_segment(costs):
    pairs, left = [], costs.clone()
    for t in range(costs.shape[1]):
        q = left[:, t].argmin().item()
        left[q] = float("inf")
        pairs.append((q, t))
    return pairs


greedy = Answers(
    right=(sorted_first,),
    wrong=(
        (hungarian, "better than greedy's"),
        (lambda costs: sorted_first(-costs), "its first pair is (0, 0)"),
        (segment_by_segment, "greedy pays 13 for other pairs"),
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
            "query comes first",
        ),
        (lambda costs: sorted_first(costs)[:, 0], "(query, segment)"),
        (lambda costs: 13, "(query, segment)"),
    ),
)

# 4: what self-attention over zeros says


def call(layer):
    zeros = torch.zeros(1, 2, layer.norm1.normalized_shape[0])
    return layer.self_attn(zeros, zeros, zeros)[:, :1]


def by_hand(layer):
    linear = layer.self_attn.out_proj
    value = layer.self_attn.in_proj_bias[2 * linear.in_features :]
    pairs = zip(linear.weight, linear.bias, strict=True)
    return [(row * value).sum() + b for row, b in pairs]


def third(layer, number):
    """Return the biases of queries, keys or values."""
    return layer.self_attn.in_proj_bias.chunk(3)[number]


def turned(layer):
    linear = layer.self_attn.out_proj
    return third(layer, 2) @ linear.weight + linear.bias


def too_many(layer):
    return layer.self_attn.out_proj(layer.self_attn.in_proj_bias)


def of_the_models_width(layer):
    return layer.self_attn.out_proj(layer.self_attn.in_proj_bias[-128:])


said_to_all = Answers(
    right=(call, by_hand),
    wrong=(
        (lambda x: third(x, 2), "out_proj comes after it"),
        (
            lambda x: x.self_attn.out_proj.weight @ third(x, 2),
            "a bias of its own",
        ),
        (lambda x: x.self_attn.out_proj(third(x, 0)), "of the queries"),
        (lambda x: x.self_attn.out_proj(third(x, 1)), "of the keys"),
        (turned, "the other way round"),
        (lambda x: torch.zeros(16), "the numbers differ"),
        (lambda x: x.self_attn.in_proj_bias, "there should be 16 numbers"),
        (too_many, "raised RuntimeError"),
        (of_the_models_width, "has the width 16"),
    ),
    edges=((lambda off: lambda x: call(x) + off, 0.00008, 0.00013),),
)

query = Answers(
    wrong=(
        (12, "from 0 to 11"),
        (-1, "from 0 to 11"),
        (2.5, "from 0 to 11"),
        ("the sixth", "one number"),
    ),
    choices=tuple(torch.arange(12)),
)

ANSWERS = {1: weight, 2: pixel_corners, 3: greedy, 4: said_to_all, 5: query}
