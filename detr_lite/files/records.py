"""What files say, in JSON: types and ranges are known before any use.

pydantic compares the values with the types of a dataclass; what is wrong with
them becomes part of a sentence.  Keys that the dataclass lacks do not count.
"""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
)

from detr_lite.errors import DataError, DetrLiteError


def _plain(text: str) -> str:
    if not 0 < len(text) <= 1000 or any(c < " " for c in text):
        raise ValueError(
            "should be a text of 1 to 1,000 characters, on a line"
        )
    text.encode()  # ValueError where it has half of a character
    return text


def _name_or_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("should be a whole number or a text")
    return value


# Numbers may be written as texts of digits, as some tools do.
CategoryId = Annotated[int, Field(ge=0, lt=2**31)]
ImageId = Annotated[Any, AfterValidator(_name_or_number)]
SegmentId = Annotated[int, Field(ge=1, lt=2**24)]  # what a PNG color holds
Side = Annotated[int, Field(ge=1, lt=2**31)]
Text = Annotated[str, AfterValidator(_plain)]
Flag = Annotated[bool, BeforeValidator(lambda v: False if v is None else v)]


def read_json(
    path: Path, kind: type[DetrLiteError] = DataError, hint: str = ""
) -> Any:
    """Return what a file of JSON holds.

    kind: the error to raise where it cannot be read; hint: what it then
    says of the files that are wanted.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        hint = hint or "fix that or name another file"
        raise kind(
            f"{path} cannot be read ({error.strerror}); {hint}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise kind(
            f"{path} is not valid JSON ({error}); write it again."
        ) from error


def checked(kind: Any, value: Any, strict: bool = False) -> Any:
    """Return a value as a type wants it; ValidationError says all faults.

    kind: such as a dataclass; strict: the value must be of that very type.
    ValidationError is a ValueError; see `faults`.
    """
    return _adapter(kind).validate_python(value, strict=strict)


def checked_text(kind: Any, text: str) -> Any:
    """Return what a text of JSON holds, whose values are of the very types.

    ValidationError, as of `checked`, also if it is no JSON.
    """
    return _adapter(kind).validate_json(text, strict=True)


def faults(error: ValidationError) -> list[tuple[tuple, str]]:
    """Return each fault: its place, as keys, and what is said of it."""
    found = []
    for fault in error.errors(include_url=False):
        what = fault["msg"].removeprefix("Value error, ")
        what = what.replace("Input should", "should", 1)
        value = str(fault["input"])[:40]
        if fault["type"] == "dataclass_type":
            what = "should be an object with keys"
        missing = fault["type"] == "missing"
        what = "is missing" if missing else f"{what}, it is {value!r}"
        found.append((fault["loc"], what))
    return found


def said(error: ValidationError) -> str:
    """Return all faults as a text: `"depths", 3 should be ..., it is ...`."""
    return "; ".join(
        f'"{".".join(map(str, place))}" {what}'
        for place, what in faults(error)
    )


@cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)
