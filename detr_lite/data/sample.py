"""The sample format that every data source speaks, and the batch it becomes.

A sample is an image and an *id map*: one integer a pixel that says which
segment the pixel belongs to, 0 where no segment is annotated (void).  Masks,
boxes and labels all follow from the id map and the list of segments, so
there is one truth and nothing can disagree with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from detr_lite.boxes import xyxy_to_cxcywh
from detr_lite.errors import DataError
from detr_lite.resizing import resize_ids, resize_image, resized_size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Category:
    """One class: the id used in files, its name, thing or stuff, its color."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


class Categories(Sequence[Category]):
    """The classes of a data set, in the order of the model's labels.

    A *label* is the position in this list, 0 to K - 1, and is what the model
    predicts.  A *category id* is what files hold, any positive number.
    """

    def __init__(self, categories: Sequence[Category]):
        self._list = tuple(categories)
        self._label_of = {c.id: i for i, c in enumerate(self._list)}
        if len(self._label_of) != len(self._list):
            raise DataError("Two categories share one id; make ids unique.")

    def __getitem__(self, label):
        return self._list[label]

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other) -> bool:
        return isinstance(other, Categories) and self._list == other._list

    def __hash__(self) -> int:
        return hash(self._list)

    def label(self, category_id: int) -> int:
        """Return the label of a category id; DataError if it is unknown."""
        if category_id not in self._label_of:
            raise DataError(
                f"Category id {category_id} is not in the list of categories "
                f"(known ids: {sorted(self._label_of)})."
            )
        return self._label_of[category_id]


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
    return _chosen(*drawn_boxes(id_map), segment_ids)


def _chosen(drawn: np.ndarray, boxes: np.ndarray, ids: Tensor) -> Tensor:
    """Return the boxes of some ids; DataError if one is not drawn."""
    missing = set(ids.tolist()) - set(drawn.tolist())
    if missing:
        raise DataError(
            f"Segment {min(missing)} has no pixel in its picture; "
            "remove it from the annotation."
        )
    rows = np.searchsorted(drawn, ids.numpy())
    return torch.from_numpy(boxes[rows].astype(np.float32))


@dataclass(frozen=True)
class Sample:
    """One picture with its panoptic annotation.

    Attributes:
        image: (3, H, W) uint8, RGB.
        id_map: (H, W) int32, a segment id for each pixel, 0 for void.
        segment_ids: (T,) int64, the ids of the segments, in order.
        labels: (T,) int64, 0 to K - 1.
        crowd: (T,) bool, segments that stand for a group of objects.
        image_id: what files call the picture.
        name: the picture's file stem, used in messages and output names.
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
        return _chosen(*self.drawn, self.segment_ids)


@dataclass(frozen=True)
class Target:
    """What the model should find in one picture.

    Attributes:
        labels: (T,) int64.
        boxes: (T, 4) float, (cx, cy, w, h) relative to the unpadded picture.
        id_map: (H, W) int32, unpadded.
        segment_ids: (T,) int64.
    """

    labels: Tensor
    boxes: Tensor
    id_map: Tensor
    segment_ids: Tensor

    def masks(self, index: Tensor | None = None) -> Tensor:
        """Return (T, H, W) bool masks, or those of the segments in index."""
        ids = self.segment_ids if index is None else self.segment_ids[index]
        return self.id_map == ids[:, None, None]

    def to(self, device) -> "Target":
        """Return the target with every tensor on the device."""
        return Target(*(getattr(self, f).to(device) for f in TARGET_FIELDS))


TARGET_FIELDS = ("labels", "boxes", "id_map", "segment_ids")


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


class Split(Protocol):
    """A data source: samples by index, and the categories they use."""

    categories: Categories

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def make_target(sample: Sample) -> Target:
    """Return what the model should find: crowds are left out, as void is."""
    labels, ids = sample.labels, sample.segment_ids
    if sample.crowd.any():
        labels, ids = labels[~sample.crowd], ids[~sample.crowd]
    height, width = sample.id_map.shape
    try:
        corners = _chosen(*sample.drawn, ids)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from None
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


class Part(Sequence[Sample]):
    """Some of the samples of a split."""

    def __init__(self, split: Split, indices: Sequence[int]):
        self._split, self._indices = split, indices
        self.categories = split.categories

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._split[self._indices[index]]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Return (H, W) of each picture, if the split knows them."""
        sizes = self._split.sizes
        return [sizes[i] for i in self._indices]


def split_off(split: Split, part: float) -> tuple[Part, Part]:
    """Return the first samples, and the last ones that make up `part`."""
    if len(split) < 2:
        raise DataError(
            "Training needs at least two pictures, one to learn from and "
            f"one to measure on; there is {len(split)}."
        )
    last = min(max(round(len(split) * part), 1), len(split) - 1)
    cut = len(split) - last
    return Part(split, range(cut)), Part(split, range(cut, len(split)))


def flip(sample: Sample) -> Sample:
    """Return the sample mirrored left to right."""
    return Sample(
        sample.image.flip(-1),
        sample.id_map.flip(-1),
        sample.segment_ids,
        sample.labels,
        sample.crowd,
        sample.image_id,
        sample.name,
    )


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


def with_pixels(sample: Sample, image: Tensor, id_map: Tensor) -> Sample:
    """Return the sample with other pixels, and the segments that are left.

    image: (3, H, W) uint8; id_map: (H, W) int32.
    """
    left = torch.isin(sample.segment_ids, id_map)
    return Sample(
        image,
        id_map,
        sample.segment_ids[left],
        sample.labels[left],
        sample.crowd[left],
        sample.image_id,
        sample.name,
    )


def resize_picture(image: Tensor, shortest: int, longest: int) -> Tensor:
    """Return a (3, H, W) uint8 picture at the size a model works at."""
    before = tuple(image.shape[1:])
    size = resized_size(before, shortest, longest)
    return image if size == before else resize_image(image, size)


def to_tensor(image: np.ndarray) -> Tensor:
    """Return an (H, W, 3) uint8 array as a (3, H, W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
