"""Batches: samples of different sizes in one tensor, with their targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detr_lite.boxes import xyxy_to_cxcywh
from detr_lite.data.sample import Sample
from detr_lite.errors import DataError
from detr_lite.targets import Target, _chosen

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """Pictures of different sizes in one tensor, padded right and bottom.

    Attributes:
        images: (B, 3, H, W) float, normalized, 0 in the padding.
        padding_mask: (B, H, W) bool, True where a pixel is padding.
        targets: B targets.
        samples: the B samples they were made from.
    """

    images: Tensor
    padding_mask: Tensor
    targets: list[Target]
    samples: list[Sample] = field(repr=False)

    def to(self, device) -> "Batch":
        """Return the batch with every tensor on the device."""
        return Batch(
            self.images.to(device),
            self.padding_mask.to(device),
            [t.to(device) for t in self.targets],
            self.samples,
        )


def make_target(sample: Sample) -> Target:
    """Return what the model should find: crowds are left out, as void is."""
    labels, ids = sample.labels, sample.segment_ids
    if sample.crowd.any():
        labels, ids = labels[~sample.crowd], ids[~sample.crowd]
    height, width = sample.id_map.shape
    try:
        corners = _chosen(*sample.drawn, ids)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error
    corners /= torch.tensor([width, height, width, height])
    return Target(labels, xyxy_to_cxcywh(corners), sample.id_map, ids)


def normalize(images: Tensor) -> Tensor:
    """Return (..., 3, H, W) uint8 images as floats, ImageNet-normalized."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return one (B, 3, H, W) normalized batch and its (B, H, W) padding mask.

    images: (3, h, w) uint8 each, of any sizes.
    """
    if all(image.shape == images[0].shape for image in images):
        batch = normalize(torch.stack(list(images)))
        return batch, batch.new_zeros(
            (len(batch), *batch.shape[2:]), dtype=torch.bool
        )
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    batch = torch.zeros(len(images), 3, height, width, device=images[0].device)
    mask = torch.ones(
        len(images), height, width, dtype=torch.bool, device=images[0].device
    )
    for i, image in enumerate(images):
        h, w = image.shape[1:]
        batch[i, :, :h, :w] = normalize(image)
        mask[i, :h, :w] = False
    return batch, mask


def collate(samples: Sequence[Sample]) -> Batch:
    """Return the samples as one padded batch with targets."""
    images, padding_mask = pad_images([s.image for s in samples])
    return Batch(
        images,
        padding_mask,
        [make_target(s) for s in samples],
        list(samples),
    )
