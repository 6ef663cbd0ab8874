"""Categories: what a model's labels mean, and what files call them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from detr_lite.errors import DataError
from detr_lite.files.records import CategoryId, Text, checked, said

GRAY = (128, 128, 128)
Byte = Annotated[int, Field(ge=0, le=255)]
Color = Annotated[
    tuple[Byte, Byte, Byte],
    BeforeValidator(lambda c: GRAY if c is None else c),
]


@dataclass(frozen=True)
class Category:
    """One class: the id used in files, its name, thing or stuff, its color."""

    id: CategoryId
    name: Text
    isthing: bool
    color: Color = GRAY


class Categories(Sequence[Category]):
    """The classes of a data set, in the order of the model's labels.

    A *label* is the position in this list, 0 to K - 1, and is what the model
    predicts.  A *category id* is what files hold, any number from 0 on.
    No two have one id or one name: DataError.
    """

    def __init__(self, categories: Sequence[Category]):
        self._list = tuple(categories)
        self._label_of = {c.id: i for i, c in enumerate(self._list)}
        if len(self._label_of) != len(self._list):
            raise DataError("Two categories share one id; make ids unique.")
        names: set[str] = set()
        for c in self._list:
            if c.name in names:
                raise DataError(
                    f"Two categories are called {c.name}, which figures "
                    "cannot tell apart; make names unique."
                )
            names.add(c.name)

    @classmethod
    def read(cls, items, where: str) -> "Categories":
        """Return the classes that a file lists.

        items: each with id, name, isthing and perhaps color, a list of three
        numbers 0 to 255; where: the file, for DataError, which tells all
        that is wrong.
        """
        try:
            return cls(
                checked(Annotated[list[Category], Field(min_length=1)], items)
            )
        except ValidationError as error:
            raise DataError(
                f"{where}: in the list of categories {said(error)}; correct "
                "that."
            ) from error
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

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
