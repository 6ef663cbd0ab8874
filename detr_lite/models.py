"""Model configurations, and the parts of a model that follow from one."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from detr_lite.attention_maps import AttentionMaps
from detr_lite.backbone import (
    Backbone,
    BasicBlock,
    Bottleneck,
    FrozenBatchNorm2d,
    ResNet,
)
from detr_lite.detr import DETR
from detr_lite.errors import ConfigError
from detr_lite.position import SinePositionalEncoding
from detr_lite.savings.folded_norms import fold_norms
from detr_lite.savings.mask_chunks import ChunkedMaskHead
from detr_lite.transformer import Transformer

# What a model cannot have none of.
COUNTS = (
    "num_classes",
    "resnet_width",
    "width",
    "heads",
    "decoder_layers",
    "feedforward",
    "num_queries",
    "context",
    "shortest",
)


@dataclass(frozen=True)
class ModelConfig:
    """Every size of a model; the defaults are DETR-R50's.

    What each number does is said where it is used, in build_resnet,
    build_detr and panoptic_parts below.
    """

    num_classes: int
    masks: bool = True
    bottleneck: bool = True
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    resnet_width: int = 64
    dilate_res5: bool = False
    pool: bool = True
    exact_padding: bool = True
    width: int = 256
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    feedforward: int = 2048
    dropout: float = 0.1
    num_queries: int = 100
    temperature: float = 10000.0
    cycles: float = 1.0
    context: int = 256
    map_gain: float = 1.0
    pyramid: bool = True
    joint_softmax: bool = True
    threshold: float = 0.85
    shortest: int = 800
    longest: int = 1333

    # Of a file that says more than this version knows.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self):
        for name in COUNTS:
            value = getattr(self, name)
            if not value >= 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.")
        if min(self.depths) < 1 or self.encoder_layers < 0:
            raise ConfigError("A model cannot have fewer layers than none.")
        for name in ("temperature", "cycles", "map_gain"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} must be positive, not {value}.")
        if not 0 <= self.dropout < 1 or not 0 <= self.threshold <= 1:
            raise ConfigError(
                f"dropout is {self.dropout} and threshold {self.threshold}; "
                "both are 0 to 1."
            )
        if not self.shortest <= self.longest <= 16384:
            raise ConfigError(
                f"The shorter side is {self.shortest} pixels, the longer "
                f"{self.longest}; it must be the longer, of at most 16384."
            )


# The model of the scenes: 96 x 96 pixels become 12 x 12 positions.
SCENES_CONFIG = ModelConfig(
    num_classes=8,
    bottleneck=False,
    depths=(1, 1, 1, 1),
    resnet_width=16,
    dilate_res5=True,
    pool=False,
    width=128,
    heads=8,
    encoder_layers=2,
    decoder_layers=3,
    feedforward=256,
    dropout=0.0,
    num_queries=12,
    temperature=20.0,
    cycles=2.0,
    context=128,
    map_gain=512.0,
    threshold=0.7,
    shortest=96,
    longest=160,
)


def build_resnet(
    config: ModelConfig, norm: type[nn.Module] = FrozenBatchNorm2d
) -> ResNet:
    """Return the backbone of a configuration, with random weights."""
    body = ResNet(
        block=Bottleneck if config.bottleneck else BasicBlock,
        depths=config.depths,
        width=config.resnet_width,
        norm=norm,
        dilate_res5=config.dilate_res5,
        pool=config.pool,
    )
    fold_norms(body)
    return body


def memory_format(config: ModelConfig) -> torch.memory_format:
    """Return how images lie in memory: channels last, which is faster.

    But not for a ResNet so narrow that oneDNN writes past its buffers, as it
    does behind strided 1x1 convolutions of fewer than 16 channels (issue
    6035 of oneDNN): wrong gradients on some CPUs, a crash on others.
    """
    narrowest = config.resnet_width * (4 if config.bottleneck else 1)
    if narrowest < 16:
        return torch.contiguous_format
    return torch.channels_last


def build_detr(config: ModelConfig) -> DETR:
    """Return the detector of a configuration, with random weights."""
    return DETR(
        backbone=Backbone(build_resnet(config)),
        position=SinePositionalEncoding(
            width=config.width,
            temperature=config.temperature,
            cycles=config.cycles,
        ),
        transformer=Transformer(
            width=config.width,
            heads=config.heads,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            feedforward=config.feedforward,
            dropout=config.dropout,
        ),
        num_classes=config.num_classes,
        num_queries=config.num_queries,
    )


def panoptic_parts(
    config: ModelConfig, chunk: int | None = None
) -> dict[str, nn.Module]:
    """Return the modules that PanopticDETR puts together, by their names.

    chunk: masks made at a time; see ChunkedMaskHead.
    """
    detr = build_detr(config)
    res2, res3, res4, _ = detr.backbone[0].body.channels
    return {
        "detr": detr,
        "bbox_attention": AttentionMaps(
            width=config.width,
            heads=config.heads,
            joint_softmax=config.joint_softmax,
        ),
        "mask_head": ChunkedMaskHead(
            width=config.width,
            heads=config.heads,
            pyramid_channels=(res2, res3, res4),
            context=config.context,
            map_gain=config.map_gain,
            pyramid=config.pyramid,
            chunk=chunk,
        ),
    }
