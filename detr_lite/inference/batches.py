"""Batches for a model: images at the size it works at, like beside like."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detr_lite.data.batch import pad_images
from detr_lite.data.resizing import fit_image
from detr_lite.errors import ConfigError
from detr_lite.models import ModelConfig

PIXELS = {"cpu": 1_500_000, "cuda": 24_000_000}  # in a batch


@dataclass(frozen=True)
class FittedBatch:
    """Images as a model takes them.

    Attributes:
        items: what belongs to each image.
        images: (B, 3, H, W), normalized.
        padding_mask: (B, H, W) bool, or None if all are of one size.
        sizes: (H, W) of each image in it, without padding.
    """

    items: list[Any]
    images: Tensor
    padding_mask: Tensor | None
    sizes: list[tuple[int, int]]

    @property
    def padded_size(self) -> tuple[int, int]:
        """(H, W) of the batch."""
        height, width = self.images.shape[-2:]
        return height, width


def usual_batch_size(config: ModelConfig, device: torch.device) -> int:
    """Return how many images are worked on at a time.

    On a CPU 32 of the scenes, of larger images fewer, down to one of DETR's
    800 x 1333 pixels; on a GPU sixteen times as many pixels.
    """
    pixels = PIXELS.get(device.type, PIXELS["cpu"])
    each = config.shortest * config.longest
    return min(max(pixels // each, 1), 32 if device.type == "cpu" else 64)


def fitted_batches(
    images: Iterable[tuple[Any, Tensor]],
    config: ModelConfig,
    device: torch.device,
    batch_size: int | None = None,
) -> Iterator[FittedBatch]:
    """Yield the images at the model's size, in batches on the device.

    images: pairs of whatever belongs to an image, and its (3, H, W) uint8.

    The convolutions see the padding of a batch.  So with the configuration's
    exact_padding, a batch has images of one size, and each gets the result
    that it gets alone; up to four batches of images wait for their like, so
    the order changes.  Without it, images come as in the original: in their
    order, padded.
    """
    if batch_size is None:
        batch_size = usual_batch_size(config, device)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(
            "batch_size must be a number of images, 1 or more, not "
            f"{batch_size!r}."
        )
    waiting: dict[tuple[int, ...], list] = {}
    count = 0
    for item, image in images:
        small = fit_image(image, config.shortest, config.longest)
        kind = tuple(small.shape) if config.exact_padding else ()
        group = waiting.setdefault(kind, [])
        group.append((item, small))
        count += 1
        if len(group) < batch_size and count < 4 * batch_size:
            continue
        if len(group) < batch_size:
            kind = max(waiting, key=lambda kind: len(waiting[kind]))
        count -= len(waiting[kind])
        yield _batch(waiting.pop(kind), device)
    for group in waiting.values():
        yield _batch(group, device)


def _batch(group: list, device: torch.device) -> FittedBatch:
    items, small = zip(*group, strict=True)
    pinned = [x.pin_memory() if device.type == "cuda" else x for x in small]
    there = [x.to(device, non_blocking=True) for x in pinned]
    images, padding_mask = pad_images(there)
    sizes = [(x.shape[1], x.shape[2]) for x in small]
    return FittedBatch(list(items), images, padding_mask, sizes)
