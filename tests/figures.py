"""What the tests of figures ask of them, and an image to draw."""

import numpy as np
import torch

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots.style import WIDTH


def sky_and_ball(maps: torch.Tensor | None = None) -> Prediction:
    """Return 40 x 40 gray pixels, of which sky is above and a ball below."""
    id_map = torch.ones(40, 40, dtype=torch.int32)
    id_map[20:] = 2
    segments = tuple(
        Segment(number, label, 0.9, 800, number, (0.5, 0.5, 1, 1))
        for number, label in ((1, SKY), (2, BALL))
    )
    image = torch.full((3, 40, 40), 128, dtype=torch.uint8)
    return Prediction(image, id_map, segments, SCENE_CATEGORIES, maps)


def panels(figure) -> list:
    """Return the axes that show an image."""
    return [axis for axis in figure.axes if axis.images]


def words(axis) -> list[str]:
    """Return what is written in a panel."""
    return [text.get_text() for text in axis.texts]


def assert_fits_the_page(figure) -> None:
    """It is as wide as the column, clear, and nothing is cut off."""
    assert figure.get_figwidth() == WIDTH
    assert figure.get_facecolor()[3] == 0
    figure.draw_without_rendering()
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert box.x0 > figure.bbox.x0 - 1
        assert box.x1 < figure.bbox.x1 + 1
        assert box.y0 > figure.bbox.y0 - 1
        assert box.y1 < figure.bbox.y1 + 1


def contrast(one, other=(1, 1, 1)) -> float:
    """Return the contrast of two RGB colors, 0 to 1, as WCAG defines it."""
    parts = np.array([one[:3], other[:3]])
    linear = np.where(
        parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
    )
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return high / low
