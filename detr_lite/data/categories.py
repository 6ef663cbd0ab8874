"""Categories: what a model's labels mean, and what files call them."""

from collections.abc import Sequence
from dataclasses import dataclass

from detr_lite.errors import DataError


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
