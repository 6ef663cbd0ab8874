"""DETR: image to box embeddings, and from each a class and a box."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from detr_lite.backbone import Backbone, Pyramid
from detr_lite.position import SinePositionalEncoding
from detr_lite.transformer import Transformer


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int):
        super().__init__()
        sizes = [inputs] + [hidden] * (layers - 1) + [outputs]
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@dataclass(frozen=True)
class DetrOutput:
    """What DETR says about a batch, and what the mask head needs to go on.

    Attributes:
        layer_logits: (layers, B, N, K + 1), of every decoder layer; the last
            class is "no object".
        layer_boxes: (layers, B, N, 4), (cx, cy, w, h) relative to the
            unpadded image.
        box_embeddings: (B, N, d), the decoder's last layer.
        memory: (B, d, h, w), the image after the encoder.
        src_proj: (B, d, h, w), the image before the encoder.
        padding_mask: (B, h, w) bool, True = padding; None if there is none.
        pyramid: Res2 to Res5.
    """

    layer_logits: Tensor
    layer_boxes: Tensor
    box_embeddings: Tensor
    memory: Tensor
    src_proj: Tensor
    padding_mask: Tensor | None
    pyramid: Pyramid

    @property
    def class_logits(self) -> Tensor:
        """(B, N, K + 1), the last layer's answer."""
        return self.layer_logits[-1]

    @property
    def boxes(self) -> Tensor:
        """(B, N, 4), the last layer's answer."""
        return self.layer_boxes[-1]


class DETR(nn.Module):
    """Finds things and stuff as a set of boxes, in one pass.

    Args:
        backbone: gives Res2 to Res5.
        position: gives the encodings for Res5.
        transformer: encoder and decoder; its width is d.
        num_classes: K, the true number of classes, without "no object".
        num_queries: N, the most segments an image can have.

    Source: paper, section 3; class DETR in the original.
    """

    def __init__(
        self,
        backbone: Backbone,
        position: SinePositionalEncoding,
        transformer: Transformer,
        num_classes: int,
        num_queries: int = 100,
    ):
        super().__init__()
        d = transformer.width
        # The original keeps both in one list: `backbone.0` in its weights.
        self.backbone = nn.Sequential(backbone, position)
        self.input_proj = nn.Conv2d(backbone.body.channels[-1], d, 1)
        self.transformer = transformer
        self.query_embed = nn.Embedding(num_queries, d)
        self.class_embed = nn.Linear(d, num_classes + 1)
        self.bbox_embed = MLP(d, d, 4, 3)
        self.num_classes = num_classes

    def forward(
        self, images: Tensor, padding_mask: Tensor | None = None
    ) -> DetrOutput:
        """Find boxes.

        images: (B, 3, H, W), normalized; padding_mask: (B, H, W) bool,
        True = padding, or None if all images are of one size.
        """
        backbone, position = self.backbone
        pyramid, mask = backbone(images, padding_mask)
        src_proj = self.input_proj(pyramid.res5)
        nothing = torch.zeros_like(src_proj[:, 0], dtype=torch.bool)
        embeddings, memory = self.transformer(
            src_proj,
            mask,
            self.query_embed.weight,
            position(nothing if mask is None else mask),
        )
        return DetrOutput(
            layer_logits=self.class_embed(embeddings),
            layer_boxes=self.bbox_embed(embeddings).sigmoid(),
            box_embeddings=embeddings[-1],
            memory=memory,
            src_proj=src_proj,
            padding_mask=mask,
            pyramid=pyramid,
        )


def found(class_logits: Tensor, threshold: float) -> Tensor:
    """Return which queries found something, (B, N) bool.

    A query is kept when its best class is not "no object" and has more than
    the threshold's probability.
    Source: PostProcessPanoptic in the original (threshold 0.85).
    """
    scores, labels = class_logits.softmax(-1).max(-1)
    return (labels != class_logits.shape[-1] - 1) & (scores > threshold)
