"""Images that are held where training happens, and batches of them.

The scenes are small and of one size: all of them fit into a GPU's memory, as
bytes.  A batch is then picked out of them on the device, and only its labels
and boxes cross to it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from detr_lite.boxes import xyxy_to_cxcywh
from detr_lite.data.batch import Batch, normalize
from detr_lite.data.resizing import resized_size
from detr_lite.data.split import ArraySplit
from detr_lite.targets import Targets


class HeldImages:
    """The images of a split on a device, and batches of them.

    Args:
        split: its images; none of their segments is a crowd.
        device: where they are held.
    """

    def __init__(self, split: ArraySplit, device: torch.device):
        self.split, self.device = split, device
        images, id_maps = map(torch.from_numpy, split.arrays)
        self.images = images.permute(0, 3, 1, 2).to(self.device)
        self.id_maps = id_maps.to(self.device)
        self.segments: dict[int, tuple] = {}  # what was looked up before

    def fits(self, limits: tuple[int, int]) -> bool:
        """Return whether a model with these limits takes them as they are."""
        _, height, width = self.id_maps.shape
        size = height, width
        return resized_size(size, *limits) == size

    def batch(self, pairs: Sequence[tuple[int, float]]) -> Batch:
        """Return the batch that `collate` makes of the same images.

        pairs: of each image its index, and a number below 1/2 if it is to
        be mirrored.
        """
        indices, drawn = zip(*pairs, strict=True)
        rows = [self._segments(index) for index in indices]
        counts = tuple(len(labels) for labels, _, _ in rows)
        image = np.arange(len(counts)).repeat(counts)
        labels, ids, corners = map(np.concatenate, zip(*rows, strict=True))
        height, width = self.id_maps.shape[1:]
        mirrored = np.array(drawn) < 0.5
        turned = mirrored[image]
        corners[turned, 0::2] = width - corners[turned, 2::-2]
        size = torch.tensor([width, height, width, height])
        boxes = xyxy_to_cxcywh(torch.from_numpy(corners) / size)
        which, turn, *rest = (
            torch.from_numpy(x).to(self.device, non_blocking=True)
            for x in (np.array(indices), mirrored, labels, image, ids)
        )
        images, id_maps = self.images[which], self.id_maps[which]
        images, id_maps = (
            torch.where(turn.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)
            for x in (images, id_maps)
        )
        targets = Targets(
            labels=rest[0],
            boxes=boxes.to(self.device, non_blocking=True),
            image=rest[1],
            segment_ids=rest[2],
            id_maps=id_maps.int(),
            counts=counts,
        )
        return Batch(normalize(images), None, targets)

    def _segments(self, index: int) -> tuple[np.ndarray, ...]:
        """Return an image's labels, ids and corners, (T,), (T,), (T, 4)."""
        if index not in self.segments:
            sample = self.split[index]
            self.segments[index] = (
                sample.labels.numpy(),
                sample.segment_ids.numpy(),
                sample.boxes().numpy(),
            )
        return self.segments[index]
