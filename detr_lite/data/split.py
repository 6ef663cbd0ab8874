"""What every source of data offers, for training and for evaluation."""

from typing import Protocol, runtime_checkable

import numpy as np

from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample


class Split(Protocol):
    """A data source: samples by index, and the categories they use.

    A source may offer more, and what needs it asks for it:

    - `sizes`: (H, W) of each image, for steps by shape;
    - `segment_counts`: the segments of each image that aren't crowds, for the
      estimate before a training;
    - `fingerprint`: what tells its data from others, for `recipe.json`;
    - `arrays`: see ArraySplit.
    """

    categories: Categories

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@runtime_checkable
class ArraySplit(Split, Protocol):
    """A source whose images are in memory, so that a device can hold them.

    Attributes:
        arrays: (n, H, W, 3) uint8 images, and (n, H, W) id maps.
    """

    arrays: tuple[np.ndarray, np.ndarray]
