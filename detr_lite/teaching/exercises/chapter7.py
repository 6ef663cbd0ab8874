"""Chapter 7: checkers of its exercises."""

import math
from dataclasses import replace

import torch

from detr_lite.data.categories import Categories, Category
from detr_lite.data.resizing import fit_image, resized_size
from detr_lite.data.sample import Sample
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import needs_function, number, numbers


def exercise_1(answer) -> str:
    """The weight of no object that makes a bet even, and the bet at 0.1."""
    weight, bet = numbers(answer, 2, "The answer is 2 numbers, (weight, bet).")
    if math.isclose(weight, 0.25, rel_tol=0.01):
        raise Wrong("Divide by the idle queries, 24 - 6, not by all 24.")
    if math.isclose(weight, 3, rel_tol=0.01):
        raise Wrong("The weight times 18 must be 6, not the other way round.")
    if not math.isclose(weight, 1 / 3, rel_tol=0.01):
        raise Wrong("The bet is 1/2 where 18 times the weight is 6.")
    if math.isclose(bet, 6 / 24, rel_tol=0.01):
        raise Wrong("6 / 24 is the bet at the weight 1.")
    if math.isclose(bet, 1.8 / 7.8, rel_tol=0.01):
        raise Wrong("That is the bet on no object; the two sum to 1.")
    if not math.isclose(bet, 6 / 7.8, rel_tol=0.01):
        raise Wrong("At 0.1 the 18 idle queries count as 1.8.")
    return "So 0.1 would leave most idle queries above the threshold of 0.7."


def exercise_2(model_size) -> str:
    """The size at which the original's model sees an image."""
    needs_function(model_size)
    cases = [(480, 640), (640, 480), (375, 500), (333, 640), (612, 612)]
    cases += [(h, w) for h in (200, 427, 900) for w in (200, 641, 1333)]
    for height, width in cases:
        mine = numbers(
            model_size(height, width),
            2,
            "The answer is 2 numbers, (height, width).",
        )
        right = _size(height, width)
        if tuple(mine) != right:
            raise Wrong(
                f"An image of {height} x {width} becomes {right[0]} x "
                f"{right[1]}, not {mine[0]:g} x {mine[1]:g}. "
                + _size_hint(mine, height, width)
            )
    return "480 x 640 becomes 800 x 1066."


def _size(height: int, width: int) -> tuple[int, int]:
    return tuple(resized_size((height, width), 800, 1333))


def _size_hint(mine: list[float], height: int, width: int) -> str:
    right = _size(height, width)
    if mine == [right[1], right[0]]:
        return "Height comes first."
    if max(mine) > 1333:
        return "The longer side may not pass 1333."
    if mine != [int(side) for side in mine]:
        return "Pixels are whole numbers."
    if all(abs(m - r) <= 1 for m, r in zip(mine, right, strict=True)):
        return (
            "The shorter side is rounded where the longer limits it; the "
            "longer side is always cut off, as int does."
        )
    return "The shorter side should become 800, if the longer allows it."


def exercise_3(kept_rows) -> str:
    """Which rows of a class head a new list of classes can keep."""
    needs_function(kept_rows)
    for seed in range(4):
        old, new = _two_lists(seed)
        answer = kept_rows(old, new)
        try:
            mine = {int(k): int(v) for k, v in answer.items()}
        except (AttributeError, TypeError, ValueError):
            raise Wrong(
                "Return a dict, {row of the new head: row of the old}."
            ) from None
        labels = {(c.id, c.name): label for label, c in enumerate(old)}
        right = {
            label: labels[c.id, c.name]
            for label, c in enumerate(new)
            if (c.id, c.name) in labels
        }
        right[len(new)] = len(old)
        if mine == right:
            continue
        where = (
            f"For the old classes {_said(old)} and the new ones {_said(new)}: "
        )
        if {v: k for k, v in mine.items()} == right:
            raise Wrong(where + "keys are new rows, values old ones.")
        if len(new) not in mine or mine[len(new)] != len(old):
            raise Wrong(
                where + 'the last row, "no object", means the same in both.'
            )
        if len(mine) != len(right):
            raise Wrong(
                where + f"{len(right)} rows can be kept, not {len(mine)}."
            )
        raise Wrong(where + "rows are labels, positions in a list, not ids.")
    return "All other rows start from random numbers."


def _two_lists(seed: int) -> tuple[Categories, Categories]:
    """Return lists that share two classes, and an id with two names."""
    generator = torch.Generator().manual_seed(seed)
    ids = (10 * torch.randperm(12, generator=generator) + 10).tolist()
    names = [(i, f"class {i}") for i in ids]
    old, new = sorted(names[:6]), [(ids[2], "another"), *names[4:8]]
    return tuple(
        Categories([Category(i, name, True, (0, 0, 0)) for i, name in some])
        for some in (old, new)
    )


def _said(categories: Categories) -> str:
    return ", ".join(f"{c.id} {c.name}" for c in categories)


def exercise_4(answer) -> str:
    """Steps and rate of the preset finetune with 2 images a step."""
    steps, lr = numbers(
        answer, 2, "The answer is 2 numbers, (steps, learning rate)."
    )
    if math.isclose(steps, 500, rel_tol=0.01):
        raise Wrong("With fewer images a step it takes more steps.")
    if math.isclose(steps, 2000, rel_tol=0.01):
        raise Wrong("2,000 steps of 2 look at a quarter of the images.")
    if not math.isclose(steps, 8000, rel_tol=0.01):
        raise Wrong(
            "Count the images that 2,000 steps of 8 look at, then divide by "
            "the images a step."
        )
    if math.isclose(lr, 1.25e-5, rel_tol=0.01):
        raise Wrong("That is the linear rule; take the square root.")
    if math.isclose(lr, 1e-4, rel_tol=0.01):
        raise Wrong("Fewer images a step ask for a lower rate.")
    if not math.isclose(lr, 2.5e-5, rel_tol=0.01):
        raise Wrong("Multiply 5e-5 by the square root of 2 / 8.")
    return "Four times as many steps, at half the rate."


class Shrunken(Part):
    """Validation scenes, shrunk to `size` pixels a side and enlarged.

    The id maps stay as they are; the images have lost what is small.
    """

    def __init__(self, count: int, size: int):
        super().__init__(SceneSplit(VALIDATION_SEED, count), range(count))
        self.size = size

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        side = sample.image.shape[1]
        small = fit_image(sample.image, self.size, self.size)
        return replace(sample, image=fit_image(small, side, side))


def exercise_5(answer) -> str:
    """A size to which scenes can be shrunk at the price of half the PQ."""
    size = number(answer, "The answer is a size in pixels, one number.")
    if size != int(size) or not 4 <= size <= 96:
        raise Wrong("Name a whole number of pixels, 4 to 96.")
    model = load_model("scenes", "cpu")
    metrics = evaluate(model, Shrunken(64, int(size))).metrics
    if not 0.4 <= metrics["pq"] <= 0.6:
        more = metrics["pq"] < 0.4
        raise Wrong(
            f"At {size:g} pixels PQ is {metrics['pq']:.1f}. "
            + ("Leave more pixels." if more else "Take away more.")
        )
    first = "things" if metrics["pq_things"] < metrics["pq_stuff"] else "stuff"
    return f"The {first} suffer more."
