"""Boxes: conversions, and the generalized IoU against torchvision's."""

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from detr_lite.boxes import cxcywh_to_xyxy, giou, xyxy_to_cxcywh

place = st.floats(0, 1, width=32)


@st.composite
def corner_boxes(draw, most=4):
    """Return (1 to most, 4) boxes with corners in order."""
    rows = draw(
        st.lists(
            st.tuples(place, place, place, place), min_size=1, max_size=most
        )
    )
    return torch.tensor(
        [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows],
        dtype=torch.float64,
    )


def test_center_and_size_become_corners():
    box = torch.tensor([0.5, 0.4, 0.2, 0.6])
    wanted = torch.tensor([0.4, 0.1, 0.6, 0.7])
    torch.testing.assert_close(cxcywh_to_xyxy(box), wanted)


@given(corner_boxes())
def test_conversions_undo_each_other(boxes):
    back = cxcywh_to_xyxy(xyxy_to_cxcywh(boxes))
    torch.testing.assert_close(back, boxes, rtol=0, atol=1e-15)


@given(corner_boxes(), corner_boxes())
def test_giou_of_all_pairs_equals_torchvisions(a, b):
    for boxes in (a, b):  # torchvision gives NaN for boxes of size 0
        boxes[:, 2:] += 0.01
    wanted = torchvision.ops.generalized_box_iou(a, b)
    found = giou(a[:, None], b[None])
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@given(corner_boxes(most=3))
def test_giou_pairs_are_the_diagonal_of_all_pairs(boxes):
    other = boxes.flip(0)
    every = giou(boxes[:, None], other[None])
    assert torch.equal(giou(boxes, other), every.diagonal())


@given(corner_boxes(), corner_boxes())
def test_giou_is_a_number_from_minus_one_to_one(a, b):
    found = giou(a[:, None], b[None])
    assert (found >= -1 - 1e-12).all()
    assert (found <= 1 + 1e-12).all()


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        # The same box; half of it; a neighbor; one at a distance of one box.
        ([0.0, 0.0, 1.0, 1.0], 1.0),
        ([0.0, 0.0, 1.0, 0.5], 0.5),
        ([1.0, 0.0, 2.0, 1.0], 0.0),
        ([2.0, 0.0, 3.0, 1.0], -1 / 3),
    ],
)
def test_giou_with_the_unit_box(box, wanted):
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert giou(torch.tensor(box), unit).item() == pytest.approx(wanted)


def test_giou_of_two_points_is_a_number():
    point = torch.tensor([[0.3, 0.3, 0.3, 0.3]])
    assert giou(point, point).isfinite().all()


def test_giou_of_boxes_of_size_zero_has_finite_gradients():
    boxes = torch.tensor([[0.3, 0.3, 0.3, 0.3]], requires_grad=True)
    other = torch.tensor([[0.3, 0.3, 0.3, 0.3]])
    giou(boxes, other).sum().backward()
    assert boxes.grad.isfinite().all()
