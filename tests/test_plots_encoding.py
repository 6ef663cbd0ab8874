"""The drawings of chapter 1, read back from the figures."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from detr_lite.position import SinePositionalEncoding
from detr_lite.teaching.plots.encoding import (
    bars_figure,
    seen_from_figure,
    waves_figure,
)
from detr_lite.teaching.plots.style import WIDTH


def pixels(figure):
    """Return the figure as (height, width, 3) pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.fixture
def codes():
    """A row of two encodings, (channels, columns) each."""
    short = SinePositionalEncoding(32, 20.0, 2.0)
    long = SinePositionalEncoding(64)
    row = torch.zeros(1, 1, 12, dtype=torch.bool)
    return [short(row)[0, 16:, 0], long(row)[0, 32:, 0]]


def test_waves_are_the_first_a_middle_and_the_last_sine(codes):
    figure = waves_figure(codes, ["short", "long"])
    for axis, code, last in zip(figure.axes[:2], codes, (7, 15), strict=True):
        named = [n for n in axis.lines if n.get_label()[0] != "_"]
        lines = {line.get_label(): line for line in named}
        numbers = [int(label.removeprefix("sine ")) for label in lines]
        assert numbers == [0, (last + 1) // 4, last]
        for number, line in zip(numbers, lines.values(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), range(1, 13))
            np.testing.assert_array_equal(line.get_ydata(), code[2 * number])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["short", "long"]


def test_all_sines_are_shown_on_one_scale(codes):
    figure = waves_figure(codes, ["short", "long"])
    for axis, code in zip(figure.axes[2:4], codes, strict=True):
        (image,) = axis.images
        np.testing.assert_array_equal(image.get_array(), code[0::2])
        assert image.get_clim() == (-1, 1)


@pytest.fixture
def seen(scenes):
    """A scene, two places in a map of 4 x 6, and two maps for each."""
    maps = torch.rand(2, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    return scenes[0], [(0, 1), (3, 4)], maps


def test_each_place_has_a_row_with_the_picture_and_its_maps(seen):
    sample, places, maps = seen
    figure = seen_from_figure(sample, places, maps, ["a", "b"], "weight")
    axes = np.array(figure.axes[:6], dtype=object).reshape(2, 3)
    for row, own in zip(axes, maps, strict=True):
        picture = row[0].images[0].get_array()
        np.testing.assert_array_equal(picture, sample.image.permute(1, 2, 0))
        for axis, values in zip(row[1:], own, strict=True):
            *_, image = axis.images  # the last: below it lies the scene
            np.testing.assert_array_equal(image.get_array(), values)
            assert image.get_clim() == (0, pytest.approx(maps.max().item()))
    titles = [axis.get_title() for axis in axes[0]]
    assert titles == ["image", "a", "b"]
    assert figure.axes[-1].get_xlabel() == "weight"


def test_places_are_marked_at_the_middle_of_their_position(seen):
    sample, places, maps = seen
    figure = seen_from_figure(sample, places, maps, ["a", "b"], "weight")
    for n, (y, x) in enumerate(places):
        for axis in figure.axes[3 * n : 3 * n + 3]:
            for line in axis.lines:
                ((at_x, at_y),) = line.get_xydata()
                assert at_x == pytest.approx((x + 0.5) / 6 * 96)
                assert at_y == pytest.approx((y + 0.5) / 4 * 96)


def test_the_segment_of_the_place_is_outlined(seen):
    sample, _, maps = seen
    halves = torch.ones(96, 96, dtype=torch.int32)
    halves[:, 48:] = 2
    sample = replace(sample, id_map=halves)
    figure = seen_from_figure(sample, [(1, 5)], maps[:1], ["a", "b"], "")
    for axis in figure.axes[:3]:
        (contour,) = axis.collections
        x = np.concatenate([p.vertices[:, 0] for p in contour.get_paths()])
        assert x.min() == pytest.approx(48, abs=0.6)
        assert x.max() == pytest.approx(96, abs=0.6)


def test_limits_set_the_color_scale(seen):
    sample, places, maps = seen
    figure = seen_from_figure(
        sample, places, maps, ["a", "b"], "", limits=(0, 4)
    )
    norm = figure.axes[1].images[-1].norm
    assert (norm.vmin, norm.vmax) == (0, 4)
    assert norm(1.0) == pytest.approx(0.25)


def test_bars_are_as_long_as_the_shares_and_in_their_order():
    figure = bars_figure({"b": 0.5, "a": 0.25, "c": 0.75}, "share")
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    widths = [bar.get_width() for bar in axis.patches]
    # From the bottom up: the longest first.
    assert (names, widths) == (["c", "b", "a"], [0.75, 0.5, 0.25])
    assert [t.get_text() for t in axis.texts] == ["0.75", "0.50", "0.25"]


def test_figures_fit_the_page_and_are_drawn_the_same_twice(codes, seen):
    sample, places, maps = seen
    for draw in (
        lambda: waves_figure(codes, ["short", "long"]),
        lambda: seen_from_figure(sample, places, maps, ["a", "b"], "weight"),
    ):
        first = draw()
        width, height = first.get_size_inches()
        assert width == WIDTH
        assert height < 5
        np.testing.assert_array_equal(pixels(first), pixels(draw()))
