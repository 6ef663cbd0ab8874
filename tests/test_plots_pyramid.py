"""The pyramid's pictures, and which pixels count as wrong."""

import io

import numpy as np
import torch
from PIL import Image

from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots.pyramid import (
    WRONG,
    errors_figure,
    near_border,
    principal_colors,
    pyramid_figure,
    wrong_class,
)


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB")) / 255


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


def test_pyramid_figure_has_a_panel_for_the_picture_and_each_level():
    image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    levels = [torch.randn(8, n, n) for n in (8, 4, 2)]
    figure = pyramid_figure(image, levels, ["picture", "a", "b", "c"])
    assert [axis.get_title() for axis in figure.axes] == [
        "picture",
        "a",
        "b",
        "c",
    ]
    for axis, picture in zip(
        figure.axes,
        [image.permute(1, 2, 0), *map(principal_colors, levels)],
        strict=True,
    ):
        assert np.array_equal(axis.images[0].get_array(), picture)
    assert pixels(figure).shape == (170, 700, 3)


def test_errors_figure_paints_the_wrong_pixels():
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    ids = torch.ones(8, 8, dtype=torch.int32)
    ids[:, 4:] = 2
    wrong = torch.zeros(8, 8, dtype=torch.bool)
    wrong[2, 3] = True
    figure = errors_figure(image, [ids, ids], [wrong, ~wrong], ["a", "b"])
    one, other = (axis.images[0].get_array() for axis in figure.axes)
    assert np.allclose(one[2, 3], WRONG)
    assert np.allclose(one[0, 0], 0.4 + 0.6 * 100 / 255)
    assert np.allclose(other[0, 0], WRONG)
    assert not np.allclose(other[2, 3], WRONG)
    borders = [c for c in figure.axes[0].collections if len(c.get_paths())]
    assert len(borders) == 1
    assert np.allclose(borders[0].get_paths()[0].vertices[:, 0], 3.5)
    assert pixels(figure).shape == (370, 700, 3)


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
