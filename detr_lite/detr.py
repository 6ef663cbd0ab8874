"""DETR: image to box embeddings, and from each a class and a box."""

from dataclasses import dataclass
from itertools import pairwise

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
        class_logits: (B, N, K + 1), the last class is "no object".
        boxes: (B, N, 4), (cx, cy, w, h) relative to the unpadded picture.
        box_embeddings: (B, N, d), the decoder's last layer.
        memory: (B, d, h, w), the image after the encoder.
        src_proj: (B, d, h, w), the image before the encoder.
        padding_mask: (B, h, w) bool, True = padding.
        pyramid: Res2 to Res5.
        aux: the (class_logits, boxes) of each earlier decoder layer.
        sizes: for each picture the (h, w) of its own part of Res2 to Res5,
            or None where the padding is not told apart; see Backbone.
    """

    class_logits: Tensor
    boxes: Tensor
    box_embeddings: Tensor
    memory: Tensor
    src_proj: Tensor
    padding_mask: Tensor
    pyramid: Pyramid
    aux: tuple[tuple[Tensor, Tensor], ...] = ()
    sizes: tuple[Pyramid, ...] | None = None

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """(class_logits, boxes) of every decoder layer, the last included."""
        return [*self.aux, (self.class_logits, self.boxes)]


class DETR(nn.Module):
    """Finds things and stuff as a set of boxes, in one pass.

    Args:
        backbone: gives Res2 to Res5.
        position: gives the encodings for Res5.
        transformer: encoder and decoder; its width is d.
        num_classes: K, the true number of classes, without "no object".
        num_queries: N, the most segments a picture can have.

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

    def forward(self, images: Tensor, padding_mask: Tensor) -> DetrOutput:
        """Find boxes.

        images: (B, 3, H, W), normalized; padding_mask: (B, H, W) bool,
        True = padding.
        """
        backbone, position = self.backbone
        pyramid, mask, sizes = backbone(images, padding_mask)
        src_proj = self.input_proj(pyramid.res5)
        embeddings, memory = self.transformer(
            src_proj, mask, self.query_embed.weight, position(mask)
        )
        logits = self.class_embed(embeddings)
        boxes = self.bbox_embed(embeddings).sigmoid()
        return DetrOutput(
            class_logits=logits[-1],
            boxes=boxes[-1],
            box_embeddings=embeddings[-1],
            memory=memory,
            src_proj=src_proj,
            padding_mask=mask,
            pyramid=pyramid,
            aux=tuple(zip(logits[:-1], boxes[:-1], strict=True)),
            sizes=sizes,
        )


def found(class_logits: Tensor, threshold: float) -> Tensor:
    """Return which queries found something, (B, N) bool.

    A query is kept when its best class is not "no object" and has more than
    the threshold's probability.
    Source: PostProcessPanoptic in the original (threshold 0.85).
    """
    scores, labels = class_logits.softmax(-1).max(-1)
    return (labels != class_logits.shape[-1] - 1) & (scores > threshold)
