"""Answers to the exercises of chapter 6."""

from dataclasses import replace

import numpy as np
import torch

from answers import Answers
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.training.recipes import Phase, preset

pq = Answers(
    right=(8 / 13, 0.615, torch.tensor(8 / 13), np.float32(8 / 13)),
    wrong=(
        (0.8, "That is SQ"),
        (5 / 6.5, "That is RQ"),
        (0.5, "one half"),
        (4 / 7, "FP and FN both count"),
        (4.0, "Divide the sum"),
        (61.5, "from 0 to 1"),
        ("much", "a single number"),
        ([0.6, 0.7], "a single number"),
    ),
    edges=((lambda off: 8 / 13 + off, 0.004, 0.006),),
)

# 2: how often each phase sees each image


def each(rate):
    """Return an answer that takes this rate of a phase and a count."""
    return lambda recipe, count: {
        phase.name: rate(phase, count) for phase in recipe.phases
    }


def in_order(recipe, count):
    """A list in the order of the phases."""
    return [
        torch.tensor(p.steps * p.batch_size) / count for p in recipe.phases
    ]


def times(off):
    return each(lambda p, n: (1 + off) * p.steps * p.batch_size / n)


epochs = Answers(
    right=(in_order,),
    wrong=(
        (each(lambda p, n: p.steps / n), "more than one image"),
        (each(lambda p, n: p.steps * p.batch_size // n), "Do not round"),
        (
            each(lambda p, n: p.steps * n / p.batch_size),
            "Count the images",
        ),
        (each(lambda p, n: "three"), "a single number"),
        (each(lambda p, n: 1 / 0), "ZeroDivisionError"),
        (lambda r, n: {"boxes": 750 * 32 / 8192}, "leaves out phase masks"),
        (lambda r, n: 2.9, "the name of each phase"),
    ),
    edges=((times, 0.008, 0.013),),
)

QUICK = preset("quick")
MASKS = replace(QUICK.phases[-1], steps=120)

masks_only = Answers(
    right=(
        replace(QUICK, phases=[Phase("masks", 120, 16, 3e-3, clip=1.0)]),
        replace(QUICK, phases=(MASKS,)),
    ),
    wrong=(
        (MASKS, "is a Recipe"),
        (QUICK, "not boxes, masks"),
        (replace(QUICK, phases=QUICK.phases[:1]), "not boxes"),
        (replace(QUICK, phases=()), "not none"),
        (replace(QUICK, phases=QUICK.phases[1:]), "not 240"),
        (replace(QUICK, phases=(replace(MASKS, lr=1e-3),)), "but the steps"),
        (replace(QUICK, phases=(MASKS,), seed=1), "but the phases"),
    ),
)

# 4: segments that were missed


def by_the_package(prediction, sample):
    quality = PanopticQuality(8)
    ids, labels = sample.segment_ids.tolist(), sample.labels.tolist()
    found = {s.id: s.label for s in prediction.segments}
    true = dict(zip(ids, labels, strict=True))
    quality.update(prediction.id_map, found, sample.id_map, true)
    return quality.fn.sum()


def counted(hit):
    """Return an FN that has the mistake that `hit` has.

    hit: whether found segment s, with its mask, is a match for a true one,
    with its mask, label and id.
    """

    def missed(prediction, sample):
        count = 0
        for number, label in zip(
            sample.segment_ids, sample.labels, strict=True
        ):
            true = sample.id_map == number
            count += not any(
                hit(prediction.id_map == s.id, true, s, label, number)
                for s in prediction.segments
            )
        return count

    return missed


def iou(mask, true):
    return (mask & true).sum() / (mask | true).sum()


missed_segments = Answers(
    right=(by_the_package,),
    wrong=(
        # any class; half is enough; covered; the same id; the class alone
        (counted(lambda m, t, s, c, n: iou(m, t) > 0.5), "called a crate"),
        (
            counted(lambda m, t, s, c, n: iou(m, t) >= 0.5 and s.label == c),
            "its IoU is 1/2",
        ),
        (
            counted(
                lambda m, t, s, c, n: (
                    2 * (m & t).sum() > t.sum() and s.label == c
                )
            ),
            "far too large",
        ),
        (
            counted(
                lambda m, t, s, c, n: (
                    s.id == n and iou(m, t) > 0.5 and s.label == c
                )
            ),
            "ids are others",
        ),
        (counted(lambda m, t, s, c, n: s.label == c), "called a crate"),
    ),
    edges=((lambda off: lambda *pair: by_the_package(*pair) + off, 0, 1),),
)

amplitude = Answers(
    right=(torch.tensor(80.0),),
    wrong=(
        (20, "It can take more noise"),
        (200, "Use less noise"),
        (-1, "0 or more"),
        (1000, "less than 256"),
        ("loud", "a single number"),
    ),
)

ANSWERS = {
    1: pq,
    2: epochs,
    3: masks_only,
    4: missed_segments,
    5: amplitude,
}
