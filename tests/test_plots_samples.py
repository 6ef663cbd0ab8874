"""The picture of a sample on its way: what is drawn, read back."""

import numpy as np
import torch

from detr_lite.data.batch import make_targets
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.data.transforms import TrainTransform
from detr_lite.teaching.plots import sample_figure


def test_picture_ids_and_both_members_of_the_batch_are_drawn(scenes):
    sample = scenes[0]
    transform = TrainTransform((48, 64), 120, (60,), (30, 50))
    figure = sample_figure(sample, transform, SCENE_CATEGORIES, (1, 4))
    first, ids, *members = figure.axes
    pixels = sample.image.permute(1, 2, 0).numpy()
    assert np.array_equal(first.images[0].get_array(), pixels)
    colors = ids.images[0].get_array()
    for number, label in zip(sample.segment_ids, sample.labels, strict=True):
        where = (sample.id_map == number).numpy()
        assert (colors[where] == SCENE_CATEGORIES[label].color).all()
    changed = [
        transform(sample, torch.Generator().manual_seed(s)) for s in (1, 4)
    ]
    shapes = [c.id_map.shape for c in changed]
    assert shapes[0] != shapes[1]
    height = max(h for h, _ in shapes)
    width = max(w for _, w in shapes)
    for axis, one in zip(members, changed, strict=True):
        h, w = one.id_map.shape
        assert axis.get_title() == f"in the batch, {h} x {w} of " + (
            f"{height} x {width}"
        )
        assert axis.images[0].get_extent() == [0, w, h, 0]
        padding, *boxes = axis.patches
        assert (padding.get_width(), padding.get_height()) == (width, height)
        assert padding.get_zorder() < axis.images[0].get_zorder()
        wanted = make_targets([one])
        assert len(boxes) == len(wanted.labels)
        for patch, label, box in zip(
            boxes, wanted.labels, wanted.boxes, strict=True
        ):
            color = np.array(SCENE_CATEGORIES[label].color) / 255
            assert np.allclose(patch.get_edgecolor()[:3], color)
            assert abs(patch.get_width() - box[2].item() * w) < 1e-3
            assert abs(patch.get_height() - box[3].item() * h) < 1e-3
