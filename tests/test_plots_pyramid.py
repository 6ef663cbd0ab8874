"""The pyramid's images, and which pixels count as wrong."""

import numpy as np
import pytest
import torch
from figures import assert_fits_the_page

from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots.pyramid import (
    WRONG,
    bill_figure,
    errors_figure,
    near_border,
    opening_figure,
    principal_colors,
    stages_figure,
    way_up_figure,
    wrong_class,
)


def test_colors_show_the_three_directions_of_most_variance():
    places = torch.randn(3, 6, 7, dtype=torch.float64)
    weights = torch.tensor([9.0, 3.0, 1.0], dtype=torch.float64)
    mix, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    features = torch.einsum("cp,phw->chw", mix[:, :3] * weights, places)
    colors = principal_colors(features)
    assert colors.shape == (6, 7, 3)
    assert colors.min() == 0
    assert colors.max() == 1
    centered = features.flatten(1) - features.flatten(1).mean(1, keepdim=True)
    _, _, rows = torch.linalg.svd(centered, full_matrices=False)
    for i in range(3):
        pair = torch.stack((colors[..., i].flatten().double(), rows[i]))
        assert torch.corrcoef(pair)[0, 1].abs() > 0.98  # clipped at 1 and 99 %


def test_colors_do_not_depend_on_the_sign_or_on_a_shift():
    features = torch.randn(4, 5, 6)
    colors = principal_colors(features)
    torch.testing.assert_close(
        principal_colors(features + 7), colors, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        principal_colors(-features), 1 - colors, rtol=0, atol=1e-4
    )


def test_colors_of_constant_features_are_finite():
    assert principal_colors(torch.ones(4, 3, 3)).isfinite().all()


@pytest.fixture
def image():
    return torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)


def test_the_opening_goes_from_the_maps_to_the_mask(image):
    maps, logits = torch.rand(8, 4, 4), torch.randn(8, 8)
    levels = [torch.randn(8, n, n) for n in (4, 8)]
    figure = opening_figure(image, maps, levels, logits, ["a", "b"])
    first, *between, last = figure.axes
    added = maps.sum(0)
    np.testing.assert_allclose(
        first.images[1].get_array(), (added / added.max()).numpy()
    )
    for axis, level in zip(between, levels, strict=True):
        shown = principal_colors(level).numpy()
        assert np.array_equal(axis.images[0].get_array(), shown)
    np.testing.assert_allclose(
        last.images[1].get_array(), logits.sigmoid().numpy()
    )


def test_stages_stand_in_order_over_the_image(image):
    heats = {name: torch.rand(n, n) for name, n in (("a", 4), ("b", 8))}
    segment = torch.zeros(16, 16, dtype=torch.bool)
    segment[4:8, 4:8] = True
    figure = stages_figure(
        image, SCENE_CATEGORIES[0], (3, 3, 9, 9), heats, segment
    )
    boxed, *others = figure.axes[:3]
    assert [t.get_text() for t in boxed.texts] == [SCENE_CATEGORIES[0].name]
    for axis, (name, heat) in zip(others, heats.items(), strict=True):
        assert axis.get_title() == name
        assert np.array_equal(axis.images[1].get_array(), heat.numpy())
        assert axis.images[1].get_clim() == (0, 1)
        assert axis.collections


def test_errors_figure_paints_the_wrong_pixels():
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    ids = torch.ones(8, 8, dtype=torch.int32)
    ids[:, 4:] = 2
    wrong = torch.zeros(8, 8, dtype=torch.bool)
    wrong[2, 3] = True
    figure = errors_figure(image, [ids, ids], [wrong, ~wrong], ["a", "b"])
    one, other = (axis.images[0].get_array() for axis in figure.axes)
    assert np.allclose(one[2, 3], WRONG)
    assert np.allclose(other[0, 0], WRONG)
    right = one[0, 0]
    assert np.allclose(other[2, 3], right)
    assert right.max() < 0.3  # dimmed
    assert np.ptp(right) == 0  # and gray
    borders = figure.axes[0].collections
    x = np.concatenate(
        [p.vertices[:, 0] for c in borders for p in c.get_paths()]
    )
    assert np.isclose(x, 4).any()


