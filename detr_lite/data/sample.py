"""The sample format that every data source speaks.

A sample is an image and an *id map*: one integer a pixel that says which
segment the pixel belongs to, 0 where no segment is annotated (void).  Masks,
boxes and labels all follow from the id map and the list of segments, so
there is one truth and nothing can disagree with it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from detr_lite.targets import boxes_of, drawn_boxes


@dataclass(frozen=True)
class Sample:
    """One image with its panoptic annotation.

    Attributes:
        image: (3, H, W) uint8, RGB.
        id_map: (H, W) int32, a segment id for each pixel, 0 for void.
        segment_ids: (T,) int64, the ids of the segments, in order.
        labels: (T,) int64, 0 to K - 1.
        crowd: (T,) bool, segments that stand for a group of objects.
        image_id: what files call the image.
        name: the image's file stem, used in messages and output names.
    """

    image: Tensor
    id_map: Tensor
    segment_ids: Tensor
    labels: Tensor
    crowd: Tensor
    image_id: int
    name: str

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids in the id map and their boxes, found once; drawn_boxes."""
        return drawn_boxes(self.id_map)

    def boxes(self) -> Tensor:
        """Return each segment's tight box, (T, 4), x0, y0, x1, y1 in pixels.

        As boxes_from_id_map, but the id map is looked through once.
        """
        return boxes_of(self.segment_ids, *self.drawn)


def flip(sample: Sample) -> Sample:
    """Return the sample mirrored left to right."""
    return replace(
        sample, image=sample.image.flip(-1), id_map=sample.id_map.flip(-1)
    )


def with_pixels(sample: Sample, image: Tensor, id_map: Tensor) -> Sample:
    """Return the sample with other pixels, and the segments that are left.

    image: (3, H, W) uint8; id_map: (H, W) int32.
    """
    left = torch.isin(sample.segment_ids, id_map)
    return replace(
        sample,
        image=image,
        id_map=id_map,
        segment_ids=sample.segment_ids[left],
        labels=sample.labels[left],
        crowd=sample.crowd[left],
    )


def areas_of(id_map: Tensor, ids: Tensor) -> np.ndarray:
    """Return how many pixels of an id map each of some ids has, (T,).

    Each must have one.
    """
    drawn, counts = np.unique(id_map.numpy(), return_counts=True)
    return counts[np.searchsorted(drawn, ids.numpy())]


def to_tensor(image: np.ndarray) -> Tensor:
    """Return an (H, W, 3) uint8 array as a (3, H, W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
