"""Matching: the least cost of all assignments, picture by picture."""

from itertools import permutations

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from support import target

from detr_lite.errors import DataError
from detr_lite.matching import HungarianMatcher, Matching

CLASSES = 3


def problem(seed, queries, counts, layers=1):
    """Return random layers and targets; counts: segments of each picture."""
    random = torch.Generator().manual_seed(seed)

    def boxes(*shape):
        sizes = torch.rand(*shape, 4, generator=random)
        return 0.2 + 0.4 * sizes

    made = [
        (
            torch.randn(len(counts), queries, CLASSES + 1, generator=random),
            boxes(len(counts), queries),
        )
        for _ in range(layers)
    ]
    targets = [
        target(
            torch.randint(CLASSES, (n,), generator=random).tolist(), boxes(n)
        )
        for n in counts
    ]
    return made, targets


def cost(logits, box, label, wanted):
    """The paper's cost of one pair, with the original's weights."""
    corners = torchvision.ops.box_convert(
        torch.stack((box, wanted)), "cxcywh", "xyxy"
    )
    overlap = torchvision.ops.generalized_box_iou(corners[:1], corners[1:])
    distance = (box - wanted).abs().sum()
    return 5 * distance - logits.softmax(-1)[label] - 2 * overlap[0, 0]


def least(logits, boxes, wanted) -> float:
    """Try every assignment of queries to segments."""
    queries, count = len(logits), len(wanted.labels)
    costs = [
        [
            cost(logits[q], boxes[q], label, box).item()
            for label, box in zip(
                wanted.labels.tolist(), wanted.boxes, strict=True
            )
        ]
        for q in range(queries)
    ]
    return min(
        sum(costs[q][t] for t, q in enumerate(chosen))
        for chosen in permutations(range(queries), count)
    )


@given(
    st.integers(0, 10**6),
    st.integers(4, 5),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_no_assignment_costs_less(seed, queries, counts):
    layers, targets = problem(seed, queries, counts)
    logits, boxes = layers[0]
    (matching,) = HungarianMatcher()(layers, targets)
    for i, wanted in enumerate(targets):
        mine = matching.image == i
        pairs = list(
            zip(
                matching.query[mine].tolist(),
                matching.target[mine].tolist(),
                strict=True,
            )
        )
        assert sorted(t for _, t in pairs) == list(range(counts[i]))
        assert len({q for q, _ in pairs}) == counts[i]
        total = sum(
            cost(
                logits[i, q], boxes[i, q], wanted.labels[t], wanted.boxes[t]
            ).item()
            for q, t in pairs
        )
        assert total <= least(logits[i], boxes[i], wanted) + 1e-5


def test_pictures_are_matched_as_if_alone():
    layers, targets = problem(5, 6, [3, 0, 5])
    (together,) = HungarianMatcher()(layers, targets)
    for i in range(3):
        one = [
            (logits[i : i + 1], boxes[i : i + 1]) for logits, boxes in layers
        ]
        (alone,) = HungarianMatcher()(one, targets[i : i + 1])
        mine = together.image == i
        assert torch.equal(together.query[mine], alone.query)
        assert torch.equal(together.target[mine], alone.target)


def test_layers_are_matched_as_if_alone():
    layers, targets = problem(6, 6, [3, 4], layers=3)
    together = HungarianMatcher()(layers, targets)
    assert len(together) == 3
    for layer, matching in zip(layers, together, strict=True):
        (alone,) = HungarianMatcher()([layer], targets)
        assert torch.equal(matching.query, alone.query)
        assert torch.equal(matching.target, alone.target)


def test_pictures_without_segments_match_nothing():
    layers, targets = problem(7, 4, [0, 0])
    (matching,) = HungarianMatcher()(layers, targets)
    assert matching.image.tolist() == []
    assert not matching.keep(4, 2).any()
    assert matching.gather([t.boxes for t in targets]).shape == (0, 4)


def test_more_segments_than_queries_leaves_segments_unmatched():
    layers, targets = problem(8, 3, [5])
    (matching,) = HungarianMatcher()(layers, targets)
    assert sorted(matching.query.tolist()) == [0, 1, 2]
    assert len(set(matching.target.tolist())) == 3


def test_pairs_are_sorted_by_picture_and_then_by_query():
    layers, targets = problem(9, 8, [4, 6, 2])
    (matching,) = HungarianMatcher()(layers, targets)
    rows = list(
        zip(matching.image.tolist(), matching.query.tolist(), strict=True)
    )
    assert rows == sorted(rows)
    assert torch.equal(
        torch.stack((matching.image, matching.query), 1),
        matching.keep(8, 3).nonzero(),
    )


def test_gather_picks_the_row_of_each_pair():
    matching = Matching(
        torch.tensor([0, 0, 2]),
        torch.tensor([1, 3, 0]),
        torch.tensor([1, 0, 2]),
    )
    rows = [torch.tensor(r) for r in ([10, 11], [20], [30, 31, 32])]
    assert matching.gather(rows).tolist() == [11, 10, 32]


def test_matching_needs_no_gradient():
    layers, targets = problem(10, 4, [2])
    layers[0][0].requires_grad_(True)
    matcher = HungarianMatcher()
    assert not matcher(layers, targets)[0].query.requires_grad


def test_boxes_that_are_no_numbers_are_refused_with_advice():
    layers, targets = problem(11, 4, [2])
    layers[0][1][0, 1, 2] = float("nan")
    with pytest.raises(DataError, match="lower the learning rate"):
        HungarianMatcher()(layers, targets)
