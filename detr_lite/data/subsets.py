"""Views of a split: some of its samples, or other labels of the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from torch import Generator, randperm, tensor

from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample
from detr_lite.data.split import Split
from detr_lite.errors import DataError


class Part(Sequence[Sample]):
    """Some of the samples of a split."""

    def __init__(self, split: Split, indices: Sequence[int]):
        self._split, self._indices = split, indices
        self.categories = split.categories

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index) -> Any:
        if isinstance(index, slice):
            return Part(self._split, self._indices[index])
        return self._split[self._indices[index]]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Return (H, W) of each image, if the split knows them."""
        sizes = self._split.sizes
        return [sizes[i] for i in self._indices]

    @property
    def segment_counts(self) -> list[int]:
        """Return the segments of each image, if the split knows them."""
        counts = self._split.segment_counts
        return [counts[i] for i in self._indices]

    @property
    def fingerprint(self) -> dict:
        """That of the whole split, and which samples."""
        return fingerprint(self._split) | {
            "samples": _hash(list(self._indices))
        }


def fingerprint(split: Split) -> dict:
    """Return what tells a split from others, as JSON can hold it.

    A split may have it as an attribute; of others only the number of samples
    and the classes are known.
    """
    known = getattr(split, "fingerprint", None)
    if known is None:
        known = {"kind": type(split).__name__, "images": len(split)}
    return known | {"classes": _hash([asdict(c) for c in split.categories])}


def _hash(content) -> str:
    return f"sha256 {sha256(json.dumps(content).encode()).hexdigest()}"


def split_off(split: Split, part: float, seed: int = 0) -> tuple[Part, Part]:
    """Return most of the samples, and others that make up `part`.

    Those are drawn by the seed, for neighbors may be much alike, like the
    frames of a film; both come in the split's order.
    """
    if len(split) < 2:
        raise DataError(
            "Training needs at least two images, one to learn from and "
            f"one to measure on; there is {len(split)}."
        )
    last = min(max(round(len(split) * part), 1), len(split) - 1)
    generator = Generator().manual_seed(seed)
    order = randperm(len(split), generator=generator).tolist()
    return Part(split, sorted(order[last:])), Part(split, sorted(order[:last]))


def relabel(split: Split, categories: Categories) -> Split:
    """Return the split with labels that count in another list of classes.

    Classes are joined by category id.  The list may hold more classes than
    the data: the original's checkpoints have 250, of which COCO uses 133.
    DataError names a class that the list lacks or knows by another name.
    """
    if split.categories == categories:
        return split
    return _Relabeled(split, categories)


class _Relabeled(Part):
    """All of a split, seen through a table from its labels to others."""

    def __init__(self, split: Split, categories: Categories):
        super().__init__(split, range(len(split)))
        self.categories = categories
        self._table = tensor(
            [_same_class(c, categories) for c in split.categories]
        )

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, labels=self._table[sample.labels])


def _same_class(category, categories: Categories) -> int:
    """Return the label that a class has in another list."""
    try:
        label = categories.label(category.id)
    except DataError as error:
        raise DataError(
            f"The data's class {category.name} (id {category.id}) is not "
            f"among the {len(categories)} classes that are asked for, "
            f"{_some_names(categories)}; use data of these classes or a "
            "model that knows it."
        ) from error
    other = categories[label]
    if (other.name, other.isthing) != (category.name, category.isthing):
        raise DataError(
            f"Category id {category.id} is the {_kind(category)} "
            f"{category.name} in the data but the {_kind(other)} "
            f"{other.name} in the list that is asked for; "
            "make the two lists agree."
        )
    return label


def _kind(category) -> str:
    return "thing" if category.isthing else "stuff"


def _some_names(categories: Categories, most: int = 10) -> str:
    names = [c.name for c in categories][:most]
    return ", ".join(names) + (", ..." if len(categories) > most else "")
