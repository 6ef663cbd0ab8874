"""Images of attention: what is drawn, read back from the figures."""

import numpy as np
import pytest
import torch
from figures import assert_fits_the_page, panels, sky_and_ball, words

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.teaching.plots import attention_figure
from detr_lite.teaching.plots.attention import (
    broken_figure,
    extent_figure,
    head_use_figure,
    opening_figure,
    own_share_figure,
    percents,
    softmax_figure,
)


@pytest.fixture
def prediction():
    maps = torch.zeros(2, 4, 5, 5)
    maps[0, 0, 0, 0] = 1.0
    maps[1, :, 2, 3] = torch.tensor([0.0, 0.25, 0.742, 0.008])
    return sky_and_ball(maps)


def heats(figure):
    """Return each panel's heat map, which lies over its dimmed scene."""
    return [a.images[1] for a in figure.axes if len(a.images) == 2]


def test_the_opening_shows_a_box_and_all_heads_added_up(prediction):
    figure = opening_figure(prediction, [1])
    boxed, mapped = figure.axes[:2]
    assert words(boxed) == ["ball"]
    assert boxed.patches[0].get_xy() == (0, 0)  # the box is the whole image
    added = prediction.attention_maps[1].sum(0)
    (heat,) = heats(figure)
    np.testing.assert_allclose(
        heat.get_array(), np.asarray(added / added.max())
    )
    assert mapped.collections  # the segment's outline


def test_shares_of_the_attention_are_written_from_one_percent_on():
    shares = torch.tensor([0.0, 0.009, 0.011, 0.25, 0.999, 1.0])
    wanted = ["", "", "1 %", "25 %", "> 99 %", "100 %"]
    assert percents(shares) == wanted


def test_a_segment_has_a_row_and_a_head_a_column(prediction):
    figure = attention_figure(prediction, [0, 1])
    rows = np.array(panels(figure)[:8], dtype=object).reshape(2, 4)
    assert [a.get_title() for a in rows[0]] == [f"head {m}" for m in range(4)]
    assert [a.get_ylabel() for a in rows[:, 0]] == ["sky", "ball"]
    assert [words(a) for a in rows[1]] == [[], ["25 %"], ["74 %"], []]
    maps = prediction.attention_maps
    for row, own in zip(rows, maps, strict=True):
        for axis, values in zip(row, own, strict=True):
            scene, heat = axis.images
            assert scene.get_extent() == heat.get_extent() == [0, 40, 40, 0]
            np.testing.assert_allclose(
                heat.get_array(), np.asarray(values / own.max())
            )
            assert heat.get_clim() == (0, 1)


def test_only_the_segments_asked_for_have_a_row(prediction):
    (first, *_, last) = panels(attention_figure(prediction, [1]))
    assert first.get_ylabel() == "ball"
    assert last.get_title() == "head 3"


def test_each_panel_has_the_outline_of_the_segment(prediction):
    for axis in panels(attention_figure(prediction, [0, 1]))[4:8]:
        (outline,) = axis.collections
        points = np.concatenate([p.vertices for p in outline.get_paths()])
        # The ball is the lower half of the image.
        assert points[:, 1].min() == pytest.approx(20)
        assert points[:, 1].max() == pytest.approx(40)


def test_both_softmaxes_share_a_color_scale(prediction):
    joint = prediction.attention_maps[1]
    each = torch.rand(4, 5, 5)
    figure = softmax_figure(prediction, joint, each, 1)
    drawn = panels(figure)
    assert [a.get_title() for a in drawn[:4]] == [
        f"head {m}" for m in range(4)
    ]
    assert drawn[0].get_ylabel() == "joint"
    assert drawn[4].get_ylabel() == "per head"
    highest = max(joint.max().item(), each.max().item())
    for image, values in zip(heats(figure), [*joint, *each], strict=True):
        np.testing.assert_array_equal(image.get_array(), values.numpy())
        assert image.get_clim() == (0, pytest.approx(highest))
        # A quarter of the most is drawn in the middle of the scale.
        assert image.norm(highest / 4) == pytest.approx(0.5)


def test_extents_are_two_places_on_a_line_for_each_class():
    rows = {"ball": (4, 18, 0.98), "sky": (20, 45, 0.9)}
    classes = [SCENE_CATEGORIES[BALL], SCENE_CATEGORIES[SKY]]
    (axis,) = extent_figure(rows, classes).axes
    lines, touched, few = axis.collections
    assert [s[:, 0].tolist() for s in lines.get_segments()] == [
        [4, 18],
        [20, 45],
    ]
    assert touched.get_offsets().tolist() == [[18, 0], [45, 1]]
    assert few.get_offsets().tolist() == [[4, 0], [20, 1]]
    colors = few.get_facecolors()[:, :3] * 255
    np.testing.assert_allclose(colors, [c.color for c in classes])
    (right,) = axis.child_axes
    shares = [t.get_text() for t in right.get_yticklabels()]
    assert shares == ["98 %", "90 %"]


def test_head_use_is_an_area_and_is_written_where_there_is_any():
    shares = torch.tensor([[0.999, 0.001, 0.0], [0.3, 0.1, 0.6]])
    classes = [SCENE_CATEGORIES[BALL], SCENE_CATEGORIES[SKY]]
    (axis,) = head_use_figure(shares, classes).axes
    disks = axis.collections[::2]
    areas = np.array([d.get_sizes() for d in disks])
    np.testing.assert_allclose(
        areas / areas[0, 0], shares / shares[0, 0], rtol=1e-6
    )
    written = [
        (round(t.get_position()[0]), t.get_position()[1], t.get_text())
        for t in axis.texts
        if t.get_text()
    ]
    assert written == [
        (0, 0, "> 99"),
        (0, 1, "30"),
        (1, 1, "10"),
        (2, 1, "60"),
    ]
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
    legend = axis.get_legend()
    assert [t.get_text() for t in legend.texts] == ["things", "stuff"]


def test_broken_predictions_stand_beside_each_other(prediction):
    left, right = broken_figure([prediction, prediction], ["a", "b"]).axes
    assert [left.get_title(), right.get_title()] == ["a", "b"]
    assert sorted(words(left)) == ["ball", "sky"]


@pytest.mark.parametrize(
    "kind", ["opening", "heads", "softmax", "extent", "use", "own", "broken"]
)
def test_figures_fit_the_page_and_are_clear(prediction, kind):
    maps = prediction.attention_maps[1]
    classes = [SCENE_CATEGORIES[BALL]] * 8
    figure = {
        "opening": lambda: opening_figure(prediction, [0, 1]),
        "heads": lambda: attention_figure(prediction, [0, 1]),
        "softmax": lambda: softmax_figure(prediction, maps, maps, 1),
        "extent": lambda: extent_figure(
            dict.fromkeys("abcdefgh", (1, 2, 0.5)), classes
        ),
        "own": lambda: own_share_figure({"trained": (0.9, 0.8)}),
        "use": lambda: head_use_figure(torch.eye(8), classes),
        "broken": lambda: broken_figure([prediction] * 2, "ab"),
    }[kind]()
    assert_fits_the_page(figure)
