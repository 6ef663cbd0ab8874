"""The model computes what `transformers` computes with the same weights.

Nothing is downloaded: both start from the same random weights.  The names of
one are translated into the names of the other by the table below, and the
loading is strict: every tensor of either model takes part.
"""

import re

import pytest
import torch
from support import randomized
from transformers import DetrConfig, DetrForSegmentation, ResNetConfig

from detr_lite.models import ModelConfig, build_model
from detr_lite.panoptic_detr import all_queries
from detr_lite.samples import Categories, Category

# Thirty times the widest tolerance below.
FLOOR = 3e-3

NAMES = [
    (r"^detr\.backbone\.0\.body\.conv1\.", "RES.embedder.embedder.conv1."),
    (r"^detr\.backbone\.0\.body\.bn1\.", "RES.embedder.embedder.bn1."),
    (r"^detr\.backbone\.0\.body\.layer", "RES.encoder.stages.layer"),
    (r"^RES\.", "detr.model.backbone.model."),
    (r"^detr\.transformer\.decoder\.norm\.", "detr.model.decoder.layernorm."),
    (r"^detr\.transformer\.", "detr.model."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"\.linear([12])\.", r".mlp.fc\1."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"(layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(layers\.\d+)\.norm[23]\.", r"\1.final_layer_norm."),
    (r"^detr\.class_embed\.", "detr.class_labels_classifier."),
    (r"^detr\.bbox_embed\.", "detr.bbox_predictor."),
    (r"^detr\.query_embed\.", "detr.model.query_position_embeddings."),
    (r"^detr\.input_proj\.", "detr.model.input_projection."),
    (r"\.([qk])_linear\.", r".\1_proj."),
    (r"^mask_head\.lay([12])\.", r"mask_head.conv\1.conv."),
    (r"^mask_head\.gn([12])\.", r"mask_head.conv\1.norm."),
    (r"^mask_head\.out_lay\.", "mask_head.output_conv."),
]


def translated(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = {}
    for name, tensor in state.items():
        for pattern, text in NAMES:
            name = re.sub(pattern, text, name)
        name = re.sub(
            r"^mask_head\.(adapter|lay|gn)(\d)\.",
            lambda m: {
                "adapter": f"mask_head.fpn_stages.{int(m[2]) - 1}"
                ".fpn_adapter.",
                "lay": f"mask_head.fpn_stages.{int(m[2]) - 3}.refine.conv.",
                "gn": f"mask_head.fpn_stages.{int(m[2]) - 3}.refine.norm.",
            }[m[1]],
            name,
        )
        name = re.sub(
            r"\.layer(\d)\.(\d+)\.",
            lambda m: f".{int(m[1]) - 1}.layers.{m[2]}.",
            name,
        )
        name = re.sub(r"\.downsample\.0\.", ".shortcut.convolution.", name)
        name = re.sub(r"\.downsample\.1\.", ".shortcut.normalization.", name)
        if ".embedder." in name:
            name = name.replace(".conv1.", ".convolution.")
            name = name.replace(".bn1.", ".normalization.")
        name = re.sub(
            r"(stages\.\d+\.layers\.\d+)\.(conv|bn)(\d)\.",
            lambda m: (
                f"{m[1]}.layer.{int(m[3]) - 1}."
                + {"conv": "convolution.", "bn": "normalization."}[m[2]]
            ),
            name,
        )
        if "in_proj_" in name:
            for letter, rows in zip("qkv", tensor.chunk(3), strict=True):
                part = name.replace("in_proj_", f"{letter}_proj.")
                result[part] = rows
        else:
            result[name] = tensor
    return result


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
    theirs.load_state_dict(translated(ours.state_dict()), strict=True)
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