def test_the_way_up_names_every_level_and_stage():
    figure = way_up_figure((1, 2, 3, 4), (50, 60, 70, 80, 90))
    (axis,) = figure.axes
    words = "\n".join(t.get_text() for t in axis.texts)
    for line in (
        "Res2\n1 x H/4",
        "Res3\n2 x H/8",
        "Res4\n3 x H/16",
        "Res5, projected\n4 x H/32",
        "stages 1 and 2\n60 channels",
        "stage 3\n70 channels",
        "stage 4\n80 channels",
        "stage 5\n90 channels",
    ):
        assert line in words
    assert words.count("+") == words.count("1x1 conv") == 3


def test_a_bill_is_bars_with_numbers():
    (axis,) = bill_figure({"a": 73.14, "b": 155.26}).axes
    assert [p.get_width() for p in axis.patches] == [73.14, 155.26]
    assert [t.get_text() for t in axis.texts] == ["73.1", "155.3"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]


def test_figures_fit_the_page_and_are_clear(image):
    level, logits = torch.randn(8, 4, 4), torch.randn(8, 8)
    ids = torch.ones(16, 16, dtype=torch.int32)
    heats = {f"{i}": torch.rand(4, 4) for i in range(7)}
    for figure in (
        opening_figure(image, level.abs(), [level] * 3, logits, "abc"),
        stages_figure(
            image, SCENE_CATEGORIES[0], (1, 1, 9, 9), heats, ids == 1
        ),
        errors_figure(image, [ids] * 2, [ids == 2] * 2, "ab"),
        way_up_figure((256, 512, 1024, 256), (264, 128, 64, 32, 16)),
        bill_figure(dict.fromkeys("abcde", 155.3)),
    ):
        assert_fits_the_page(figure)


def test_near_border_reaches_as_far_as_asked():
    ids = torch.ones(7, 9, dtype=torch.int32)
    ids[:, 5:] = 8
    for distance in (1, 2, 3):
        near = near_border(ids, distance)
        wanted = torch.zeros(7, 9, dtype=torch.bool)
        wanted[:, 5 - distance : 5 + distance] = True
        assert torch.equal(near, wanted)
    assert not near_border(torch.ones(5, 5), 2).any()


def test_near_border_equals_loops(scenes):
    ids = scenes[0].id_map[:20, :24]
    near = near_border(ids, 2)
    for y in range(20):
        for x in range(24):
            window = ids[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            assert near[y, x] == (window != ids[y, x]).any()


def predicted(sample, change):
    """Return the annotation as a prediction, changed in one respect."""
    labels = sample.labels.tolist()
    ids = sample.segment_ids.tolist()
    id_map = sample.id_map.clone()
    change(id_map, labels)
    segments = [
        Segment(number, label, 1.0, 0, 0, (0, 0, 0, 0))
        for number, label in zip(ids, labels, strict=True)
    ]
    return Prediction(
        sample.image, id_map, tuple(segments), SCENE_CATEGORIES, None
    )


def test_pixels_of_another_class_or_of_none_are_wrong(scenes):
    sample = scenes[0]
    first = sample.segment_ids[0].item()

    def nothing(id_map, labels):
        pass

    def rename(id_map, labels):
        labels[0] = (labels[0] + 1) % 8

    def void(id_map, labels):
        id_map[:3] = 0

    assert not wrong_class(predicted(sample, nothing), sample).any()
    assert torch.equal(
        wrong_class(predicted(sample, rename), sample), sample.id_map == first
    )
    wrong = wrong_class(predicted(sample, void), sample)
    assert wrong[:3].all()
    assert not wrong[3:].any()
