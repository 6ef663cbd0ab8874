"""Losses against torchvision's and against sums done by hand."""

import math

import pytest
import torch
import torchvision
from support import joined, target

from detr_lite.losses import (
    DetectionLoss,
    MaskLoss,
    box_losses,
    class_loss,
    dice_loss,
    focal_loss,
)
from detr_lite.savings.mask_losses import MaskLossInParts


def queries(*numbers):
    """Return the queries of one layer, (1, T)."""
    return torch.tensor(numbers, dtype=torch.int64)[None]


NOTHING = target([], [])
ONE = target([1], [[0.5, 0.5, 0.4, 0.4]])


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_class_loss_by_hand(weight):
    """Two queries, two classes: p = 3/5 for the truth, 1/3 for no object."""
    logits = torch.tensor([[[[0.0, math.log(3), 0.0], [0.0, 0.0, 0.0]]]])
    loss = class_loss(logits, queries(0), ONE, weight)
    wanted = (math.log(5 / 3) + weight * math.log(3)) / (1 + weight)
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(wanted)


def test_class_loss_without_segments_wants_no_object_everywhere():
    logits = torch.zeros(1, 1, 3, 3)
    logits[..., 2] = math.log(2)
    loss = class_loss(logits, queries(), NOTHING, 0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_each_segments_class_is_wanted_of_its_own_query_and_image():
    """The gradient pulls up the wanted class of a query and no other."""
    targets = joined(
        [target([1, 0], torch.rand(2, 4)), target([1], [[0] * 4])]
    )
    logits = torch.zeros(2, 2, 3, 3, requires_grad=True)
    chosen = torch.tensor([[2, 0, 1], [0, 1, 2]])
    class_loss(logits, chosen, targets, 0.1).sum().backward()
    assert (logits.grad < 0).sum(-1).eq(1).all()
    assert logits.grad.argmin(-1).tolist() == [
        [[0, 2, 1], [2, 1, 2]],
        [[1, 0, 2], [2, 2, 1]],
    ]


def test_box_losses_by_hand():
    """Boxes of 0.4 x 0.4, one shifted by half of its width: IoU 1/3."""
    boxes = torch.tensor([[[[0.0, 0.0, 0.1, 0.1], [0.7, 0.5, 0.4, 0.4]]]])
    l1, overlap = box_losses(boxes, queries(1), ONE, 2.0)
    assert l1.shape == overlap.shape == (1,)
    assert l1.item() == pytest.approx(0.2 / 2)
    assert overlap.item() == pytest.approx((1 - 1 / 3) / 2)


def test_box_loss_equals_torchvisions():
    """Two images, whose segments have queries in an order of their own."""
    boxes = 0.2 + 0.3 * torch.rand(1, 2, 5, 4)
    truth = 0.2 + 0.3 * torch.rand(8, 4)
    targets = joined([target([0] * 5, truth[:5]), target([0] * 3, truth[5:])])
    order = [3, 1, 0, 4, 2, 4, 0, 1]
    _, overlap = box_losses(boxes, queries(*order), targets, 3.0)
    mine = boxes[0, targets.image, order]
    corners = (
        torchvision.ops.box_convert(b, "cxcywh", "xyxy") for b in (mine, truth)
    )
    wanted = torchvision.ops.generalized_box_iou_loss(
        *corners, reduction="sum"
    )
    torch.testing.assert_close(overlap[0], wanted / 3, rtol=1e-5, atol=1e-5)


def test_box_losses_without_segments_are_zero_and_have_gradients():
    boxes = torch.rand(1, 1, 3, 4, requires_grad=True)
    l1, overlap = box_losses(boxes, queries(), NOTHING, 1.0)
    assert l1.item() == overlap.item() == 0
    (l1 + overlap).sum().backward()
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


def test_masks_are_those_of_the_chosen_segments_without_the_padding():
    targets = joined([segmented((2, 4), [7, 9]), segmented((3, 2), [7])])
    masks = targets.masks(torch.tensor([1, 0, 2]))
    assert masks.dtype == torch.bool
    assert masks.int().tolist() == [
        [[0, 0, 1, 1]] * 2 + [[0] * 4],
        [[1, 1, 0, 0]] * 2 + [[0] * 4],
        [[1, 1, 0, 0]] * 3,
    ]
    assert targets.masks(torch.tensor([], dtype=int)).shape == (0, 3, 4)


def test_detection_loss_is_the_weighted_sum_over_all_layers():
    logits, boxes = torch.randn(3, 1, 2, 3), 0.3 + 0.3 * torch.rand(3, 1, 2, 4)
    chosen = torch.tensor([[0], [1], [0]])
    losses = DetectionLoss(0.4, l1=5, giou=2)(logits, boxes, chosen, ONE, 2.0)
    total = 0
    for layer in range(3):
        here = slice(layer, layer + 1)
        l1, overlap = box_losses(boxes[here], chosen[here], ONE, 2.0)
        ce = class_loss(logits[here], chosen[here], ONE, 0.4)
        total += (ce + 5 * l1 + 2 * overlap)[0]
    torch.testing.assert_close(losses["loss"], total)
    for name, last in (("class", ce), ("l1", l1), ("giou", overlap)):
        torch.testing.assert_close(losses[name], last[0])


def test_no_object_weight_of_the_original_is_a_tenth():
    assert DetectionLoss().no_object_weight == 0.1


def surplus():
    """Return an image of 5 segments, 3 queries, and layers' answers.

    The first two segments of the first image have no query.
    """
    labels, boxes = [0, 1, 0, 1, 1], 0.3 + 0.3 * torch.rand(5, 4)
    other = target([1], 0.3 + 0.3 * torch.rand(1, 4))
    many = joined([target(labels, boxes), other])
    few = joined([target(labels[2:], boxes[2:]), other])
    logits = torch.randn(2, 2, 3, 3)
    found = 0.3 + 0.3 * torch.rand(2, 2, 3, 4)
    chosen = torch.tensor([[3, 3, 2, 0, 1, 1], [3, 3, 0, 1, 2, 0]])
    return many, few, logits, found, chosen


def test_segments_without_a_query_do_not_count():
    """As if they were not there: in the losses, and in the gradients."""
    many, few, logits, boxes, chosen = surplus()
    sides = []
    for targets, its in ((many, chosen), (few, chosen[:, 2:])):
        leaves = [x.clone().requires_grad_() for x in (logits, boxes)]
        losses = DetectionLoss()(*leaves, its, targets, 7.0)
        losses["loss"].backward()
        sides.append([*losses.values(), *(x.grad for x in leaves)])
    for mine, other in zip(*sides, strict=True):
        torch.testing.assert_close(mine, other)


def everyone(targets):
    return torch.arange(len(targets.labels))


def test_mask_loss_is_focal_plus_dice_at_the_pictures_size():
    truth = segmented((4, 6), [1, 2])
    logits = torch.randn(2, 4, 6)
    chosen = torch.tensor([1, 0])
    losses = MaskLoss(focal=2, dice=3)(logits, chosen, truth, 2.0)
    wanted = (truth.id_maps == torch.tensor([2, 1])[:, None, None]).flatten(1)
    focal = focal_loss(logits.flatten(1), wanted.float(), 2.0)
    dice = dice_loss(logits.flatten(1), wanted.float(), 2.0)
    torch.testing.assert_close(losses["focal"], focal)
    torch.testing.assert_close(losses["dice"], dice)
    torch.testing.assert_close(losses["loss"], 2 * focal + 3 * dice)


def test_mask_loss_compares_small_masks_with_full_size_segments():
    """Right masks at a quarter of the size cost little, wrong ones much."""
    truth = segmented((16, 16), [1, 2])
    small = truth.masks(everyone(truth))[:, ::4, ::4] * 20.0 - 10

    def loss(logits):
        return MaskLoss()(logits, everyone(truth), truth, 2.0)["loss"].item()

    assert loss(small) < 0.1
    assert loss(-small) > 1


def test_padding_is_no_segments_pixel():
    """In a padded batch, where an image ends its masks should end too."""
    targets = joined([segmented((4, 8), [1]), segmented((8, 8), [1])])
    right = torch.full((2, 8, 8), 20.0)
    right[0, 4:] = -20
    wrong = torch.full((2, 8, 8), 20.0)
    losses = [
        MaskLoss()(logits, torch.arange(2), targets, 1.0)["dice"].item()
        for logits in (right, wrong)
    ]
    assert losses == pytest.approx([0, 1 - 65 / 97], abs=1e-6)


def test_mask_loss_without_segments_is_zero_and_has_gradients():
    logits = torch.zeros(0, 4, 6, requires_grad=True)
    truth = target([], [], torch.zeros(4, 6, dtype=torch.int32))
    losses = MaskLoss()(logits, everyone(truth), truth, 1.0)
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


def several(shape, count):
    """Return a target of two stripes, and one of them for each mask."""
    return segmented(shape, [1, 2]), torch.arange(count) % 2


def test_a_few_masks_at_a_time_give_the_same_loss_with_less_kept():
    """What is at full size is not kept for the gradient, the gradient is."""
    truth, chosen = several((64, 48), 6)
    start = torch.randn(6, 16, 12)

    def run(pixels):
        logits = start.clone().requires_grad_()
        Kept.now = Kept.most = 0
        with torch.autograd.graph.saved_tensors_hooks(
            Kept, lambda kept: kept.tensor
        ):
            losses = MaskLossInParts(pixels=pixels)(logits, chosen, truth, 2.0)
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
    truth, chosen = several((8, 8), 5)
    logits = torch.randn(5, 4, 4)
    whole, parts = (
        MaskLossInParts(2, 3, pixels)(logits, chosen, truth, 2.0)
        for pixels in (10**9, 64)
    )
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)


def test_gradients_of_parts_do_not_vanish_in_half_precision():
    """A gradient scaler multiplies the loss: half floats end at 6e-8."""
    truth, chosen = several((8, 8), 2)
    logits = torch.randn(2, 4, 4, dtype=torch.float16, requires_grad=True)
    gradients = []
    for pixels in (10**9, 64):
        run = MaskLossInParts(pixels=pixels)
        loss = run(logits.float(), chosen, truth, 1e8)["loss"]
        gradients += torch.autograd.grad(loss * 2**24, logits)
    whole, parts = gradients
    assert parts.dtype == torch.float16
    assert parts.abs().min() > 0
    torch.testing.assert_close(parts, whole)
