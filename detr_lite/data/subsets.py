"""Views of a split: its labels counted in another list of classes."""

from collections.abc import Sequence
from dataclasses import replace

from torch import tensor

from detr_lite.errors import DataError
from detr_lite.samples import Categories, Sample, Split


def relabel(split: Split, categories: Categories) -> Split:
    """Return the split with labels that count in another list of classes.

    Classes are joined by category id.  The list may hold more classes than
    the data: the original's checkpoints have 250, of which COCO uses 133.
    DataError names a class that the list lacks or knows by another name.
    """
    if split.categories == categories:
        return split
    return _Relabeled(split, categories)


class _Relabeled(Sequence[Sample]):
    """A split seen through a table from its labels to other labels."""

    def __init__(self, split: Split, categories: Categories):
        self._split = split
        self.categories = categories
        self._table = tensor(
            [_same_class(c, categories) for c in split.categories]
        )

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Sample:
        sample = self._split[index]
        return replace(sample, labels=self._table[sample.labels])

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Return (H, W) of each picture, if the split knows them."""
        return self._split.sizes


def _same_class(category, categories: Categories) -> int:
    """Return the label that a class has in another list."""
    try:
        label = categories.label(category.id)
    except DataError:
        raise DataError(
            f"The data's class {category.name} (id {category.id}) is not "
            f"among the {len(categories)} classes that are asked for, "
            f"{_some_names(categories)}; use data of these classes or a "
            "model that knows it."
        ) from None
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
