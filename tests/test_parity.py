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
    torch.set_num_threads(1)
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


@torch.no_grad()
def test_the_full_model_answers_in_a_batch_as_alone(full_pair):
    """An encoder that mixes images instead of positions fails here."""
    ours, _ = full_pair
    images = torch.randn(3, 3, 97, 65)
    together = ours(images, None, keep=all_queries)
    for i in range(3):
        alone = ours(images[i : i + 1], None, keep=all_queries)
        close = torch.testing.assert_close
        close(together.boxes[i], alone.boxes[0], atol=1e-5, rtol=0)
        close(
            together.class_logits[i], alone.class_logits[0], atol=1e-5, rtol=0
        )
        masks = together.mask_logits[together.image_index == i]
        close(masks, alone.mask_logits, atol=1e-4, rtol=0)
    # Without its lower half, the upper half of the image is seen otherwise.
    half = images[:1].clone()
    half[:, :, 48:] = 0
    memory = ours.detr(half).memory
    before = together.detection.memory[:1]
    assert (memory - before)[:, :, 0].abs().max() > 0.01


@torch.no_grad()
def test_the_full_models_queries_have_no_order(full_pair):
    ours, _ = full_pair
    images, padding = padded_batch((64, 64))
    before = ours.detr(images, padding)
    order = torch.randperm(len(ours.detr.query_embed.weight))
    weight = ours.detr.query_embed.weight.clone()
    ours.detr.query_embed.weight.copy_(weight[order])
    after = ours.detr(images, padding)
    ours.detr.query_embed.weight.copy_(weight)
    close = torch.testing.assert_close
    close(after.boxes, before.boxes[:, order], atol=1e-5, rtol=0)
    close(after.class_logits, before.class_logits[:, order], atol=1e-5, rtol=0)
