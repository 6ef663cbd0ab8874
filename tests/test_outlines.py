"""Outlines become masks as in pycocotools, or are refused with a reason."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detr_lite.data.coco.outlines import (
    checked_runs,
    mask_of,
    runs_of_polygons,
)

SIZE = (30, 40)  # rows and columns of an image

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)


def mask_of_polygons(polygons, size):
    return mask_of(runs_of_polygons(polygons, size), size)


def mask_of_runs(shape, size):
    return mask_of(checked_runs(shape, size), size)


def coder():
    from pycocotools import mask

    return mask


def decoded(runs) -> np.ndarray:
    with warnings.catch_warnings():  # its C code is older than numpy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        return coder().decode(runs).astype(bool)


@given(masks)
def test_runs_as_text_are_those_of_pycocotools(mask):
    runs = coder().encode(np.asfortranarray(mask))
    shape = {"size": runs["size"], "counts": runs["counts"].decode()}
    assert np.array_equal(mask_of_runs(shape, mask.shape), mask)


def test_long_runs_and_great_differences_are_read():
    mask = np.zeros((1000, 900), np.uint8)
    mask[3:998, 2] = mask[500:, 400:] = 1
    mask[0, 5] = 1
    runs = coder().encode(np.asfortranarray(mask))
    shape = {"size": runs["size"], "counts": runs["counts"].decode()}
    assert np.array_equal(mask_of_runs(shape, mask.shape), mask)


def test_runs_as_a_list_go_down_the_columns():
    shape = {"size": [2, 3], "counts": [1, 2, 3]}
    wanted = [[False, True, False], [True, False, False]]
    assert mask_of_runs(shape, (2, 3)).tolist() == wanted


POLYGONS = [
    [[5, 5, 20, 5, 20, 20, 5, 20]],
    [[5.5, 4.2, 20, 5, 11.3, 28.9]],
    [[-10, -10, 50, 10, 10, 50], [30, 1, 39, 1, 39, 9]],
]


@pytest.mark.parametrize("polygons", POLYGONS)
def test_polygons_are_those_of_pycocotools(polygons):
    wanted = decoded(coder().merge(coder().frPyObjects(polygons, *SIZE)))
    assert wanted.any()
    assert np.array_equal(mask_of_polygons(polygons, SIZE), wanted)


def refused(error, *words):
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "number",
    [
        *(float("nan"), float("inf"), -float("inf"), 1e9, 10**400),
        *(-41.0, 80.5, None, "5", [1], {}),
    ],
)
def test_a_coordinate_that_is_none_never_reaches_c(number):
    with pytest.raises(ValueError, match="coordinate") as error:
        mask_of_polygons([[number, 10, 20, 10, 20, 20]], SIZE)
    refused(error, str(number)[:20], "40 x 30")
    with pytest.raises(ValueError, match="coordinate"):
        mask_of_polygons([[10, 10, 20, number, 20, 20]], SIZE)


@pytest.mark.parametrize(
    "polygons",
    [[], [[]], [[1, 2]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [3], [{}]],
)
def test_what_is_no_polygon_is_refused(polygons):
    """Four numbers are a box to pycocotools, and no polygon of two points."""
    with pytest.raises(ValueError, match="polygon"):
        mask_of_polygons(polygons, SIZE)


def test_a_polygon_that_would_take_all_memory_is_refused():
    """Its rim is drawn at five times the size, whatever is the result."""
    with pytest.raises(ValueError, match="to and fro"):
        mask_of_polygons([[0, 0, 39, 29, 0, 29] * 1000], SIZE)
    jagged = [c for x in range(39) for c in (x, 0, x, 29)]
    assert mask_of_polygons([jagged], SIZE).any()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"size": [60000, 60000], "counts": [0]}, ["60000 x 60000"]),
        ({"size": [40, 30], "counts": [1200]}, ["30 x 40", "40 x 30"]),
        ({"size": 7, "counts": [1200]}, ["7"]),
        ({"counts": [1200]}, ["None"]),
        ({"size": [30, 40]}, ["counts"]),
        ({"size": [30, 40], "counts": [1199]}, ["1199", "1200"]),
        ({"size": [30, 40], "counts": [1000, 201]}, ["1201"]),
        ({"size": [30, 40], "counts": [1300, -100]}, ["run lengths"]),
        ({"size": [30, 40], "counts": [1200.0]}, ["run lengths"]),
        ({"size": [30, 40], "counts": [10**30]}, ["run lengths"]),
        ({"size": [30, 40], "counts": ["1200"]}, ["run lengths"]),
        ({"size": [30, 40], "counts": "20"}, ["add up to 2"]),
        ({"size": [30, 40], "counts": "o"}, ["cut off"]),
        ({"size": [30, 40], "counts": "o" * 1000}, ["no text"]),
        ({"size": [30, 40], "counts": "O"}, ["run lengths"]),
        ({"size": [30, 40], "counts": "\n"}, ["no text"]),
        ({"size": [30, 40], "counts": "\u20ac"}, ["no text"]),
        ({"size": [30, 40], "counts": None}, ["no list"]),
    ],
)
def test_runs_that_do_not_fill_the_picture_are_refused(shape, words):
    with pytest.raises(ValueError, match=r"\w") as error:
        mask_of_runs(shape, SIZE)
    refused(error, *words)
