"""The whole model: DETR, its attention maps, and masks from them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from detr_lite.attention_maps import AttentionMaps
from detr_lite.backbone import Pyramid, pad_to_largest
from detr_lite.detr import DETR, DetrOutput, found
from detr_lite.mask_head import MaskHead

Keep = Callable[[DetrOutput], Tensor]


@dataclass(frozen=True)
class PanopticOutput:
    """Boxes for all queries, masks for the S that were kept.

    Attributes:
        detection: what DETR found; has class_logits, boxes, memory, ...
        image_index: (S,) int64, the picture of each kept query, ascending.
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
        """(B, N, 4), (cx, cy, w, h) relative to the unpadded picture."""
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
        self, images: Tensor, padding_mask: Tensor, keep: Keep | None = None
    ) -> PanopticOutput:
        """Find boxes, then make masks for the queries that are kept.

        images: (B, 3, H, W), normalized; padding_mask: (B, H, W) bool,
        True = padding.
        keep: chooses queries from DETR's output, (B, N) bool.  Masks cost
        most of the arithmetic and each is independent of the others, so by
        default only those that found something get one.
        """
        detection = self.detr(images, padding_mask)
        if keep is None:
            chosen = found(detection.class_logits, self.threshold)
        else:
            chosen = keep(detection)
        return self.add_masks(detection, chosen)

    def add_masks(self, detection: DetrOutput, keep: Tensor) -> PanopticOutput:
        """Return the masks of the kept queries; keep: (B, N) bool."""
        image_index, query_index = keep.nonzero(as_tuple=True)
        counts = keep.sum(1)
        # Rows of different lengths in one tensor: (B, most kept, d).
        rows = detection.box_embeddings[keep].split(counts.tolist())
        padded = pad_sequence(list(rows), batch_first=True)
        slots = torch.arange(padded.shape[1], device=keep.device)
        maps = self.bbox_attention(
            padded, detection.memory, detection.padding_mask
        )[slots < counts[:, None]]
        if detection.sizes is None:
            masks = self.mask_head(
                detection.src_proj, maps, image_index, detection.pyramid
            )
        else:
            masks = self._masks_one_by_one(detection, maps, image_index)
        return PanopticOutput(detection, image_index, query_index, maps, masks)

    def _masks_one_by_one(
        self, detection: DetrOutput, maps: Tensor, image_index: Tensor
    ) -> Tensor:
        """Return the masks that each picture of a padded batch has alone.

        The mask head's GroupNorm takes its mean over all positions, so the
        padding must not be among them.
        """
        masks = [detection.pyramid.res2[:0, 0]]
        for i, sizes in enumerate(detection.sizes):
            mine = maps[image_index == i]
            own = Pyramid(
                *(
                    level[i : i + 1, :, :h, :w]
                    for level, (h, w) in zip(
                        detection.pyramid, sizes, strict=True
                    )
                )
            )
            h, w = sizes.res5
            masks.append(
                self.mask_head(
                    detection.src_proj[i : i + 1, :, :h, :w],
                    mine[..., :h, :w],
                    image_index.new_zeros(len(mine)),
                    own,
                )
            )
        return pad_to_largest(masks)
