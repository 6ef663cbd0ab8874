"""What kind of model a file of the original or of transformers holds.

Such files hold tensors and nothing else; their shapes tell most.  The rest
is as in all files of the original, so a model of another kind is refused.
"""

import re
from pathlib import Path

from torch import Tensor

from detr_lite.data.categories import Categories
from detr_lite.data.coco.categories import (
    numbered_categories,
    original_categories,
)
from detr_lite.errors import WeightsError
from detr_lite.models import ModelConfig

_BODY = r"detr\.backbone\.0\.body\."
# Channels behind the first convolution of any ResNet of torchvision: the
# original has no others.
STEM = 64


def config_of(
    state: dict[str, Tensor], path: Path, dilate_res5: bool
) -> ModelConfig:
    """Return the configuration of an original DETR's tensors.

    state: under our names.  path: for messages.
    dilate_res5: DC5, which the tensors do not tell.  Nor do they tell the
    number of heads, if there is no mask head: then it is taken as 8, which
    it is in all published files.
    WeightsError names a tensor that is missing.
    """

    def shape(name: str, sides: int) -> tuple:
        if name not in state:
            raise WeightsError(
                f"{path} has no tensor {name}; it belongs to another model."
            )
        if state[name].dim() != sides:
            raise WeightsError(
                f"{path}: {name} has the shape {tuple(state[name].shape)}; "
                "it belongs to another model."
            )
        return tuple(state[name].shape)

    masks = any(name.startswith("mask_head.") for name in state)
    queries, width = shape("detr.query_embed.weight", 2)
    layer = "detr.transformer.decoder.layers.0.linear1.weight"
    sizes = {}
    if masks:
        first = shape("mask_head.lay1.weight", 4)
        sizes["heads"] = first[1] - width
        sizes["context"] = 2 * shape("mask_head.lay2.weight", 4)[0]
    return ModelConfig(
        num_classes=shape("detr.class_embed.weight", 2)[0] - 1,
        masks=masks,
        bottleneck="detr.backbone.0.body.layer1.0.conv3.weight" in state,
        depths=tuple(
            _count(state, rf"{_BODY}layer{stage}\.(\d+)\.")
            for stage in range(1, 5)
        ),
        resnet_width=shape("detr.backbone.0.body.conv1.weight", 4)[0],
        dilate_res5=dilate_res5,
        width=width,
        encoder_layers=_count(
            state, r"detr\.transformer\.encoder\.layers\.(\d+)\."
        ),
        decoder_layers=_count(
            state, r"detr\.transformer\.decoder\.layers\.(\d+)\."
        ),
        feedforward=shape(layer, 2)[0],
        num_queries=queries,
        **sizes,
    )


def check_original(config: ModelConfig, path: Path) -> None:
    """Refuse a file under the original's names that cannot be its own.

    Such as the tensors of the scenes' model without its text.
    """
    if config.resnet_width != STEM:
        raise WeightsError(
            f"{path} lacks the configuration of its model, which is not the "
            f"original's (its backbone begins with {config.resnet_width} "
            f"channels, not {STEM}); write the file with save_model, of "
            "detr_lite.weights.writing, which adds it."
        )


def categories_of(config: ModelConfig) -> tuple[Categories, bool]:
    """Return what the labels mean, and whether that is known.

    It is for the class counts of the published files: 250 with stuff, 91
    without.
    """
    if config.num_classes in (250, 91):
        return original_categories(config.num_classes), True
    return numbered_categories(config.num_classes), False


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """Return how many different numbers the pattern finds in the names."""
    found = (re.match(pattern, name) for name in state)
    return len({match[1] for match in found if match})
