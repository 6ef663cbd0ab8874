"""Outlines of COCO's instances, polygons or run lengths, as masks.

Run lengths go down the columns of an image, the first of them outside.  They
take little room, and their sum says how large an instance is; so masks are
made of them one at a time.

All numbers are looked at before anything is made of them: the C code of
pycocotools takes what it is given, and ends in a crash or in all memory
used, or gives what lay in memory where runs end too early.
"""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

# A polygon's way over the half of its image's rim; real ones stay below 50.
LONGEST = 200


def mask_of(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of run lengths, (H, W) bool."""
    height, width = size
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def runs_of_polygons(polygons: list, size: tuple[int, int]) -> np.ndarray:
    """Return the run lengths of what lies in any of the polygons.

    polygons: x, y, x, y, ... each, in pixels; size: (H, W) of the image.
    A polygon may leave the image, but not by more than the image's size.
    One of fewer than three points covers nothing and is left out.
    ValueError says what is wrong, as the middle of a sentence.
    """
    from pycocotools import mask as coder

    polygons = [p for p in polygons if not _is_short(p)]
    if not polygons:
        raise ValueError("it is empty, without a polygon of three points")
    for polygon in polygons:
        _check_polygon(polygon, size)
    with warnings.catch_warnings():  # its C code is older than numpy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        runs: Any = coder.merge(coder.frPyObjects(polygons, *size))
    return np.array(_runs_of_text(runs["counts"].decode()))


def _is_short(polygon) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) in (0, 2, 4)
        and not any(isinstance(x, list) for x in polygon)
    )


def _check_polygon(polygon, size: tuple[int, int]) -> None:
    height, width = size
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon is a list of three or more pairs x, y")
    for numbers, side in ((polygon[::2], width), (polygon[1::2], height)):
        for number in numbers:
            # Said so that neither NaN nor a whole number of any size passes.
            if not (
                isinstance(number, int | float) and -side <= number <= 2 * side
            ):
                raise ValueError(
                    f"the polygon's coordinate {str(number)[:20]} is no "
                    f"number in or near its image of {width} x {height}"
                )
    points = [*zip(polygon[::2], polygon[1::2], strict=True)]
    way = sum(
        max(abs(x1 - x0), abs(y1 - y0))
        for (x0, y0), (x1, y1) in pairwise([*points, points[0]])
    )
    if way > LONGEST * (height + width):
        raise ValueError(
            f"the polygon's rim of {way:.0f} pixels goes to and fro in its "
            f"image of {width} x {height}"
        )


def checked_runs(shape: dict, size: tuple[int, int]) -> np.ndarray:
    """Return the run lengths of an instance that has such.

    shape: COCO's "counts", a list or a text, and "size"; size: (H, W) of
    the image.  ValueError says what is wrong, as the middle of a sentence.
    """
    height, width = size
    if shape.get("size") != [height, width]:
        columns_rows = str(shape.get("size"))[:40].strip("[]").split(", ")
        raise ValueError(
            f"it is of an image of {' x '.join(reversed(columns_rows))} "
            f"pixels, but its image has {width} x {height}"
        )
    runs = shape.get("counts")
    if isinstance(runs, str):
        runs = _runs_of_text(runs)
    if not isinstance(runs, list) or not all(
        isinstance(n, int) and 0 <= n <= height * width for n in runs
    ):
        raise ValueError("its counts are no list of run lengths and no text")
    if sum(runs) != height * width:
        raise ValueError(
            f"its run lengths add up to {sum(runs)}, but its image has "
            f"{height * width} pixels"
        )
    return np.array(runs)


def _runs_of_text(text: str) -> list[int]:
    """Return the run lengths that COCO writes as a text.

    A character holds five bits of a number, the lowest first, a sixth that
    says whether more follow, and begins at "0"; from the fourth on, a number
    is the difference to the one before the last.
    Source: rleFrString in pycocotools' maskApi.c.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its counts are no text of run lengths")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        if len(runs) > 2:
            number += runs[-2]
        runs.append(number)
        number = shift = 0
    if shift:
        raise ValueError("its counts are cut off")
    return runs
