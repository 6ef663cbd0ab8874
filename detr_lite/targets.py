"""What the model should find: each segment's class, box and mask.

All of it follows from an *id map*, one integer a pixel that says which
segment the pixel belongs to, 0 where no segment is annotated (void).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detr_lite.errors import DataError


def id_runs(id_map: Tensor) -> tuple[np.ndarray, ...]:
    """Return the runs of one id along the rows of an (H, W) map.

    Returns four (R,) arrays: of each run the id, the row, the first column
    and the column after the last.
    """
    width = id_map.shape[1]
    ids = id_map.numpy().ravel()
    begins = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=begins[1:])
    begins[::width] = True
    first = np.flatnonzero(begins)
    after = np.append(first[1:], len(ids))
    rows = first // width
    left = rows * width
    return ids[first], rows, first - left, after - left


def drawn_boxes(id_map: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids in an (H, W) map, ascending, and the box of each.

    Returns (D,) and (D, 4), x0, y0, x1, y1 in pixel edges; void counts too.
    """
    ids, rows, starts, ends = id_runs(id_map)
    drawn, which = np.unique(ids, return_inverse=True)
    boxes = np.zeros((4, len(drawn)), np.int64)
    boxes[:2] = id_map.numel()
    np.minimum.at(boxes[0], which, starts)
    np.minimum.at(boxes[1], which, rows)
    np.maximum.at(boxes[2], which, ends)
    np.maximum.at(boxes[3], which, rows + 1)
    return drawn, boxes.T


def boxes_from_id_map(id_map: Tensor, segment_ids: Tensor) -> Tensor:
    """Return the tight box of each segment, (T, 4) float (x0, y0, x1, y1).

    Pixel edges: a segment of one pixel has width and height 1.  (The
    original's masks_to_boxes uses pixel indices and gives it width 0.)
    A segment without a pixel raises DataError.
    """
    return boxes_of(segment_ids, *drawn_boxes(id_map))


def boxes_of(ids: Tensor, drawn: np.ndarray, boxes: np.ndarray) -> Tensor:
    """Return the boxes of some ids, (T, 4) float.

    drawn, boxes: what drawn_boxes returns.  DataError if an id isn't drawn.
    """
    missing = set(ids.tolist()) - set(drawn.tolist())
    if missing:
        raise DataError(
            f"Segment {min(missing)} has no pixel in its image; "
            "remove it from the annotation."
        )
    rows = np.searchsorted(drawn, ids.numpy())
    return torch.from_numpy(boxes[rows].astype(np.float32))


@dataclass(frozen=True)
class Targets:
    """What the model should find in a batch of B images: T segments in all.

    Attributes:
        labels: (T,) int64.
        boxes: (T, 4) float, (cx, cy, w, h) relative to the unpadded image.
        image: (T,) int64, the image of each segment, ascending.
        segment_ids: (T,) int64.
        id_maps: (B, H, W) int32, 0 in the padding.
        counts: the number of segments of each image.
    """

    labels: Tensor
    boxes: Tensor
    image: Tensor
    segment_ids: Tensor
    id_maps: Tensor
    counts: tuple[int, ...]

    def masks(self, chosen: Tensor) -> Tensor:
        """Return the masks of the chosen segments, (S, H, W) bool."""
        ids = self.segment_ids[chosen]
        return self.id_maps[self.image[chosen]] == ids[:, None, None]

    def to(self, device) -> "Targets":
        """Return the targets on the device; nothing waits for the copies."""
        *tensors, counts = vars(self).values()
        there = (x.to(device, non_blocking=True) for x in tensors)
        return Targets(*there, counts)
