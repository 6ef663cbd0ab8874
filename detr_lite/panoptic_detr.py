"""The whole model: DETR, its attention maps, and masks from them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detr_lite.attention_maps import AttentionMaps
from detr_lite.detr import DETR, DetrOutput, found
from detr_lite.mask_head import MaskHead

Keep = Callable[[DetrOutput], Tensor]


@dataclass(frozen=True)
class PanopticOutput:
    """Boxes for all queries, masks for the S that were kept.

    Attributes:
        detection: what DETR found; has class_logits, boxes, memory, ...
        image_index: (S,) int64, the image of each kept query, ascending.
        query_index: (S,) int64, its number among the N queries.
        attention_maps: (S, M, h, w).
        mask_logits: (S, H/4, W/4), the resolution of Res2.
    """

    detection: DetrOutput
    image_index: Tensor
    query_index: Tensor
    attention_maps: Tensor
    mask_logits: Tensor

    @property
    def class_logits(self) -> Tensor:
        """(B, N, K + 1), the last class is "no object"."""
        return self.detection.class_logits

    @property
    def boxes(self) -> Tensor:
        """(B, N, 4), (cx, cy, w, h) relative to the unpadded image."""
        return self.detection.boxes


def all_queries(detection: DetrOutput) -> Tensor:
    """Keep every query: (B, N) True."""
    return torch.ones_like(detection.class_logits[..., 0], dtype=torch.bool)


class PanopticDETR(nn.Module):
    """DETR with a mask head; DETRsegm in the original.

    Args:
        detr: the detector.
        bbox_attention: scores of each box embedding over the encoded image.
        mask_head: the CNN from maps to masks.
        threshold: how sure a query must be for a mask of it to be made.
    """

    def __init__(
        self,
        detr: DETR,
        bbox_attention: AttentionMaps,
        mask_head: MaskHead,
        threshold: float = 0.85,
    ):
        super().__init__()
        self.detr = detr
        self.bbox_attention = bbox_attention
        self.mask_head = mask_head
        self.threshold = threshold

    def forward(
        self,
        images: Tensor,
        padding_mask: Tensor | None = None,
        keep: Keep | None = None,
    ) -> PanopticOutput:
        """Find boxes, then make masks for the queries that are kept.

        images: (B, 3, H, W), normalized; padding_mask: (B, H, W) bool,
        True = padding, or None if all images are of one size.
        keep: chooses queries from DETR's output, (B, N) bool.  Masks cost
        most of the arithmetic and each is independent of the others, so by
        default only those that found something get one.
        """
        detection = self.detr(images, padding_mask)
        if keep is None:
            kept = found(detection.class_logits, self.threshold)
        else:
            kept = keep(detection)
        # How many there are decides what comes next, so here, and only here,
        # the host waits for the device.
        return self.add_masks(detection, *kept.cpu().nonzero(as_tuple=True))

    def add_masks(
        self, detection: DetrOutput, image_index: Tensor, query_index: Tensor
    ) -> PanopticOutput:
        """Return the masks of S queries: their images and numbers, (S,)."""
        device = detection.memory.device
        image, query = (
            index.to(device, non_blocking=True)
            for index in (image_index, query_index)
        )
        maps = self.bbox_attention(
            detection.box_embeddings, detection.memory, detection.padding_mask
        )[image, query]
        masks = self.mask_head(
            detection.src_proj, maps, image, detection.pyramid
        )
        return PanopticOutput(detection, image_index, query_index, maps, masks)
