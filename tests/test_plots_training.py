"""Figures of a training and of its failures, read back."""

import numpy as np
import pytest
from figures import assert_fits_the_page, sky_and_ball, words

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.teaching.plots import training

ROWS = [
    ("short", "all", [0.5, 0.7], [0.4, 0.6]),
    ("short", "without a part", [0.3], [0.2]),
    ("long", "all", [0.9], [0.8]),
    ("long, from there", "without a part", [0.85], [0.75]),
]


@pytest.fixture
def prediction():
    return sky_and_ball()


def colors(axis, row):
    """Return the color at a row of what an axis shows."""
    return tuple(np.asarray(axis.images[0].get_array())[row, 20])


def test_an_image_stands_beside_its_named_segments(prediction):
    image, answer = training.steps_figure(prediction).axes
    assert colors(image, 5) == (128, 128, 128)
    assert colors(answer, 5) == SCENE_CATEGORIES[SKY].color
    assert colors(answer, 30) == SCENE_CATEGORIES[BALL].color
    assert words(answer) == ["sky", "ball"]


def test_scenes_are_rows_and_answers_columns(prediction):
    answers = {"truth": [prediction] * 2, "found": [prediction] * 2}
    figure = training.cases_figure(answers, ["best", "worst"])
    axes = np.array(figure.axes).reshape(2, 3)
    assert [axis.get_title() for axis in axes[0]] == ["image", *answers]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["best", "worst"]
    assert colors(axes[1, 0], 30) == (128, 128, 128)
    for axis in axes[:, 1:].flat:
        assert colors(axis, 30) == SCENE_CATEGORIES[BALL].color


def test_each_seed_is_a_mark_and_the_seeds_have_a_range():
    figure = training.ablations_figure(ROWS)
    quality, boxes = figure.axes
    names = [text.get_text() for text in quality.get_yticklabels()]
    assert names == [
        "short", "all", "without a part", "long", "all", "without a part",
    ]  # fmt: skip
    for axis, column in ((quality, 2), (boxes, 3)):
        marks = [x for x in axis.lines if x.get_marker() not in ("None", "")]
        drawn = [sorted(mark.get_xdata()) for mark in marks]
        assert drawn == [sorted(row[column]) for row in ROWS]
        ends = [x for x in axis.lines if x.get_linestyle() == "-"]
        assert list(ends[0].get_xdata()) == sorted(ROWS[0][column])
        for mark, place in zip(marks, (1, 2, 4, 5), strict=True):
            assert set(mark.get_ydata()) == {place}


def test_a_line_goes_down_from_the_mean_of_each_groups_first():
    quality, _ = training.ablations_figure(ROWS).axes
    dotted = [x for x in quality.lines if x.get_linestyle() == ":"]
    assert [x.get_xdata()[0] for x in dotted] == pytest.approx([0.6, 0.9])
    first, second = (x.get_ydata() for x in dotted)
    assert first[0] < 1 < 2 < first[1] < 3
    assert second[0] < 4 < 5 < second[1]


def test_figures_fit_the_page(prediction):
    assert_fits_the_page(training.steps_figure(prediction))
    assert_fits_the_page(training.ablations_figure(ROWS))
