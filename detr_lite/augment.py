"""Random changes of a picture and its segments, for training."""

from collections.abc import Sequence

import torch

from detr_lite.errors import ConfigError
from detr_lite.resizing import resized_size
from detr_lite.samples import Sample, flip, resize_sample, with_pixels

SCALES = tuple(range(480, 801, 32))


class TrainTransform:
    """The original's changes of a training picture.

    Half of the pictures are mirrored.  Then, if crops are wanted, every
    second one is resized to one of the sizes `before`, and of it a random
    part is cut whose sides are `sides[0]` to `sides[1]` pixels (less where
    the picture is smaller).  At last the picture is resized so that its
    shorter side is one of `shortest`, the longer at most `longest`.

    The boxes follow from the id map that is left, so they are tight.  The
    original clips the old boxes instead, which are then too large (one of
    four has an IoU below 0.9 with the tight one), and can keep a segment
    that has no pixel left.  A segment without a pixel is dropped here; a
    part without any segment is a sample like any other.

    Args:
        shortest: what the shorter side can become.
        longest: the most the longer side can become.
        before: what the shorter side can become before a part is cut.
        sides: the least and the most pixels of a part's sides.
        crop: whether parts are cut at all.

    Source: make_coco_transforms in the original's datasets/coco.py.
    """

    def __init__(
        self,
        shortest: Sequence[int] = SCALES,
        longest: int = 1333,
        before: Sequence[int] = (400, 500, 600),
        sides: tuple[int, int] = (384, 600),
        crop: bool = True,
    ):
        if not shortest or min(shortest) < 1 or max(shortest) > longest:
            raise ConfigError(
                f"The shorter side cannot become one of {list(shortest)} "
                f"while the longer is at most {longest}; give sizes from 1 "
                "to the longest."
            )
        if crop and (not before or min(before) < 1):
            raise ConfigError(
                f"A picture cannot be resized to one of {list(before)} "
                "before a part is cut; give sizes from 1 on."
            )
        if crop and not 1 <= sides[0] <= sides[1]:
            raise ConfigError(
                f"A part cannot have sides of {sides[0]} to {sides[1]} "
                "pixels; give the least first, from 1 on."
            )
        self.shortest, self.longest = tuple(shortest), longest
        self.before, self.sides, self.crop = tuple(before), sides, crop

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the changed sample; it follows from the generator alone."""
        if _draw(2, generator):
            sample = flip(sample)
        if self.crop and _draw(2, generator):
            # The original sets no limit to the longer side here.
            sample = self._resized(sample, self.before, None, generator)
            sample = self._part(sample, generator)
        return self._resized(sample, self.shortest, self.longest, generator)

    def _resized(
        self,
        sample: Sample,
        sizes: Sequence[int],
        longest: int | None,
        generator: torch.Generator,
    ) -> Sample:
        shortest = sizes[_draw(len(sizes), generator)]
        before = tuple(sample.id_map.shape)
        size = resized_size(before, shortest, longest or 10**9)
        return resize_sample(sample, size)

    def _part(self, sample: Sample, generator: torch.Generator) -> Sample:
        least, most = self.sides
        spans = []
        for length in sample.id_map.shape:
            low, high = min(least, length), min(most, length)
            side = low + _draw(high - low + 1, generator)
            start = _draw(length - side + 1, generator)
            spans.append(slice(start, start + side))
        rows, columns = spans
        return with_pixels(
            sample,
            sample.image[:, rows, columns],
            sample.id_map[rows, columns],
        )


def _draw(below: int, generator: torch.Generator) -> int:
    """Return a random number from 0 to below - 1."""
    return int(torch.randint(below, (), generator=generator))
