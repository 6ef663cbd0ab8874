"""Batches: which images make up a step, and how they are loaded.

Both follow from the seed and the step's number alone.  The number of
processes, of micro-batches and of workers only says who loads which part.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detr_lite.data.batch import Batch, collate
from detr_lite.data.resizing import fit_sample
from detr_lite.data.sample import Sample, flip
from detr_lite.data.split import ArraySplit, Split
from detr_lite.errors import ConfigError, DataError, DetrLiteError
from detr_lite.files.ahead import ahead
from detr_lite.targets import Targets
from detr_lite.training.held_images import HeldImages
from detr_lite.training.recipes import Phase

SHARED_MEMORY = Path("/dev/shm")
STALLED = 600  # seconds after which workers that give nothing are given up

Transform = Callable[[Sample, torch.Generator], Sample]


class BatchOrder:
    """Which images make up step number s: a function of the seed and s.

    The images come in an endless series of shuffles, each of which has
    every image once; a step takes the next ones.

    Args:
        split: the images.
        phase: its batch_size is the number of images a step.
        seed: of the shuffles and of what is drawn for an image.
        transform: makes of a sample what the model sees, the size included;
            by default half of the images are mirrored, and all are fitted
            into the limits that `batch` is given.
        by_shape: the images of a step are all landscape (or square), or
            all portrait, so that little of a batch is padding.  Then each
            group has its own series of shuffles, and the groups take turns
            in proportion to their sizes: after any number of steps each has
            had its share of the steps to within one, and no image of a
            group was seen more than once more than another.  Needs
            `split.sizes`, the (H, W) of each image.
        exact_padding: images of other sizes make micro-batches of their
            own, so that none is padded; see Recipe.
        device: where images that lie in memory as one array are held
            (see held_images.py); None: they are taken one by one.
    """

    def __init__(
        self,
        split: Split,
        phase: Phase,
        seed: int,
        transform: Transform | None = None,
        by_shape: bool = False,
        exact_padding: bool = False,
        device: torch.device | None = None,
    ):
        self.split, self.size, self.seed = split, phase.batch_size, seed
        self.transform, self.exact_padding = transform, exact_padding
        self.held = None
        by_itself = device is not None and transform is None
        if by_itself and isinstance(split, ArraySplit):
            self.held = HeldImages(split, device)
        self.groups = [list(range(len(split)))]
        if by_shape:
            self.groups = _by_shape(split)
        self._shuffles = [(-1, [])] * len(self.groups)

    def batch(
        self, step: int, rank: int, processes: int, limits: tuple[int, int]
    ) -> Batch:
        """Return this process's part of the step's batch."""
        return self.batches(step, Share(rank, processes), limits)[0]

    def batches(
        self, step: int, share: "Share", limits: tuple[int, int]
    ) -> list[Batch]:
        """Return this process's part of the step, in micro-batches."""
        generator = self._generator(2 * step + 1)
        draw = torch.rand if self.transform is None else _seeds
        pairs = list(
            zip(
                self.indices(step),
                draw(self.size, generator=generator).tolist(),
                strict=True,
            )
        )[share.rank :: share.processes]
        parts = [pairs[i :: share.parts] for i in range(share.parts)]
        if self.held is not None and self.held.fits(limits):
            return [self.held.batch(part) for part in parts]
        groups = [
            [self._sample(i, drawn, limits) for i, drawn in part]
            for part in parts
        ]
        if self.exact_padding:
            groups = [alike for group in groups for alike in _by_size(group)]
        return [collate(group) for group in groups]

    def indices(self, step: int) -> list[int]:
        """Return the positions in the split of the step's images."""
        group, step = self._turn(step)
        first = step * self.size
        return [self._index(group, first + i) for i in range(self.size)]

    def _turn(self, step: int) -> tuple[int, int]:
        """Return the group of a step, and which of the group's steps it is."""
        if len(self.groups) == 1:
            return 0, step
        images, portraits = len(self.split), len(self.groups[1])
        before = step * portraits // images
        if (step + 1) * portraits // images > before:
            return 1, before
        return 0, step - before

    def _index(self, group: int, number: int) -> int:
        """Return the number-th index of an endless series of shuffles."""
        indices = self.groups[group]
        epoch, place = divmod(number, len(indices))
        if epoch != self._shuffles[group][0]:
            shuffle = torch.randperm(
                len(indices),
                generator=self._generator(2 * epoch + group * 2**31),
            )
            self._shuffles[group] = (
                epoch,
                [indices[i] for i in shuffle.tolist()],
            )
        return self._shuffles[group][1][place]

    def _sample(
        self, index: int, drawn: float, limits: tuple[int, int]
    ) -> Sample:
        """Return an image as the model sees it."""
        sample = self.split[index]
        classes = len(self.split.categories)
        if len(sample.labels) and int(sample.labels.max()) >= classes:
            raise DataError(
                f"{sample.name} has a segment of label "
                f"{int(sample.labels.max())}, but there are {classes} "
                f"categories, so the labels are 0 to {classes - 1}; fix the "
                "label or the list of categories."
            )
        if self.transform is not None:
            generator = torch.Generator().manual_seed(drawn)
            return self.transform(sample, generator)
        sample = fit_sample(sample, *limits)
        return flip(sample) if drawn < 0.5 else sample

    def _generator(self, number: int) -> torch.Generator:
        """Return the generator of a number; those of two seeds lie far apart.

        torch uses the lower 32 bits of a seed and no other.
        """
        seed = (self.seed * 0x9E3779B1 + number) % 2**32
        return torch.Generator().manual_seed(seed)


