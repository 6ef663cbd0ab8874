"""Figures of masks and losses, read back."""

import numpy as np
import pytest
import torch
from figures import assert_fits_the_page, panels, words

from detr_lite import load_model
from detr_lite.data.scenes import BALL, SCENE_CATEGORIES
from detr_lite.teaching.plots import masks


@pytest.fixture(scope="module")
def seen(scenes):
    """A prediction, and its segments' mask logits in their order."""
    model = load_model("scenes", "cpu")
    prediction = model.predict(scenes[0].image)
    logits = torch.randn(len(prediction.segments), 24, 24)
    return prediction, logits


def test_the_steps_end_with_the_segments_in_their_colors(seen):
    prediction, logits = seen
    image, boxes, mask, answer = panels(masks.steps_figure(prediction, logits))
    assert len(boxes.patches) == len(prediction.segments)
    things = [
        s for s in prediction.segments if SCENE_CATEGORIES[s.label].isthing
    ]
    largest = max(things, key=lambda segment: segment.area)
    row = prediction.segments.index(largest)
    drawn = mask.images[-1].get_array()
    assert np.allclose(drawn, logits[row].sigmoid())
    colors = answer.images[0].get_array()
    for segment in prediction.segments:
        shown = colors[np.asarray(prediction.id_map) == segment.id]
        assert (shown == SCENE_CATEGORIES[segment.label].color).all()
    assert image.images


def test_phases_say_what_learns_and_what_is_frozen():
    (axis,) = masks.phases_figure().axes
    shown = words(axis)
    assert shown.count("learns") == 5
    assert shown.count("frozen") == 4
    assert shown.count("not used") == 1


def test_the_focal_curves_are_the_losses():
    (axis,) = masks.focal_figure().axes
    curves = {line.get_label(): line.get_xydata() for line in axis.lines}
    at = 49  # the probability 1/2
    ce = curves["cross-entropy"][at]
    assert ce == pytest.approx((0.5, np.log(2)), rel=1e-4)
    for name, alpha in (("segment", 0.25), ("background", 0.75)):
        focal = curves[f"focal, pixel of the {name}"][at]
        assert focal == pytest.approx((0.5, alpha / 4 * np.log(2)), rel=1e-4)


def test_stages_are_rows_of_probabilities(scenes):
    image, truths = scenes[0].image, torch.zeros(2, 96, 96, dtype=torch.bool)
    truths[:, 10:50, 10:50] = True
    stages = {"before": torch.zeros(2, 24, 24), "after": torch.ones(2, 24, 24)}
    figure = masks.stages_figure(image, stages, ["ball", "sky"], truths)
    shown = panels(figure)
    assert len(shown) == 4
    assert [axis.get_title() for axis in shown[:2]] == ["ball", "sky"]
    assert [shown[0].get_ylabel(), shown[2].get_ylabel()] == [*stages]
    for axis, logits in zip(shown, (0, 0, 1, 1), strict=True):
        expected = torch.tensor(float(logits)).sigmoid().item()
        assert np.allclose(axis.images[-1].get_array(), expected)


def test_answers_are_drawn_with_their_tp_fp_and_fn():
    """A segment of half a ball, and one that is called a ball as well."""
    true = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]])
    found = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]])
    answers = [0, 1], [1, 1]
    figure = masks.quality_figure(
        true, found, answers, ["sky", "ball"], SCENE_CATEGORIES
    )
    truth, right, wrong = figure.axes
    color = np.array(SCENE_CATEGORIES[BALL].color) / 255
    assert np.allclose(truth.images[0].get_array()[1, 1], color)
    assert not np.allclose(right.images[0].get_array()[0, 0], color)
    assert np.allclose(wrong.images[0].get_array()[0, 0], color)
    assert [words(axis) for axis in figure.axes] == [
        ["sky", "ball"],
        ["TP 0.80", "TP 0.75"],
        ["FP", "TP 0.75"],
    ]
    assert [a.get_xlabel() for a in figure.axes] == ["", "", "FN: sky"]
    sky, ball = 4 / 5, 3 / 4
    assert right.get_title() == f"PQ {(sky + ball) / 2:.3f}"
    assert wrong.get_title() == f"PQ {(0 + ball / 1.5) / 2:.3f}"


def test_figures_fit_the_page(seen):
    for figure in (
        masks.steps_figure(*seen),
        masks.phases_figure(),
        masks.focal_figure(),
    ):
        assert_fits_the_page(figure)
