"""Answers to the exercises of chapter 7."""

import numpy as np
import torch

from answers import Answers

# 1: the weight of no object that makes a blind bet even

bets = Answers(
    right=(
        [1 / 3, 0.769],
        torch.tensor([1 / 3, 6 / 7.8]),
        np.array([0.333, 0.77]),
    ),
    wrong=(
        ((0.25, 6 / 7.8), "not by all 24"),
        ((3, 6 / 7.8), "the other way round"),
        ((0.5, 6 / 7.8), "18 times the weight"),
        ((1 / 3, 0.25), "the bet at the weight 1"),
        ((1 / 3, 1.8 / 7.8), "sum to 1"),
        ((1 / 3, 0.5), "count as 1.8"),
        (0.5, "2 numbers"),
        ("many", "2 numbers"),
    ),
    edges=(
        (lambda off: ((1 + off) / 3, 6 / 7.8), 0.008, 0.013),
        (lambda off: (1 / 3, 6 / 7.8 * (1 + off)), 0.008, 0.013),
    ),
)

# 2: the size at which the model sees an image


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


def by_the_smaller(height, width):
    side = min(800, round(1333 * min(height, width) / max(height, width)))
    if height <= width:
        return torch.tensor([side, side * width // height])
    return side * height // width, side


model_size = Answers(
    right=(by_the_smaller,),
    wrong=(
        (size(swap=True), "Height comes first"),
        (size(longest=10**9), "may not pass 1333"),
        (size(other=round), "cut off"),
        (size(other=float), "whole numbers"),
        (size(shortest=600), "should become 800"),
        (lambda h, w: 800, "2 numbers"),
        (lambda h, w: 1 / 0, "ZeroDivisionError"),
    ),
    edges=((lambda off: lambda h, w: [s + off for s in size()(h, w)], 0, 1),),
)

# 3: rows that are kept


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


def as_other_numbers(old, new):
    kept = rows(both)(old, new)
    return {torch.tensor(k): np.int64(v) for k, v in kept.items()}


def by_ids(old, new):
    kept = {c.id: c.id for c in new if c in list(old)}
    return {**kept, len(new): len(old)}


kept_rows = Answers(
    right=(as_other_numbers,),
    wrong=(
        (rows(lambda c: c.id), "rows can be kept"),
        (rows(both, no_object=False), '"no object", means the same'),
        (rows(both, turned=True), "keys are new rows"),
        (by_ids, "rows are labels"),
        (lambda old, new: [1, 2], "Return a dict"),
        (lambda old, new: {"first": "second"}, "Return a dict"),
        ({1: 2}, "is a function"),
    ),
)

# 4: steps and rate with fewer images a step

plan = Answers(
    right=([8000, 2.5e-5],),
    wrong=(
        ((500, 2.5e-5), "more steps"),
        ((2000, 2.5e-5), "a quarter of the images"),
        ((1e6, 2.5e-5), "Count the images"),
        ((8000, 1.25e-5), "linear rule"),
        ((8000, 1e-4), "lower rate"),
        ((8000, 5e-5), "square root of"),
        (7, "2 numbers"),
    ),
    edges=(
        (lambda off: (8000 * (1 + off), 2.5e-5), 0.008, 0.013),
        (lambda off: (8000, 2.5e-5 * (1 + off)), 0.008, 0.013),
    ),
)

pixels = Answers(
    right=(np.int64(13),),
    wrong=(
        (90, "Take away more"),
        (6, "Leave more pixels"),
        (24.5, "a whole number"),
        (200, "4 to 96"),
        ("small", "a size in pixels"),
    ),
)

ANSWERS = {1: bets, 2: model_size, 3: kept_rows, 4: plan, 5: pixels}
