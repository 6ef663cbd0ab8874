"""The model computes what `transformers` computes with the same weights."""

from dataclasses import replace

import pytest
import torch
from transformers_pair import SMALL, our_model, padded_batch, their_model

from detr_lite.models import ModelConfig
from detr_lite.panoptic_detr import all_queries

# Thirty times the widest tolerance below.
FLOOR = 3e-3
FULL = ModelConfig(num_classes=250)
DEPTHS = {"R50": (3, 4, 6, 3), "R101": (3, 4, 23, 3)}
SIZES = [(160, 128), (101, 75)]


@pytest.fixture(params=["basic", "bottleneck"])
def pair(request):
    """Our model and theirs, of one small shape and with the same weights."""
    ours = our_model(replace(SMALL, bottleneck=request.param == "bottleneck"))
    return ours, their_model(ours)


@pytest.fixture(scope="module", params=DEPTHS)
def full_pair(request):
    """The same of the full size: 100 queries, 250 classes."""
    torch.manual_seed(0)
    ours = our_model(replace(FULL, depths=DEPTHS[request.param]))
    return ours, their_model(ours)


def assert_same(ours, theirs, images, padding):
    """All differences are absolute."""
    with torch.no_grad():
        mine = ours(images, padding, keep=all_queries)
        other = theirs(images, pixel_mask=(~padding).long())
    close = torch.testing.assert_close
    close(mine.class_logits, other.logits, atol=1e-5, rtol=0)
    close(mine.boxes, other.pred_boxes, atol=1e-5, rtol=0)
    masks = mine.mask_logits.view_as(other.pred_masks)
    close(masks, other.pred_masks, atol=1e-4, rtol=0)
    return mine


def assert_not_all_alike(output):
    """Agreement would mean little if the outputs were nearly constant."""
    batch, queries = output.boxes.shape[:2]
    for tensor in (
        output.class_logits,
        output.boxes,
        output.mask_logits.view(batch, queries, -1),
    ):
        assert tensor.isfinite().all()
        between_queries = tensor.std(1).mean()
        between_pictures = (tensor[0] - tensor[1]).abs().mean()
        assert between_queries > FLOOR
        assert between_pictures > FLOOR


def test_classes_boxes_and_masks_agree_on_a_padded_batch(pair):
    assert_not_all_alike(assert_same(*pair, *padded_batch(*SIZES)))


@pytest.mark.parametrize(
    "sizes", [[(128, 160), (96, 131)], [(65, 97), (97, 33)]]
)
def test_the_full_models_agree_on_padded_batches(full_pair, sizes):
    assert_not_all_alike(assert_same(*full_pair, *padded_batch(*sizes)))
