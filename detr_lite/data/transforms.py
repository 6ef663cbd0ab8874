"""Random changes of an image and its segments, for training."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from detr_lite.data.resizing import resized_size
from detr_lite.data.sample import Sample, with_pixels
from detr_lite.errors import ConfigError

SCALES = tuple(range(480, 801, 32))

Pair = Sequence[Tensor]  # an image and its id map


class TrainTransform:
    """The original's changes of a training image.

    Half of the images are mirrored.  Then, if crops are wanted, every
    second one is resized to one of the sizes `before`, and of it a random
    part is cut whose sides are `sides[0]` to `sides[1]` pixels (less where
    the image is smaller).  At last the image is resized so that its
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
                f"An image cannot be resized to one of {list(before)} "
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
        # By their types torchvision knows what to do with each: a mask is
        # resized by nearest neighbor, so that ids stay ids.
        image, ids = sample.image, sample.id_map
        pair: Pair = tv_tensors.Image(image), tv_tensors.Mask(ids)
        if _draw(2, generator):
            pair = [F.horizontal_flip(x) for x in pair]
        if self.crop and _draw(2, generator):
            # The original sets no limit to the longer side here.
            pair = _resized(pair, self.before, 10**9, generator)
            pair = random_part(pair, self.sides, generator)
        pair = _resized(pair, self.shortest, self.longest, generator)
        return with_pixels(sample, *(x.as_subclass(Tensor) for x in pair))


def random_part(
    pair: Pair, sides: tuple[int, int], generator: torch.Generator
) -> Pair:
    """Cut a part out, of sides from the least to the most, wherever it fits.

    Where the image is smaller than that, the part is as long as it is.
    """
    starts: list[int] = []
    lengths: list[int] = []
    for length in F.get_size(pair[0]):
        low, high = (min(side, length) for side in sides)
        lengths.append(low + _draw(high - low + 1, generator))
        starts.append(_draw(length - lengths[-1] + 1, generator))
    return [F.crop(x, *starts, *lengths) for x in pair]


def _resized(
    pair: Pair, sizes: Sequence[int], longest: int, generator: torch.Generator
) -> Pair:
    shortest = sizes[_draw(len(sizes), generator)]
    before = tuple(F.get_size(pair[0]))
    size = resized_size(before, shortest, longest)
    if size == before:
        return pair
    return [F.resize(x, size, antialias=True) for x in pair]


def _draw(below: int, generator: torch.Generator) -> int:
    """Return a random number from 0 to below - 1."""
    return int(torch.randint(below, (), generator=generator))