def _seeds(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2**31, (count,), generator=generator)


def _by_size(samples: list[Sample]) -> list[list[Sample]]:
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(tuple(sample.id_map.shape), []).append(sample)
    return list(groups.values())


def _by_shape(split: Split) -> list[list[int]]:
    """Return the indices of landscapes and of portraits, if there are any."""
    sizes = getattr(split, "sizes", None)
    if sizes is None:
        raise ConfigError(
            "To put images of one shape together their sizes must be "
            "known: the data need `sizes`, a list of (H, W)."
        )
    groups: list[list[int]] = [[], []]
    for index, (height, width) in enumerate(sizes):
        groups[height > width].append(index)
    return [group for group in groups if group]


@dataclass(frozen=True)
class Share:
    """What a process sees of a step: one image of `processes`, in parts.

    Attributes:
        rank: of the process, 0 to processes - 1.
        processes: how many there are.
        parts: micro-batches that the process's images are dealt out to.
    """

    rank: int = 0
    processes: int = 1
    parts: int = 1


def load_steps(
    order: BatchOrder,
    steps: range,
    share: Share,
    limits: tuple[int, int],
    workers: int = 0,
    overlap: bool = False,
) -> Iterator[list[Batch]]:
    """Yield the micro-batches of each step, made by worker processes.

    What is yielded does not depend on their number.  With none the caller's
    process makes the batches itself; overlap lets a thread of it make the
    next ones, in pinned memory, while a GPU computes.
    """
    overlap = overlap and order.held is None  # what is held is there already
    if not workers:

        def load(step: int) -> list[Batch]:
            batches = order.batches(step, share, limits)
            return [_pinned(b) for b in batches] if overlap else batches

        yield from ahead(load, steps, 1, 2) if overlap else map(load, steps)
        return
    loader = DataLoader(
        _Steps(order, share, limits),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        timeout=STALLED,
        # A generator of its own: the usual one's state would change, and
        # with it the dropout after it.
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, DetrLiteError):
            raise item
        yield [_pinned(b) for b in item] if overlap else item


def check_shared_memory(
    workers: int, images: int, limits: tuple[int, int]
) -> None:
    """Refuse more workers than /dev/shm, which Docker makes small, can hold.

    Where it is full, they stand still for ever.  Each has two batches there.

    images: of a step, of one process; limits: the shorter and the longer
    side of an image, at most.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    # Three floats a pixel, and a byte for the padding mask.
    batches = 2 * 13 * images * limits[0] * limits[1]
    batches *= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = shutil.disk_usage(SHARED_MEMORY).free
    if workers * batches > free:
        raise ConfigError(
            f"{workers} workers may need {workers * batches / 1e6:.0f} MB of "
            f"{SHARED_MEMORY}, which has {free / 1e6:.0f} MB free; use "
            f"--workers {free // batches}, or give a container more by "
            "--ipc=host or --shm-size."
        )


class _Steps(Dataset):
    """The steps by number, in a form that travels between processes."""

    def __init__(
        self, order: BatchOrder, share: Share, limits: tuple[int, int]
    ):
        self.order, self.share, self.limits = order, share, limits

    def __getitem__(self, step: int):
        try:
            batches = self.order.batches(step, self.share, self.limits)
        except DetrLiteError as error:
            return error  # raised, it would arrive wrapped in a traceback
        return [replace(batch, samples=[]) for batch in batches]


def _pinned(batch: Batch) -> Batch:
    """Return the batch in memory from which a GPU copies by itself."""
    *tensors, counts = vars(batch.targets).values()
    mask = batch.padding_mask
    return replace(
        batch,
        images=batch.images.pin_memory(),
        padding_mask=None if mask is None else mask.pin_memory(),
        targets=Targets(*(x.pin_memory() for x in tensors), counts),
    )


def _as_it_is(item):
    return item
