"""Model configurations, and how a model is put together from one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detr_lite.attention_maps import AttentionMaps
from detr_lite.backbone import (
    Backbone,
    BasicBlock,
    Bottleneck,
    FrozenBatchNorm2d,
    ResNet,
)
from detr_lite.detections import Detections, detect
from detr_lite.detr import DETR, DetrOutput
from detr_lite.errors import ConfigError
from detr_lite.mask_head import MaskHead
from detr_lite.panoptic_detr import PanopticDETR
from detr_lite.position import SinePositionalEncoding
from detr_lite.prediction import Prediction, predict
from detr_lite.samples import Categories
from detr_lite.summary import trainable_summary
from detr_lite.transformer import Transformer


@dataclass(frozen=True)
class ModelConfig:
    """Every size of a model; the defaults are DETR-R50's.

    What each number does is said where it is used, in build_resnet and
    build_model below.
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
    return ResNet(
        block=Bottleneck if config.bottleneck else BasicBlock,
        depths=config.depths,
        width=config.resnet_width,
        norm=norm,
        dilate_res5=config.dilate_res5,
        pool=config.pool,
    )


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


def default_chunk(config: ModelConfig) -> int | None:
    """Return how many masks are made at a time: one, of small pictures all.

    One mask after the other takes the least memory and, of large pictures,
    hardly more time; small ones fit into memory all at once.
    """
    return 1 if config.longest > 320 else None


class PanopticModel(PanopticDETR):
    """A PanopticDETR that knows its configuration and its classes.

    Attributes:
        config: the sizes it was built with.
        categories: what its labels mean.
    """

    config: ModelConfig
    categories: Categories

    def predict(
        self, image, threshold: float | None = None, mode: str = "union"
    ) -> Prediction:
        """Return the panoptic segmentation of one picture.

        image: a path, PIL image, array or tensor; see read_image.
        threshold: how sure a query must be, 0 to 1 (default: the model's).
        mode: what becomes of masks of one stuff class; "union" makes one
            segment of them, "original" does as the original's code.
        """
        return predict(
            self,
            image,
            self.categories,
            self.config.shortest,
            self.config.longest,
            threshold,
            mode,
        )

    def trainable_summary(self) -> str:
        """Return a table of the parts and what training changes of them."""
        return trainable_summary(self)


class DetectionModel(nn.Module):
    """DETR without a mask head: boxes alone.

    Its tensors have the names that they have in a PanopticModel.

    Attributes:
        detr: the detector.
        config: the sizes it was built with; `masks` is False.
        categories: what its labels mean.
    """

    config: ModelConfig
    categories: Categories

    def __init__(self, detr: DETR):
        super().__init__()
        self.detr = detr

    def forward(self, images: Tensor, padding_mask: Tensor) -> DetrOutput:
        """Find boxes; see DETR.forward."""
        return self.detr(images, padding_mask)

    def predict(self, image, threshold: float | None = None) -> Detections:
        """Return the boxes in one picture.

        image: a path, PIL image, array or tensor; see read_image.
        threshold: how sure a query must be, 0 to 1 (default: the model's).
        """
        return detect(
            self,
            image,
            self.categories,
            self.config.shortest,
            self.config.longest,
            self.config.threshold if threshold is None else threshold,
        )

    def trainable_summary(self) -> str:
        """Return a table of the parts and what training changes of them."""
        return trainable_summary(self)


def build_model(
    config: ModelConfig, categories: Categories
) -> PanopticModel | DetectionModel:
    """Return the model of a configuration, with random weights.

    Its weights lie in memory as memory_format says; what a convolution
    computes from them does so too.
    """
    if config.num_classes != len(categories):
        raise ConfigError(
            f"The configuration has {config.num_classes} classes, the list "
            f"of categories {len(categories)}; they must agree."
        )
    body = build_resnet(config)
    detr = build_detr(config, body)
    if not config.masks:
        model = DetectionModel(detr)
    else:
        model = PanopticModel(
            detr=detr,
            bbox_attention=AttentionMaps(
                width=config.width,
                heads=config.heads,
                joint_softmax=config.joint_softmax,
            ),
            mask_head=MaskHead(
                width=config.width,
                heads=config.heads,
                pyramid_channels=tuple(body.channels[:3]),
                context=config.context,
                map_gain=config.map_gain,
                pyramid=config.pyramid,
                chunk=default_chunk(config),
            ),
            threshold=config.threshold,
        )
    model.config, model.categories = config, categories
    return model.to(memory_format=memory_format(config))


def build_detr(config: ModelConfig, body: ResNet) -> DETR:
    """Return the detector of a configuration around a ResNet."""
    return DETR(
        backbone=Backbone(body, config.exact_padding),
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
