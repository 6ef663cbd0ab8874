"""Images and id maps at another size, as the original resizes them."""

import torch.nn.functional as F
from torch import Tensor

from detr_lite.data.sample import Sample, with_pixels


def resized_size(
    size: tuple[int, int], shortest: int, longest: int
) -> tuple[int, int]:
    """Return the (H, W) at which a model works on an (H, W) image.

    The shorter side becomes `shortest`, or what keeps the longer one within
    `longest`, rounded; the longer one follows, cut to a whole number.

    Source: get_size_with_aspect_ratio in the original's transforms.py.
    """
    short, long = min(size), max(size)
    if long / short * shortest > longest:
        # Of a very thin image nothing would be left without the 1.
        shortest = max(round(longest * short / long), 1)
    if short == shortest:
        return size
    other = int(shortest * long / short)
    return (shortest, other) if size[0] <= size[1] else (other, shortest)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a (3, H, W) uint8 image at another (H, W).

    Bilinear, averaging where it shrinks, in whole numbers as Pillow does it,
    with which the original resizes: the same to 1 or 2 of 255.
    """
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def resize_ids(id_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an (H, W) id map at another (H, W), by nearest neighbor.

    By way of float32, as the original, so that the same pixels are chosen;
    it holds every id that a PNG does, all below 2^24.
    """
    resized = F.interpolate(id_map[None, None].float(), size, mode="nearest")
    return resized[0, 0].to(id_map.dtype)


def fit_image(image: Tensor, shortest: int, longest: int) -> Tensor:
    """Return a (3, H, W) uint8 image at the size a model works at."""
    before = tuple(image.shape[1:])
    size = resized_size(before, shortest, longest)
    return image if size == before else resize_image(image, size)


def fit_sample(sample: Sample, shortest: int, longest: int) -> Sample:
    """Return the sample at the size a model works at; see resized_size."""
    size = tuple(sample.id_map.shape)
    return resize_sample(sample, resized_size(size, shortest, longest))


def resize_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Return the sample at another (H, W).

    A segment that thereby loses its last pixel is dropped.
    """
    if size == sample.id_map.shape:
        return sample
    return with_pixels(
        sample,
        resize_image(sample.image, size),
        resize_ids(sample.id_map, size),
    )
