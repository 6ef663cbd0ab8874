"""Answers to the exercises of chapter 3."""

import numpy as np
import torch

from answers import Answers

parameters = Answers(
    right=(131584, 131584.0, torch.tensor(131584), np.int64(131584)),
    wrong=(
        (131072, "bias"),
        (65792, "one linear layer"),
        (65536, "one linear layer"),
        (197376, "with values"),
        (8 * 131584, "don't repeat"),
        (0, "Count a d x d matrix"),
        (1000, "Count a d x d matrix"),
        (float("nan"), "one whole number"),
        ("many", "one whole number"),
        ([1, 2], "one whole number"),
    ),
    edges=((lambda off: 131584 + off, 0, 1),),
)

maps_of_nothing = Answers(
    right=(
        (1 / 12, 1 / 6),
        [0.083, 0.167],
        torch.tensor([1 / 12, 1 / 6], dtype=torch.float64),
        np.array([1 / 12, 1 / 6]),
    ),
    wrong=(
        ((1 / 6, 1 / 12), "swapped"),
        ((0, 0), "e^0 is not 0"),
        ((1 / 6, 1 / 6), "two heads of six"),
        ((1 / 12, 1 / 12), "One head alone"),
        ((1 / 4, 1 / 2), "how many numbers"),
        (1 / 12, "two numbers"),
        ((1 / 12,), "two numbers"),
        ("ab", "two numbers"),
    ),
    edges=(
        (lambda off: (1 / 12 + off, 1 / 6), 0.0015, 0.0025),
        (lambda off: (1 / 12, 1 / 6 + off), 0.0015, 0.0025),
    ),
)

# 3: maps per head


def by_loops(joint):
    result = joint.double()
    for maps in result:
        for head in maps:
            head /= head.sum()
    return result


def by_logarithms(joint):
    scores = joint.log()
    return scores.flatten(2).softmax(-1).view_as(scores)


per_head_maps = Answers(
    right=(by_loops, by_logarithms, lambda joint: by_loops(joint).tolist()),
    wrong=(
        (lambda joint: joint, "joint maps still"),
        (lambda joint: joint * joint.shape[1], "on average only"),
        (lambda joint: joint / joint.sum(1, keepdim=True), "over its posit"),
        (
            lambda joint: joint.flatten(2).softmax(-1).view_as(joint),
            "another softmax",
        ),
        (lambda joint: joint / joint.sum(-1, keepdim=True), "do not sum to 1"),
        (lambda joint: joint.sum((-1, -2)), "not (5, 4, 3, 6)"),
        (lambda joint: joint / joint.sum((-1, -2)), "raised RuntimeError"),
        (torch.ones(5, 4, 3, 6), "is a function"),
    ),
    edges=(
        (lambda off: lambda joint: by_loops(joint) + off, 0.00008, 0.00013),
    ),
)

# 4: the place that maps point at


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


def for_square_maps_alone(maps):
    x, y = place(maps, relative=False)
    return x / maps.shape[-1], y / maps.shape[-1]


mean_place = Answers(
    right=(place, lambda maps: torch.tensor(place(maps))),
    wrong=(
        (lambda maps: place(maps)[::-1], "swapped"),
        (lambda maps: place(maps, half=0), "half a position"),
        (lambda maps: place(maps, relative=False), "divide by w and by h"),
        (lambda maps: place(maps, 0, False), "divide by w and by h"),
        (brightest, "not the mean"),
        (from_border_to_border, "the image's borders"),
        (for_square_maps_alone, "3 x 5 positions"),
        (lambda maps: place(maps[:1]), "of all heads"),
        (lambda maps: place(maps)[0], "two numbers"),
        (lambda maps: maps.sum(0), "two numbers"),
        ((0.5, 0.5), "is a function"),
    ),
    edges=(
        (
            lambda off: lambda maps: (place(maps)[0] + off, place(maps)[1]),
            0.0015,
            0.0025,
        ),
        (
            lambda off: lambda maps: (place(maps)[0], place(maps)[1] + off),
            0.0015,
            0.0025,
        ),
    ),
)

needed_head = Answers(
    wrong=(
        (-1, "numbered 0 to 7"),
        (8, "numbered 0 to 7"),
        (0.5, "numbered 0 to 7"),
        ("head one", "number of one head"),
        ([1, 2], "number of one head"),
    ),
    choices=(0, 1.0, torch.tensor(2), np.int64(3), 4, 5, 6, 7),
)

ANSWERS = {
    1: parameters,
    2: maps_of_nothing,
    3: per_head_maps,
    4: mean_place,
    5: needed_head,
}
