"""Losses against torchvision's and against sums done by hand."""

import math

import pytest
import torch
import torchvision
from support import target

from detr_lite.backbone import Pyramid
from detr_lite.detr import DetrOutput
from detr_lite.losses import (
    DetectionLoss,
    MaskLoss,
    box_losses,
    class_loss,
    dice_loss,
    focal_loss,
    mask_pairs,
)
from detr_lite.matching import Matching
from detr_lite.panoptic_detr import PanopticOutput
from detr_lite.savings.mask_losses import MaskLossInParts


def matching(*pairs):
    """Return a matching of (image, query, target) triples."""
    table = torch.tensor(pairs, dtype=torch.int64).view(-1, 3)
    return Matching(*table.T)


NOTHING = [target([], [])]
ONE = [target([1], [[0.5, 0.5, 0.4, 0.4]])]


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_class_loss_by_hand(weight):
    """Two queries, two classes: p = 3/5 for the truth, 1/3 for no object."""
    logits = torch.tensor([[[0.0, math.log(3), 0.0], [0.0, 0.0, 0.0]]])
    loss = class_loss(logits, matching((0, 0, 0)), ONE, weight)
    wanted = (math.log(5 / 3) + weight * math.log(3)) / (1 + weight)
    assert loss.item() == pytest.approx(wanted)


