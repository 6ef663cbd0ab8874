"""Matching: the least cost of all assignments, image by image."""

from itertools import permutations

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from support import joined, target

from detr_lite.errors import DataError
from detr_lite.matching import HungarianMatcher, matched

CLASSES = 3


def problem(seed, queries, counts, layers=1):
    """Return logits and boxes of random layers, and each image's target.

    counts: segments of each image.
    """
    random = torch.Generator().manual_seed(seed)

    def boxes(*shape):
        sizes = torch.rand(*shape, 4, generator=random)
        return 0.2 + 0.4 * sizes

    shape = layers, len(counts), queries
    logits = torch.randn(*shape, CLASSES + 1, generator=random)
    found = boxes(*shape)
    targets = [
        target(
            torch.randint(CLASSES, (n,), generator=random).tolist(), boxes(n)
        )
        for n in counts
    ]
    return logits, found, targets


def match(logits, boxes, targets):
    """Return the queries of the only layer, by image."""
    (queries,) = HungarianMatcher()(logits, boxes, joined(targets))
    assert queries.dtype == torch.int64
    counts = [len(t.labels) for t in targets]
    return [part.tolist() for part in queries.split(counts)]


def cost(logits, box, label, wanted):
    """The paper's cost of one pair, with the original's weights."""
    corners = torchvision.ops.box_convert(
        torch.stack((box, wanted)), "cxcywh", "xyxy"
    )
    overlap = torchvision.ops.generalized_box_iou(corners[:1], corners[1:])
    distance = (box - wanted).abs().sum()
    return 5 * distance - logits.softmax(-1)[label] - 2 * overlap[0, 0]


def table(logits, boxes, wanted) -> list[list[float]]:
    """Return what each query of an image costs each segment."""
    return [
        [
            cost(logits[q], boxes[q], label, box).item()
            for q in range(len(logits))
        ]
        for label, box in zip(
            wanted.labels.tolist(), wanted.boxes, strict=True
        )
    ]


def least(costs, queries) -> float:
    """Try every assignment of queries to segments."""
    return min(
        sum(row[q] for row, q in zip(costs, chosen, strict=True))
        for chosen in permutations(range(queries), len(costs))
    )


@given(
    st.integers(0, 10**6),
    st.integers(4, 5),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_no_assignment_costs_less(seed, queries, counts):
    logits, boxes, targets = problem(seed, queries, counts)
    found = match(logits, boxes, targets)
    for i, (chosen, wanted) in enumerate(zip(found, targets, strict=True)):
        assert len(set(chosen)) == counts[i]
        assert set(chosen) <= set(range(queries))
        costs = table(logits[0, i], boxes[0, i], wanted)
        total = sum(row[q] for row, q in zip(costs, chosen, strict=True))
        assert total <= least(costs, queries) + 1e-5


def test_the_weights_of_the_cost_may_be_others():
    """Where one alone counts, each segment gets what is best in that."""
    logits, boxes, (wanted,) = problem(4, 5, [1])
    (label,) = wanted.labels.tolist()
    by_class = HungarianMatcher(1, 0, 0)(logits, boxes, wanted)
    assert by_class.item() == logits[0, 0].softmax(-1)[:, label].argmax()
    by_distance = HungarianMatcher(0, 1, 0)(logits, boxes, wanted)
    distances = (boxes[0, 0] - wanted.boxes).abs().sum(-1)
    assert by_distance.item() == distances.argmin()


def test_pictures_are_matched_as_if_alone():
    logits, boxes, targets = problem(5, 6, [3, 0, 5])
    together = match(logits, boxes, targets)
    for i in range(3):
        one = slice(i, i + 1)
        (alone,) = match(logits[:, one], boxes[:, one], targets[one])
        assert together[i] == alone


def test_layers_are_matched_as_if_alone():
    logits, boxes, targets = problem(6, 6, [3, 4], layers=3)
    together = HungarianMatcher()(logits, boxes, joined(targets))
    assert together.shape == (3, 7)
    for layer in range(3):
        one = slice(layer, layer + 1)
        alone = HungarianMatcher()(logits[one], boxes[one], joined(targets))
        assert torch.equal(together[one], alone)
    assert len({tuple(row) for row in together.tolist()}) == 3


def test_pictures_without_segments_match_nothing():
    logits, boxes, targets = problem(7, 4, [0, 0], layers=2)
    queries = HungarianMatcher()(logits, boxes, joined(targets))
    assert queries.shape == (2, 0)
    assert matched(queries[-1], joined(targets), 4).tolist() == []


def test_more_segments_than_queries_leave_segments_without_one():
    """Those that cost least get one; the others say so by the number N."""
    logits, boxes, targets = problem(8, 3, [5, 2])
    many, few = match(logits, boxes, targets)
    assert sorted(many) == [0, 1, 2, 3, 3]
    costs = table(logits[0, 0], boxes[0, 0], targets[0])
    total = sum(costs[t][q] for t, q in enumerate(many) if q < 3)
    assert total == pytest.approx(
        min(
            sum(costs[t][q] for q, t in enumerate(chosen))
            for chosen in permutations(range(5), 3)
        )
    )
    assert len(set(few) & {0, 1, 2}) == 2
    queries = torch.tensor(many + few)
    with_one = matched(queries, joined(targets), 3).tolist()
    assert with_one == [t for t, q in enumerate(many + few) if q < 3]


def test_as_a_rule_every_segment_has_a_query():
    logits, boxes, targets = problem(9, 8, [4, 6, 2])
    (queries,) = HungarianMatcher()(logits, boxes, joined(targets))
    assert matched(queries, joined(targets), 8).tolist() == [*range(12)]


def test_matching_needs_no_gradient():
    logits, boxes, targets = problem(10, 4, [2])
    logits.requires_grad_(True)
    assert not HungarianMatcher()(logits, boxes, joined(targets)).requires_grad


def test_boxes_that_are_no_numbers_are_refused_with_advice():
    logits, boxes, targets = problem(11, 4, [2])
    boxes[0, 0, 1, 2] = float("nan")
    with pytest.raises(DataError, match="lower the learning rate"):
        HungarianMatcher()(logits, boxes, joined(targets))
