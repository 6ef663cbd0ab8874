"""Batches: samples of different sizes in one tensor, with their targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.boxes import xyxy_to_cxcywh
from detr_lite.data.sample import Sample
from detr_lite.errors import DataError
from detr_lite.targets import Targets, boxes_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """Images in one tensor, padded right and bottom where sizes differ.

    Attributes:
        images: (B, 3, H, W) float, normalized, 0 in the padding.
        padding_mask: (B, H, W) bool, True where a pixel is padding; None if
            all images are of one size.
        targets: what there is to find.
        samples: the B samples they were made from.
    """

    images: Tensor
    padding_mask: Tensor | None
    targets: Targets
    samples: list[Sample] = field(repr=False, default_factory=list)

    def to(self, device) -> "Batch":
        """Return the batch on the device; nothing waits for the copies."""
        mask = self.padding_mask
        return Batch(
            self.images.to(device, non_blocking=True),
            None if mask is None else mask.to(device, non_blocking=True),
            self.targets.to(device),
            self.samples,
        )


def make_targets(samples: Sequence[Sample]) -> Targets:
    """Return what the model should find: crowds are left out, as void is."""
    chosen = [~s.crowd for s in samples]
    pairs = list(zip(samples, chosen, strict=True))
    ids = [s.segment_ids[c] for s, c in pairs]
    counts = tuple(map(len, ids))
    boxes = [_relative_boxes(*pair) for pair in zip(samples, ids, strict=True)]
    return Targets(
        labels=torch.cat([s.labels[c] for s, c in pairs]),
        boxes=torch.cat(boxes),
        image=torch.arange(len(ids)).repeat_interleave(torch.tensor(counts)),
        segment_ids=torch.cat(ids),
        id_maps=pad_to_largest([s.id_map for s in samples]),
        counts=counts,
    )


def _relative_boxes(sample: Sample, ids: Tensor) -> Tensor:
    height, width = sample.id_map.shape
    try:
        corners = boxes_of(ids, *sample.drawn)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error
    return xyxy_to_cxcywh(
        corners / torch.tensor([width, height, width, height])
    )


def pad_to_largest(maps: Sequence[Tensor]) -> Tensor:
    """Return (..., h, w) tensors of several sizes as one, padded with 0."""
    if all(x.shape == maps[0].shape for x in maps):
        return torch.stack(list(maps))
    height, width = (max(x.shape[side] for x in maps) for side in (-2, -1))
    return torch.stack(
        [
            F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))
            for x in maps
        ]
    )


def normalize(images: Tensor) -> Tensor:
    """Return (..., 3, H, W) uint8 images as floats, ImageNet-normalized."""
    mean, std = (
        torch.tensor(numbers)[:, None, None].to(
            images.device, non_blocking=True
        )
        for numbers in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (images.float() / 255 - mean) / std


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return one (B, 3, H, W) normalized batch and its (B, H, W) padding mask.

    images: (3, h, w) uint8 each, of any sizes; of one size, the mask is None.
    """
    if all(image.shape == images[0].shape for image in images):
        return normalize(torch.stack(list(images))), None
    inside = pad_to_largest([torch.ones_like(x[0]) for x in images])
    batch = normalize(pad_to_largest(images)) * inside[:, None]
    return batch, inside == 0


def collate(samples: Sequence[Sample]) -> Batch:
    """Return the samples as one padded batch with targets."""
    images, padding_mask = pad_images([s.image for s in samples])
    return Batch(images, padding_mask, make_targets(samples), list(samples))