def test_class_loss_without_segments_wants_no_object_everywhere():
    logits = torch.zeros(1, 3, 3)
    logits[..., 2] = math.log(2)
    loss = class_loss(logits, matching(), NOTHING, 0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_box_losses_by_hand():
    """Boxes of 0.4 x 0.4, one shifted by half of its width: IoU 1/3."""
    boxes = torch.tensor([[[0.0, 0.0, 0.1, 0.1], [0.7, 0.5, 0.4, 0.4]]])
    l1, overlap = box_losses(boxes, matching((0, 1, 0)), ONE, 2.0)
    assert l1.item() == pytest.approx(0.2 / 2)
    assert overlap.item() == pytest.approx((1 - 1 / 3) / 2)


def test_box_loss_equals_torchvisions():
    boxes = 0.2 + 0.3 * torch.rand(1, 5, 4)
    truth = 0.2 + 0.3 * torch.rand(5, 4)
    pairs = matching(*((0, i, i) for i in range(5)))
    _, overlap = box_losses(boxes, pairs, [target([0] * 5, truth)], 3.0)
    corners = (
        torchvision.ops.box_convert(b, "cxcywh", "xyxy")
        for b in (boxes[0], truth)
    )
    wanted = torchvision.ops.generalized_box_iou_loss(
        *corners, reduction="sum"
    )
    torch.testing.assert_close(overlap, wanted / 3, rtol=1e-5, atol=1e-5)


def test_box_losses_without_segments_are_zero_and_have_gradients():
    boxes = torch.rand(1, 3, 4, requires_grad=True)
    l1, overlap = box_losses(boxes, matching(), NOTHING, 1.0)
    assert l1.item() == overlap.item() == 0
    (l1 + overlap).backward()
    assert (boxes.grad == 0).all()


def test_focal_loss_equals_torchvisions():
    logits = 3 * torch.randn(4, 50)
    wanted = (torch.rand(4, 50) < 0.3).float()
    other = torchvision.ops.sigmoid_focal_loss(
        logits, wanted, alpha=0.25, gamma=2
    )
    torch.testing.assert_close(
        focal_loss(logits, wanted, 5.0), other.mean(1).sum() / 5
    )


def test_dice_loss_by_hand():
    """p = 1/2 on two pixels, one wanted: (2 / 2 + 1) / (1 + 1 + 1)."""
    logits, wanted = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    loss = dice_loss(logits, wanted, 2.0)
    assert loss.item() == pytest.approx((1 - 2 / 3) / 2)


def test_dice_loss_of_a_perfect_mask_is_zero():
    wanted = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    loss = dice_loss(200 * wanted - 100, wanted, 1.0)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def segmented(shape, ids):
    """Return a target with the ids in vertical stripes."""
    stripes = torch.arange(shape[1]) * len(ids) // shape[1]
    id_map = torch.tensor(ids)[stripes].expand(shape).to(torch.int32)
    boxes = torch.full((len(ids), 4), 0.5)
    return target([0] * len(ids), boxes, id_map, torch.tensor(ids))


def panoptic_output(mask_logits, image_index, sizes=None):
    """Return a PanopticOutput with these masks and nothing else."""
    nothing = torch.zeros(0)
    pyramid = Pyramid(*[nothing] * 4)
    detection = DetrOutput(*[nothing] * 6, pyramid, sizes=sizes)
    return PanopticOutput(
        detection, image_index, image_index, nothing, mask_logits
    )


def test_wanted_masks_are_the_matched_segments():
    targets = [segmented((2, 4), [7, 9]), segmented((3, 2), [5])]
    pairs = matching((0, 0, 1), (0, 3, 0), (1, 2, 0))
    output = panoptic_output(torch.zeros(3, 3, 5), torch.tensor([0, 0, 1]))
    ((logits, wanted),) = mask_pairs(output, pairs, targets, (3, 5))
    assert logits.shape == wanted.shape == (3, 3, 5)
    assert wanted.int().tolist() == [
        [[0, 0, 1, 1, 0]] * 2 + [[0] * 5],
        [[1, 1, 0, 0, 0]] * 2 + [[0] * 5],
        [[1, 1, 0, 0, 0]] * 3,
    ]


def test_with_exact_padding_only_a_pictures_own_pixels_count():
    targets = [segmented((2, 4), [7, 9]), segmented((3, 2), [5])]
    pairs = matching((0, 0, 1), (0, 3, 0), (1, 2, 0))
    sizes = tuple(Pyramid(s, s, s, s) for s in ((2, 4), (3, 2)))
    logits = torch.randn(3, 3, 4)
    output = panoptic_output(logits, torch.tensor([0, 0, 1]), sizes)
    one, other = mask_pairs(output, pairs, targets, (3, 4))
    assert torch.equal(one[0], logits[:2, :2])
    assert torch.equal(other[0], logits[2:, :, :2])
    assert one[1].int().tolist() == [[[0, 0, 1, 1]] * 2, [[1, 1, 0, 0]] * 2]
    assert other[1].int().tolist() == [[[1, 1]] * 3]


def detection(layers):
    """Return a DetrOutput with these (class_logits, boxes)."""
    nothing = torch.zeros(0)
    return DetrOutput(
        *layers[-1],
        nothing,
        nothing,
        nothing,
        nothing,
        Pyramid(*[nothing] * 4),
        tuple(layers[:-1]),
    )


def test_detection_loss_is_the_weighted_sum_over_all_layers():
    layers = [
        (torch.randn(1, 2, 3), 0.3 + 0.3 * torch.rand(1, 2, 4))
        for _ in range(3)
    ]
    pairs = [matching((0, i % 2, 0)) for i in range(3)]
    losses = DetectionLoss(0.4, l1=5, giou=2)(
        detection(layers), pairs, ONE, 2.0
    )
    total = 0
    for (logits, boxes), pair in zip(layers, pairs, strict=True):
        l1, overlap = box_losses(boxes, pair, ONE, 2.0)
        total += class_loss(logits, pair, ONE, 0.4) + 5 * l1 + 2 * overlap
    torch.testing.assert_close(losses["loss"], total)
    torch.testing.assert_close(losses["l1"], l1)


def test_no_object_weight_of_the_original_is_a_tenth():
    assert DetectionLoss().no_object_weight == 0.1


def with_masks(mask_logits, pairs):
    return panoptic_output(mask_logits, pairs.image)


def test_mask_loss_is_focal_plus_dice_at_the_pictures_size():
    truth = segmented((4, 6), [1, 2])
    pairs = matching((0, 0, 1), (0, 1, 0))
    logits = torch.randn(2, 4, 6)
    losses = MaskLoss(focal=2, dice=3)(
        with_masks(logits, pairs), pairs, [truth], (4, 6), 2.0
    )
    wanted = truth.masks().flip(0).flatten(1).float()
    focal = focal_loss(logits.flatten(1), wanted, 2.0)
    dice = dice_loss(logits.flatten(1), wanted, 2.0)
    torch.testing.assert_close(losses["focal"], focal)
    torch.testing.assert_close(losses["dice"], dice)
    torch.testing.assert_close(losses["loss"], 2 * focal + 3 * dice)


def test_mask_loss_compares_small_masks_with_full_size_segments():
    """Right masks at a quarter of the size cost little, wrong ones much."""
    truth = segmented((16, 16), [1, 2])
    pairs = matching((0, 0, 0), (0, 1, 1))
    small = truth.masks()[:, ::4, ::4] * 20.0 - 10

    def loss(logits):
        run = MaskLoss()
        output = with_masks(logits, pairs)
        return run(output, pairs, [truth], (16, 16), 2.0)["loss"].item()

    assert loss(small) < 0.1
    assert loss(-small) > 1


def test_mask_loss_without_segments_is_zero_and_has_gradients():
    pairs = matching()
    logits = torch.zeros(0, 4, 6, requires_grad=True)
    truth = [target([], [], torch.zeros(4, 6, dtype=torch.int32))]
    losses = MaskLoss()(with_masks(logits, pairs), pairs, truth, (4, 6), 1.0)
    assert losses["loss"].item() == 0
    losses["loss"].backward()


class Kept:
    """A tensor that is kept for the gradient; counts the bytes of all."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Kept.now += tensor.nbytes
        Kept.most = max(Kept.most, Kept.now)

    def __del__(self):
        Kept.now -= self.tensor.nbytes


def test_a_few_masks_at_a_time_give_the_same_loss_with_less_kept():
    """What is at full size is not kept for the gradient, the gradient is."""
    truth = segmented((64, 48), [1, 2])
    pairs = matching(*((0, i, i % 2) for i in range(6)))
    start = torch.randn(6, 16, 12)

    def run(pixels):
        logits = start.clone().requires_grad_()
        Kept.now = Kept.most = 0
        with torch.autograd.graph.saved_tensors_hooks(
            Kept, lambda kept: kept.tensor
        ):
            losses = MaskLossInParts(pixels=pixels)(
                with_masks(logits, pairs), pairs, [truth], (64, 48), 2.0
            )
            kept = Kept.now, Kept.most
        losses["loss"].backward()
        return losses["loss"].detach(), logits.grad, *kept

    *wanted, all_kept, most = run(10**9)
    *found, kept, peak = run(2 * 64 * 48)
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)
    assert wanted[1].abs().max() > 1e-3
    assert kept < all_kept / 10
    assert peak < most / 2


def test_parts_are_weighted_and_reported_as_the_whole_is():
    truth = segmented((8, 8), [1, 2])
    pairs = matching(*((0, i, i % 2) for i in range(5)))
    logits = torch.randn(5, 4, 4)
    whole, parts = (
        MaskLossInParts(focal=2, dice=3, pixels=pixels)(
            with_masks(logits, pairs), pairs, [truth], (8, 8), 2.0
        )
        for pixels in (10**9, 64)
    )
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)


def test_gradients_of_parts_do_not_vanish_in_half_precision():
    """A gradient scaler multiplies the loss: half floats end at 6e-8."""
    truth = segmented((8, 8), [1, 2])
    pairs = matching((0, 0, 0), (0, 1, 1))
    logits = torch.randn(2, 4, 4, dtype=torch.float16, requires_grad=True)
    gradients = []
    for pixels in (10**9, 64):
        loss = MaskLossInParts(pixels=pixels)(
            with_masks(logits, pairs), pairs, [truth], (8, 8), 1e8
        )["loss"]
        gradients += torch.autograd.grad(loss * 2**24, logits)
    whole, parts = gradients
    assert parts.dtype == torch.float16
    assert parts.abs().min() > 0
    torch.testing.assert_close(parts, whole)
