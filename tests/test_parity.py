"""The model computes what `transformers` computes with the same weights.

Nothing is downloaded: both start from the same random weights.  The names of
one are translated into the names of the other, and the loading is strict:
every tensor of either model takes part.
"""

import pytest
import torch
from support import randomized
from transformers import DetrConfig, DetrForSegmentation, ResNetConfig

from detr_lite.layouts import convert
from detr_lite.models import ModelConfig, build_model
from detr_lite.panoptic_detr import all_queries
from detr_lite.samples import Categories, Category

# Thirty times the widest tolerance below.
FLOOR = 3e-3


@pytest.fixture(params=["basic", "bottleneck"])
def pair(request):
    """Our model and theirs, of one shape and with the same weights."""
    bottleneck = request.param == "bottleneck"
    config = ModelConfig(
        exact_padding=False,  # as the original
        num_classes=5,
        bottleneck=bottleneck,
        depths=(1, 2, 1, 1),
        resnet_width=16,
        width=128,
        heads=8,
        encoder_layers=2,
        decoder_layers=3,
        feedforward=64,
        num_queries=7,
        context=128,
    )
    categories = Categories(
        [Category(i, f"class {i}", i < 3, (0, 0, 0)) for i in range(1, 6)]
    )
    ours = randomized(build_model(config, categories)).eval()
    widths = [16 * 2**i * (4 if bottleneck else 1) for i in range(4)]
    theirs = DetrForSegmentation(
        DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone_config=ResNetConfig(
                embedding_size=16,
                hidden_sizes=widths,
                depths=[1, 2, 1, 1],
                layer_type=request.param,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            num_labels=5,
            d_model=128,
            encoder_attention_heads=8,
            decoder_attention_heads=8,
            encoder_layers=2,
            decoder_layers=3,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_queries=7,
        )
    ).eval()
    theirs.load_state_dict(
        convert(ours.state_dict(), "transformers5", own_resnet=True)
    )
    return ours, theirs


@pytest.fixture
def padded_batch():
    """Two pictures of 160 x 128 and 101 x 75 pixels in one tensor."""
    images = torch.zeros(2, 3, 160, 128)
    padding = torch.ones(2, 160, 128, dtype=torch.bool)
    for i, (height, width) in enumerate([(160, 128), (101, 75)]):
        images[i, :, :height, :width] = torch.randn(3, height, width)
        padding[i, :height, :width] = False
    return images, padding


@torch.no_grad()
def test_classes_boxes_and_masks_agree_on_a_padded_batch(pair, padded_batch):
    ours, theirs = pair
    images, padding = padded_batch
    mine = ours(images, padding, keep=all_queries)
    other = theirs(images, pixel_mask=(~padding).long())
    close = torch.testing.assert_close
    close(mine.class_logits, other.logits, atol=1e-5, rtol=0)
    close(mine.boxes, other.pred_boxes, atol=1e-5, rtol=0)
    masks = mine.mask_logits.view_as(other.pred_masks)
    close(masks, other.pred_masks, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_compared_outputs_are_not_all_alike(pair, padded_batch):
    """Agreement would mean little if the outputs were nearly constant."""
    ours, _ = pair
    output = ours(*padded_batch, keep=all_queries)
    for tensor in (
        output.class_logits,
        output.boxes,
        output.mask_logits.view(2, 7, -1),
    ):
        between_queries = tensor.std(1).mean()
        between_pictures = (tensor[0] - tensor[1]).abs().mean()
        assert between_queries > FLOOR
        assert between_pictures > FLOOR
