"""Pictures of masks and losses, read back from the figures."""

import matplotlib.colors
import numpy as np
import pytest
import torch

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.teaching.plots.masks import (
    argmax_figure,
    focal_figure,
    stages_figure,
    target_figure,
)


def panels(figure):
    """Return the axes that show an image."""
    return [axis for axis in figure.axes if axis.images]


def test_boxes_of_things_are_solid_and_of_stuff_dashed(scenes):
    sample = scenes[0]
    _, right = panels(target_figure(sample, scenes.categories))
    styles = [patch.get_linestyle() for patch in right.patches]
    isthing = [scenes.categories[i].isthing for i in sample.labels]
    assert styles.count("-") == sum(isthing)
    assert styles.count("--") == len(isthing) - sum(isthing)
    names = sorted(text.get_text() for text in right.texts)
    assert names == sorted(scenes.categories[i].name for i in sample.labels)


def test_boxes_of_things_are_tight(scenes):
    sample = scenes[0]
    _, right = panels(target_figure(sample, scenes.categories))
    things = [
        int(number)
        for number, label in zip(
            sample.segment_ids, sample.labels, strict=True
        )
        if scenes.categories[label].isthing
    ]
    boxes = [p for p in right.patches if p.get_linestyle() == "-"]
    for number, box in zip(things, boxes, strict=True):
        rows, columns = np.nonzero(sample.id_map.numpy() == number)
        drawn = (*box.get_xy(), box.get_width(), box.get_height())
        tight = (
            columns.min(),
            rows.min(),
            np.ptp(columns) + 1,
            np.ptp(rows) + 1,
        )
        assert drawn == pytest.approx(tight, abs=1e-3)


def test_the_focal_curves_are_the_losses():
    (axis,) = focal_figure().axes
    curves = {line.get_label(): line.get_xydata() for line in axis.lines}
    at = 49  # the probability 1/2
    ce = curves["cross-entropy"][at]
    assert ce == pytest.approx([0.5, np.log(2)], rel=1e-4)
    inside = curves["focal, pixel of the segment"][at, 1]
    outside = curves["focal, pixel of the background"][at, 1]
    assert inside == pytest.approx(0.25 * 0.25 * np.log(2), rel=1e-4)
    assert outside == pytest.approx(3 * inside, rel=1e-4)


def test_stages_are_rows_of_probabilities():
    logits = torch.zeros(2, 4, 4)
    logits[0, 0, 0] = 20
    outlines = torch.zeros(2, 8, 8, dtype=torch.bool)
    outlines[:, :4] = True
    stages = {"before": -logits, "after": logits}
    figure = stages_figure(stages, ["sky", "ball"], outlines)
    axes = panels(figure)
    assert len(axes) == 4
    assert [a.get_title() for a in axes[:2]] == ["sky", "ball"]
    assert [axes[i].get_ylabel() for i in (0, 2)] == ["before", "after"]
    corners = [a.images[0].get_array()[0, 0] for a in axes]
    assert corners == pytest.approx([0, 0.5, 1, 0.5], abs=1e-6)
    assert all(a.images[0].get_clim() == (0, 1) for a in axes)
    plain = stages_figure(stages, ["sky", "ball"])
    assert len(figure.axes) == len(plain.axes)
    assert axes[0].collections
    assert not panels(plain)[0].collections


def test_the_last_panel_shows_who_wins():
    logits = torch.full((3, 4, 4), -5.0)
    logits[0, :2], logits[1, 2:, :2], logits[2, 2:, 2:] = 5, 5, 5
    figure = argmax_figure(
        logits, [SKY, BALL, BALL], [4, 7, 9], SCENE_CATEGORIES, (8, 8)
    )
    *masks, last = panels(figure)
    assert [a.get_title() for a in masks] == [
        "query 4: sky",
        "query 7: ball",
        "query 9: ball",
    ]
    limits = {a.images[0].get_clim() for a in masks}
    assert limits == {(-20, 20)}
    drawn = np.asarray(last.images[0].get_array())
    assert tuple(drawn[0, 0]) == SCENE_CATEGORIES[SKY].color
    assert tuple(drawn[7, 0]) == SCENE_CATEGORIES[BALL].color
    assert (drawn[7, 7] >= drawn[7, 0]).all()
    assert tuple(drawn[7, 7]) != tuple(drawn[7, 0])


def test_pictures_fit_the_page(scenes):
    logits = torch.randn(9, 4, 4)
    figures = [
        target_figure(scenes[0], scenes.categories),
        focal_figure(),
        stages_figure({"a": logits, "b": logits}, list("123456789")),
        argmax_figure(logits, [0] * 9, range(9), SCENE_CATEGORIES, (8, 8)),
    ]
    for figure in figures:
        width, height = figure.get_size_inches()
        assert width <= 7
        assert height <= 4
        assert matplotlib.colors.to_rgba(figure.get_facecolor())[3] == 1
