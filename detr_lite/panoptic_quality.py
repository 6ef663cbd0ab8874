"""Panoptic quality: how well found and true segments overlap."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from detr_lite.errors import DataError

VOID = 0


class PanopticQuality:
    """PQ, SQ and RQ, counted image by image.

    A predicted and a true segment of one class match when their IoU, void
    left out, is above 1/2; then no other pair can.  Per class:
        PQ = sum of IoU / (TP + FP / 2 + FN / 2) = SQ * RQ,
        SQ = sum of IoU / TP,  RQ = TP / (TP + FP / 2 + FN / 2).
    Means are over the classes that occur.  A predicted segment more than
    half of which lies on void, or on a crowd of its class, is no FP.

    Source: Kirillov et al. 2019; pq_compute in panopticapi.
    """

    def __init__(self, num_classes: int):
        self.iou = np.zeros(num_classes)
        self.tp = np.zeros(num_classes, np.int64)
        self.fp = np.zeros(num_classes, np.int64)
        self.fn = np.zeros(num_classes, np.int64)

    def update(
        self,
        predicted_map: Tensor,
        predicted: dict[int, int],
        true_map: Tensor,
        true: dict[int, int],
        crowd: Sequence[int] = (),
    ) -> None:
        """Count one image.

        predicted_map, true_map: (H, W) ids, 0 to 2^31 - 1; predicted, true:
        id -> label; crowd: the true ids that are crowds.
        """
        shared = _overlaps(predicted_map, true_map)
        _check(_areas(shared, 0), predicted, true, len(self.tp))
        found, hit = set(), set()
        for m, t, iou in _matches(shared, predicted, true, crowd):
            self.tp[true[t]] += 1
            self.iou[true[t]] += iou
            found.add(m)
            hit.add(t)
        for t, label in true.items():
            if t not in hit and t not in crowd:
                self.fn[label] += 1
        # Of several crowds of one class panopticapi knows the last alone.
        crowd_of = {true[t]: t for t in true if t in crowd}
        areas = _areas(shared, 0)
        for m, label in predicted.items():
            ignored = shared.get((m, VOID), 0)
            ignored += shared.get((m, crowd_of.get(label)), 0)
            if m not in found and 2 * ignored <= areas[m]:
                self.fp[label] += 1

    def add(self, other: "PanopticQuality") -> None:
        """Count the images that another one has counted."""
        for name in ("iou", "tp", "fp", "fn"):
            mine = getattr(self, name)
            mine += getattr(other, name)

    def compute(self, labels: Sequence[int] | None = None) -> dict[str, float]:
        """Return {"pq", "sq", "rq"}: means over the labels that occur."""
        chosen = np.arange(len(self.tp)) if labels is None else labels
        chosen = np.asarray(chosen, np.int64)
        iou, tp = self.iou[chosen], self.tp[chosen]
        errors = (self.fp[chosen] + self.fn[chosen]) / 2
        occur = tp + errors > 0
        if not occur.any():
            return {"pq": 0.0, "sq": 0.0, "rq": 0.0}
        iou, tp, errors = iou[occur], tp[occur], errors[occur]
        return {
            "pq": float((iou / (tp + errors)).mean()),
            "sq": float((iou / np.maximum(tp, 1)).mean()),
            "rq": float((tp / (tp + errors)).mean()),
        }


def _overlaps(predicted: Tensor, true: Tensor) -> dict[tuple[int, int], int]:
    """Return how many pixels each pair of ids shares: (mine, theirs) -> n.

    Along a row most pixels have the ids of the pixel before, so the pixels
    are cut into runs, and each run is counted as a whole.
    """
    if predicted.shape != true.shape:
        raise DataError(
            f"The predicted id map is {tuple(predicted.shape)} pixels and "
            f"the true one {tuple(true.shape)}; they must be of one size."
        )
    mine, theirs = predicted.cpu().numpy().ravel(), true.cpu().numpy().ravel()
    new = (mine[1:] != mine[:-1]) | (theirs[1:] != theirs[:-1])
    ends = np.append(np.flatnonzero(new), len(mine) - 1)  # of the runs
    shared: dict[tuple[int, int], int] = {}
    runs = zip(mine[ends].tolist(), theirs[ends].tolist(), strict=True)
    for pair, length in zip(runs, np.diff(ends, prepend=-1), strict=True):
        shared[pair] = shared.get(pair, 0) + int(length)
    return shared


def _areas(shared: dict[tuple[int, int], int], side: int) -> dict[int, int]:
    """Return the pixels of each id; side: 0 predicted, 1 true."""
    areas: dict[int, int] = {}
    for pair, n in shared.items():
        areas[pair[side]] = areas.get(pair[side], 0) + n
    return areas


def _matches(
    shared: dict[tuple[int, int], int],
    predicted: dict[int, int],
    true: dict[int, int],
    crowd: Sequence[int],
) -> Iterator[tuple[int, int, float]]:
    """Yield each pair of ids that match, (mine, theirs), and their IoU."""
    area_mine, area_theirs = _areas(shared, 0), _areas(shared, 1)
    for (m, t), n in shared.items():
        # An id of the truth that is not listed is of no class.
        if t in crowd or t not in true or predicted.get(m) != true[t]:
            continue
        union = area_mine[m] + area_theirs[t] - n - shared.get((m, VOID), 0)
        if 2 * n > union:
            yield m, t, n / union


def _check(
    areas: dict[int, int],
    predicted: dict[int, int],
    true: dict[int, int],
    num_classes: int,
) -> None:
    """Refuse a map and a list of segments that do not belong together."""
    for label in (*predicted.values(), *true.values()):
        if not 0 <= label < num_classes:
            raise DataError(
                f"There is no label {label}: {num_classes} classes have the "
                f"labels 0 to {num_classes - 1}."
            )
    for number in areas:
        if number not in predicted and number != VOID:
            raise DataError(
                f"The predicted id map has segment {number}, which is not in "
                "the list of predicted segments; add it with its class."
            )
    for number in predicted:
        if number not in areas:
            raise DataError(
                f"The predicted segment {number} has no pixel in the id map; "
                "leave it out of the list."
            )
