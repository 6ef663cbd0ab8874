"""Pictures of attention: what is drawn, read back from the figures."""

import numpy as np
import pytest
import torch

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots import attention_figure
from detr_lite.teaching.plots.attention import (
    head_titles,
    head_use_figure,
    own_share_figure,
    softmax_figure,
)


@pytest.fixture
def prediction():
    """A picture of two segments: sky on the left, a ball on the right."""
    id_map = torch.ones(40, 40, dtype=torch.int32)
    id_map[:, 20:] = 2
    segments = tuple(
        Segment(number, label, 0.9, 800, number, (0.5, 0.5, 1, 1))
        for number, label in ((1, SKY), (2, BALL))
    )
    maps = torch.zeros(2, 4, 5, 5)
    maps[0, 0, 0, 0] = 1.0
    maps[1, :, 2, 3] = torch.tensor([0.0, 0.25, 0.742, 0.008])
    image = torch.full((3, 40, 40), 128, dtype=torch.uint8)
    return Prediction(image, id_map, segments, SCENE_CATEGORIES, maps)


def panels(figure):
    """Return the axes that hold a picture."""
    return [axis for axis in figure.axes if axis.images]


def test_titles_give_each_head_its_share_of_the_attention(prediction):
    titles = [a.get_title() for a in panels(attention_figure(prediction, 1))]
    assert titles == [
        "head 0: 0 %",
        "head 1: 25 %",
        "head 2: 74 %",
        "head 3: < 1 %",
    ]


def test_shares_are_not_rounded_to_all_or_nothing():
    maps = torch.tensor([0.001, 0.999])[:, None, None]
    assert head_titles(maps) == ["head 0: < 1 %", "head 1: > 99 %"]
    assert head_titles(maps.round()) == ["head 0: 0 %", "head 1: 100 %"]


def test_titles_of_maps_that_each_sum_to_one():
    assert head_titles(torch.full((4, 2, 2), 0.25))[3] == "head 3: 25 %"


@pytest.mark.parametrize(("index", "most"), [(0, 1.0), (1, 0.742)])
def test_all_heads_have_one_color_scale_from_zero(prediction, index, most):
    images = [a.images[0] for a in panels(attention_figure(prediction, index))]
    assert len(images) == 4
    for image, values in zip(
        images, prediction.attention_maps[index], strict=True
    ):
        assert image.get_clim() == (0, pytest.approx(most))
        np.testing.assert_array_equal(image.get_array(), values.numpy())


def test_each_panel_has_the_outline_of_the_segment(prediction):
    for axis in panels(attention_figure(prediction, 1)):
        (outline,) = axis.collections
        points = np.concatenate([p.vertices for p in outline.get_paths()])
        # The border runs down the middle of the picture.
        np.testing.assert_allclose(points[:, 0], 0.5)
        assert points[:, 1].min() < 0.05
        assert points[:, 1].max() > 0.95


def test_one_head_alone_can_be_drawn(prediction):
    single = Prediction(
        prediction.image,
        prediction.id_map,
        prediction.segments,
        prediction.categories,
        prediction.attention_maps[:, :1],
    )
    assert len(panels(attention_figure(single, 0))) == 1


def test_both_softmaxes_share_a_color_scale(prediction):
    joint = prediction.attention_maps[1]
    each = torch.rand(4, 5, 5)
    figure = softmax_figure(joint, each, prediction.id_map == 2)
    drawn = panels(figure)
    assert [a.get_title() for a in drawn[:4]] == [
        "head 0",
        "head 1",
        "head 2",
        "head 3",
    ]
    assert drawn[0].get_ylabel() == "together"
    assert drawn[4].get_ylabel() == "each alone"
    highest = max(joint.max().item(), each.max().item())
    for axis, values in zip(drawn, [*joint, *each], strict=True):
        (image,) = axis.images
        np.testing.assert_array_equal(image.get_array(), values.numpy())
        assert image.get_clim() == (0, pytest.approx(highest))
        # A quarter of the most is drawn in the middle of the scale.
        assert image.norm(highest / 4) == pytest.approx(0.5)
        assert axis.collections


def test_head_use_is_written_where_there_is_any():
    shares = torch.tensor([[0.999, 0.001, 0.0], [0.3, 0.1, 0.6]])
    figure = head_use_figure(shares, ["ball", "sky"])
    axis = panels(figure)[0]
    np.testing.assert_array_equal(axis.images[0].get_array(), shares)
    assert axis.images[0].get_clim() == (0, 1)
    written = {t.get_position(): t.get_text() for t in axis.texts}
    assert written == {
        (0, 0): "> 99 %",
        (0, 1): "30 %",
        (1, 1): "10 %",
        (2, 1): "60 %",
    }
    labels = [t.get_text() for t in axis.get_yticklabels()]
    assert labels == ["ball", "sky"]


def test_shares_on_the_own_segment_are_bars_from_top_to_bottom():
    shares = {"random": (0.1, 0.4), "trained": (0.99, 0.98)}
    figure = own_share_figure(shares)
    (axis,) = figure.axes
    for bars, name, widths in zip(
        axis.containers,
        ("things", "stuff"),
        ([10, 99], [40, 98]),
        strict=True,
    ):
        assert bars.get_label() == name
        assert [bar.get_width() for bar in bars] == pytest.approx(widths)
    low = axis.transData.transform((0, 1))[1]
    assert low < axis.transData.transform((0, 0))[1]
    labels = [t.get_text() for t in axis.get_yticklabels()]
    assert labels == ["random", "trained"]
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.texts] == ["things", "stuff"]


@pytest.mark.parametrize("kind", ["attention", "softmax", "use", "own"])
def test_figures_fit_the_page(prediction, kind):
    maps = prediction.attention_maps[1]
    figure = {
        "attention": lambda: attention_figure(prediction, 1),
        "softmax": lambda: softmax_figure(maps, maps, prediction.id_map == 2),
        "own": lambda: own_share_figure({"trained": (0.9, 0.8)}),
        "use": lambda: head_use_figure(torch.eye(4), "abcd"),
    }[kind]()
    width, height = figure.get_size_inches()
    assert width <= 7
    assert height <= 4
