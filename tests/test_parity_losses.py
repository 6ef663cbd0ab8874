"""Matchings, losses and gradients are those of `transformers`."""

from dataclasses import replace

import pytest
import torch
from support import target
from transformers.loss.loss_for_object_detection import (
    HungarianMatcher as TheirMatcher,
)
from transformers.loss.loss_for_object_detection import ImageLoss
from transformers_pair import SMALL, our_model, padded_batch, their_model

from detr_lite.losses import DetectionLoss, MaskLoss
from detr_lite.matching import HungarianMatcher, MatchedQueries
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
    return ours, theirs


@pytest.fixture
def both():
    """Two models in train mode, without dropout; both train everything."""
    ours = our_model(replace(SMALL, dropout=0.0)).train()
    theirs = their_model(ours, **NO_DROPOUT).train()
    return ours.requires_grad_(True), theirs.requires_grad_(True)


def our_parts(output, matching, targets, padded):
    """Return the five losses of the last layer, as the trainer counts."""
    count = float(sum(COUNTS))
    last = replace(output.detection, aux=())
    boxes = DetectionLoss()(last, [matching], targets, count)
    masks = MaskLoss()(output, matching, targets, padded, count)
    return boxes["loss"] + masks["loss"], {**boxes, **masks}


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
    keep = MatchedQueries(HungarianMatcher(), my_targets, last_only=True)
    if matched_only:
        output = ours(images, padding, keep)
        matching = keep.matchings[-1]
    else:
        output = ours(images, padding, all_queries)
        keep(output.detection)
        matching = keep.matchings[-1]
        chosen = matching.image * SMALL.num_queries + matching.query
        output = replace(output, mask_logits=output.mask_logits[chosen])
    loss, parts = our_parts(output, matching, my_targets, images.shape[-2:])
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
    matchings = HungarianMatcher()(detection.layers, my_targets)
    matcher = TheirMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    criterion = ImageLoss(matcher, SMALL.num_classes, 0.1, ["labels", "boxes"])
    total = 0
    for matching, (logits, boxes) in zip(
        matchings, detection.layers, strict=True
    ):
        outputs = {"logits": logits, "pred_boxes": boxes}
        for i, (queries, segments) in enumerate(
            matcher(outputs, their_targets)
        ):
            mine = matching.image == i
            assert matching.query[mine].tolist() == queries.tolist()
            assert matching.target[mine].tolist() == segments.tolist()
        parts = criterion(outputs, their_targets)
        total += parts["loss_ce"]
        total += 5 * parts["loss_bbox"] + 2 * parts["loss_giou"]
    loss = DetectionLoss()(detection, matchings, my_targets, sum(COUNTS))
    torch.testing.assert_close(loss["loss"], total, rtol=1e-5, atol=0)


def test_with_exact_padding_masks_are_compared_without_the_padding():
    """Theirs, like the original, also asks for a 0 at padded pixels."""
    targets, _ = made_targets()
    losses = []
    for exact in (False, True):
        torch.manual_seed(1)
        model = our_model(replace(SMALL, dropout=0.0, exact_padding=exact))
        images, padding = padded_batch(*SIZES)
        keep = MatchedQueries(HungarianMatcher(), targets, last_only=True)
        with torch.no_grad():
            output = model(images, padding, keep)
        logits = torch.zeros_like(output.mask_logits)
        _, parts = our_parts(
            replace(output, mask_logits=logits),
            keep.matchings[-1],
            targets,
            images.shape[-2:],
        )
        losses.append(parts["dice"].item())
    # All pixels at 1/2: the smaller picture's padding is half of a Dice sum.
    assert losses[0] > losses[1] + 0.05
