"""Chapter 7's figures: what is drawn, read back."""

from dataclasses import replace

import numpy as np
import pytest
import support
import torch
from figures import words

from detr_lite.data.categories import Categories, Category
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots.nuclei import (
    FOUND,
    MISSED,
    WRONG,
    batch_figure,
    class_colors,
    found_figure,
    inside_figure,
    outcomes_figure,
    outlined_figure,
    ranges_figure,
)

BOXES = Categories(
    [
        Category(1, "box", True, (200, 0, 0)),
        Category(2, "bag", True, (0, 200, 0)),
        Category(3, "floor", False, (0, 0, 200)),
    ]
)


@pytest.fixture
def sample():
    """Two things on a ground: a box on the left, a bag on the right."""
    ids = torch.full((30, 40), 3, dtype=torch.int32)
    ids[5:20, 4:16], ids[8:25, 22:36] = 1, 2
    return support.sample(ids, [1, 2, 3], [0, 1, 2])


@pytest.fixture
def prediction(sample):
    """The box is found; the bag is found too far to the right."""
    ids = sample.id_map.clone()
    ids[ids == 2] = 3
    ids[8:25, 32:40] = 2
    segments = tuple(
        Segment(n, n - 1, 0.9, 1, n, (0.3, 0.4, 0.3, 0.5)) for n in (1, 2, 3)
    )
    maps = torch.rand(3, 8, 4, 5)
    return Prediction(sample.image, ids, segments, BOXES, maps)


def colors(axis) -> set[str]:
    """Return the colors of the outlines in a panel."""
    from matplotlib.colors import to_hex

    return {
        to_hex(color).upper()
        for lines in axis.collections
        for color in lines.get_edgecolor()
    }


def legend(figure) -> dict[str, str]:
    """Return the color of each class in the legend."""
    from matplotlib.colors import to_hex

    (only,) = figure.legends
    names = [text.get_text() for text in only.get_texts()]
    shown = [to_hex(p.get_facecolor()).upper() for p in only.get_patches()]
    return dict(zip(names, shown, strict=True))


def test_things_are_outlined_and_of_several_classes_by_colors(
    sample, prediction
):
    for shown in (sample, prediction):
        plain = outlined_figure([shown], BOXES)
        assert colors(plain.axes[0]) == {FOUND}
        assert not plain.legends
        several = outlined_figure([shown], BOXES, legend=True)
        wanted = {"box": "#C80000", "bag": "#00C800", "floor": "#0000C8"}
        assert legend(several) == wanted
        assert colors(several.axes[0]) == {*wanted.values(), "#FFFFFF"}
        assert words(several.axes[0]) == []


def test_a_segment_without_a_pixel_is_not_in_the_legend(sample):
    hidden = replace(sample, id_map=sample.id_map.clamp(min=2))
    figure = outlined_figure([hidden], BOXES, legend=True)
    assert [*legend(figure)] == ["bag", "floor"]


def test_things_have_other_colors_than_stuff():
    kinds = [True, False, True, True, False]
    found = class_colors(kinds)
    assert len({*map(tuple, found)}) == 5
    assert class_colors([True, False]) == found[:2]
    assert all(max(color) > 170 for color in np.array(found)[kinds])


def test_outcomes_are_told_by_colors_in_two_rows(sample, prediction):
    figure = outcomes_figure([sample] * 2, [prediction] * 2)
    people, _, model, _ = figure.axes
    assert people.get_ylabel() == "people"
    assert model.get_ylabel() == "model"
    assert colors(people) == {FOUND, MISSED}
    assert colors(model) == {FOUND, WRONG}
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "found",
        "missed",
        "wrong",
    ]
    lost = replace(prediction, id_map=torch.zeros(30, 40, dtype=torch.int32))
    lost = replace(lost, segments=())
    figure = outcomes_figure([sample], [lost])
    assert colors(figure.axes[0]) == {MISSED}


def test_what_was_found_stands_below_what_people_drew(sample, prediction):
    image, model = found_figure([prediction]).axes
    assert not image.collections
    assert words(model) == ["box 0.90", "bag 0.90", "floor 0.90"]
    people, model = found_figure([prediction], [sample]).axes
    assert words(people) == []
    assert people.get_ylabel() == "people"
    people, model = found_figure([prediction], [sample], names=False).axes
    assert words(people) == words(model) == []
    figure = found_figure([prediction], [sample], names=False, legend=True)
    assert [*legend(figure)] == ["box", "bag", "floor"]
    assert "#C80000" in colors(figure.axes[0])


def test_inside_a_segment_each_map_has_its_own_scale(prediction):
    masks = torch.rand(2, 15, 20)
    figure = inside_figure(prediction, [0, 2], masks)
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["box", "attention (largest = 1)", "mask probability"]
    heat = figure.axes[4].images[-1].get_array()
    maps = prediction.attention_maps[2].sum(0)
    np.testing.assert_allclose(heat, maps / maps.max())


def test_a_band_has_ends_and_single_results_have_none():
    figure = ranges_figure({"each": [0.2, 0.9]}, {"all": [0.6, 0.5, 0.8]})
    (axis,) = figure.axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["each", "all"]
    dots, band, middle = axis.lines
    assert dots.get_linestyle() == "None"
    assert dots.get_xydata().tolist() == [[0.2, 0], [0.9, 0]]
    assert band.get_xydata().tolist() == [[0.5, 1], [0.8, 1]]
    assert band.get_marker() == "|"
    assert middle.get_xydata().tolist() == [[0.6, 1]]


def test_each_batch_is_padded_to_its_own_largest():
    def made(*sizes):
        return {
            f"{h} by {w}": torch.zeros(3, h, w, dtype=torch.uint8)
            for h, w in sizes
        }

    figure = batch_figure(made((80, 120), (60, 60)), made((40, 30), (20, 50)))
    frames = [axis.patches[0] for axis in figure.axes]
    sizes = [(f.get_height(), f.get_width()) for f in frames]
    assert sizes == [(80, 120)] * 2 + [(40, 50)] * 2
    assert {axis.get_xlim() for axis in figure.axes} == {(0, 120)}  # one scale
    assert [axis.get_ylim()[0] for axis in figure.axes] == [80, 80, 40, 40]
    assert figure.axes[3].get_title() == "20 by 50, 20 x 50"
