"""Matchings, losses and gradients are those of `transformers`."""

from dataclasses import replace

import pytest
import torch
from support import joined, target
from transformers.loss.loss_for_object_detection import (
    HungarianMatcher as TheirMatcher,
)
from transformers.loss.loss_for_object_detection import ImageLoss
from transformers_pair import SMALL, our_model, padded_batch, their_model

from detr_lite.losses import DetectionLoss, MaskLoss
from detr_lite.matching import HungarianMatcher
from detr_lite.panoptic_detr import all_queries
from detr_lite.weights.layouts import convert

SIZES = [(96, 128), (70, 81)]
COUNTS = (4, 2)
NO_DROPOUT = {"dropout": 0.0}


def made_targets():
    """Return the same segments for both: rectangles with classes."""
    ours, theirs = [], []
    for (height, width), count in zip(SIZES, COUNTS, strict=True):
        labels = torch.randint(SMALL.num_classes, (count,))
        center = 0.3 + 0.4 * torch.rand(count, 2)
        boxes = torch.cat((center, 0.2 + 0.3 * torch.rand(count, 2)), 1)
        id_map = torch.randint(count + 1, (height // 8 + 1, width // 8 + 1))
        id_map = id_map.repeat_interleave(8, 0).repeat_interleave(8, 1)
        id_map = id_map[:height, :width]
        ours.append(target(labels.tolist(), boxes, id_map))
        theirs.append(
            {
                "class_labels": labels,
                "boxes": boxes,
                "masks": id_map == torch.arange(1, count + 1)[:, None, None],
            }
        )
    return joined(ours), theirs


@pytest.fixture
def both():
    """Two models in train mode, without dropout; both train everything."""
    ours = our_model(replace(SMALL, dropout=0.0)).train()
    theirs = their_model(ours, **NO_DROPOUT).train()
    return ours.requires_grad_(True), theirs.requires_grad_(True)


def our_parts(output, masks, queries, targets):
    """Return the five losses of the last layer, as the trainer counts.

    masks: of the segments' queries, in their order.
    """
    count, found = float(sum(COUNTS)), output.detection
    boxes = DetectionLoss()(
        found.layer_logits[-1:], found.layer_boxes[-1:], queries, targets,
        count,
    )  # fmt: skip
    masks = MaskLoss()(masks, torch.arange(sum(COUNTS)), targets, count)
    return boxes["loss"] + masks["loss"], {**boxes, **masks}


def last_queries(detection, targets):
    """Return what the matcher says of the last layer, (1, T)."""
    layers = detection.layer_logits[-1:], detection.layer_boxes[-1:]
    return HungarianMatcher()(*layers, targets)


THEIR_NAMES = {
    "class": "loss_ce",
    "l1": "loss_bbox",
    "giou": "loss_giou",
    "focal": "loss_mask",
    "dice": "loss_dice",
}


@pytest.mark.parametrize("matched_only", [True, False])
def test_losses_and_gradients_of_all_parameters_agree(both, matched_only):
    """Also with masks for the matched queries alone, as we train."""
    ours, theirs = both
    images, padding = padded_batch(*SIZES)
    my_targets, their_targets = made_targets()
    image = my_targets.image
    if matched_only:
        detection = ours.detr(images, padding)
        queries = last_queries(detection, my_targets)
        output = ours.add_masks(detection, image, queries[0])
        masks = output.mask_logits
    else:
        output = ours(images, padding, all_queries)
        queries = last_queries(output.detection, my_targets)
        masks = output.mask_logits[image * SMALL.num_queries + queries[0]]
    loss, parts = our_parts(output, masks, queries, my_targets)
    other = theirs(images, pixel_mask=(~padding).long(), labels=their_targets)
    for mine, name in THEIR_NAMES.items():
        torch.testing.assert_close(
            parts[mine], other.loss_dict[name], rtol=1e-4, atol=0
        )
        assert parts[mine] > 0.01
    torch.testing.assert_close(loss, other.loss, rtol=1e-4, atol=0)

    loss.backward()
    other.loss.backward()
    gradients = convert(
        {n: p.grad for n, p in ours.named_parameters()},
        "transformers5",
        own_resnet=True,
    )
    compared = 0
    for name, parameter in theirs.named_parameters():
        # What nothing depends on has a gradient of rounding alone: biases of
        # keys, and the first self-attention's queries and keys.
        scale = parameter.grad.abs().max().item()
        difference = (gradients[name] - parameter.grad).abs().max().item()
        assert difference <= 1e-4 * scale + 1e-6, name
        compared += scale > 1e-3
    assert compared > 0.85 * len(gradients)


def test_matchings_and_losses_of_every_layer_agree():
    """On the same outputs, because theirs normalize a layer's state twice."""
    my_targets, their_targets = made_targets()
    ours = our_model(replace(SMALL, dropout=0.0))
    with torch.no_grad():
        detection = ours.detr(*padded_batch(*SIZES))
    layers = detection.layer_logits, detection.layer_boxes
    queries = HungarianMatcher()(*layers, my_targets)
    matcher = TheirMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    criterion = ImageLoss(matcher, SMALL.num_classes, 0.1, ["labels", "boxes"])
    total = 0
    for mine, logits, boxes in zip(queries, *layers, strict=True):
        outputs = {"logits": logits, "pred_boxes": boxes}
        for own, (theirs, segments) in zip(
            mine.split(COUNTS), matcher(outputs, their_targets), strict=True
        ):
            assert own[segments].tolist() == theirs.tolist()
        parts = criterion(outputs, their_targets)
        total += parts["loss_ce"]
        total += 5 * parts["loss_bbox"] + 2 * parts["loss_giou"]
    loss = DetectionLoss()(*layers, queries, my_targets, sum(COUNTS))
    torch.testing.assert_close(loss["loss"], total, rtol=1e-5, atol=0)
