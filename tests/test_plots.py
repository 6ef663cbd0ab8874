"""Images: what is drawn, read back from the figures and the pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY
from detr_lite.inference.drawing import enlarged, overlay, sheet
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.plots import (
    curves_figure,
    read_log,
)
from detr_lite.teaching.plots.panels import label
from detr_lite.teaching.plots.training import (
    missed_figure,
)


@pytest.fixture
def prediction():
    """A gray image: sky above, two balls side by side below."""
    id_map = torch.ones(40, 40, dtype=torch.int32)
    id_map[20:, :20], id_map[20:, 20:] = 2, 3
    segments = tuple(
        Segment(number, label, 0.9, 400, number, (0.5, 0.5, 1, 1))
        for number, label in ((1, SKY), (2, BALL), (3, BALL))
    )
    image = torch.full((3, 40, 40), 128, dtype=torch.uint8)
    maps = torch.rand(3, 8, 5, 5)
    return Prediction(image, id_map, segments, SCENE_CATEGORIES, maps)


def test_a_name_at_the_border_moves_into_its_panel():
    figure, axis = plt.subplots()
    axis.set(xlim=(0, 96), ylim=(96, 0))
    for x, y in ((1, 1), (95, 95), (48, 48)):
        label(axis, x, y, "starfish .98")
    figure.canvas.draw()
    for text in axis.texts:
        drawn, panel = text.get_window_extent(), axis.bbox
        assert panel.x0 < drawn.x0 < drawn.x1 < panel.x1
        assert panel.y0 < drawn.y0 < drawn.y1 < panel.y1
    assert axis.texts[-1].get_position() == pytest.approx((48, 48))


def test_names_of_neighbors_keep_off_each_other():
    figure, axis = plt.subplots()
    axis.set(xlim=(0, 96), ylim=(96, 0))
    for x, y in ((30, 2), (32, 3), (30, 5), (70, 50), (72, 51)):
        label(axis, x, y, "starfish .98")
    figure.canvas.draw()
    frame = 2 * figure.dpi / 72
    drawn = [text.get_window_extent().padded(frame) for text in axis.texts]
    for i, one in enumerate(drawn):
        assert one.count_overlaps(drawn[:i]) == 0
        assert axis.bbox.y0 < one.y0 < one.y1 < axis.bbox.y1 + frame
    assert axis.texts[3].get_position() == pytest.approx((70, 50))


def test_segments_are_outlined_in_white(prediction):
    drawn = np.asarray(overlay(prediction, smallest=40))
    assert (drawn[19, 1] == 255).all()
    assert (drawn[38, 19] == 255).all()  # between two of one class, too
    assert not (drawn[[5, 30], 10] == 255).all(-1).any()


def test_an_annotation_has_names_without_scores(prediction):
    named = np.asarray(overlay(prediction, smallest=400, scores=False))
    scored = np.asarray(overlay(prediction, smallest=400))
    black = [(x == 0).all(-1).sum() for x in (named, scored)]
    assert 0 < black[0] < black[1]


def test_small_pictures_are_enlarged_by_whole_pixels(prediction):
    assert overlay(prediction, smallest=400).size == (400, 400)
    big = np.asarray(enlarged(prediction.image, 400))
    assert big.shape == (400, 400, 3)
    assert (big == 128).all()


LOG = [
    {"phase": "boxes", "step": 20, "loss": 9.0, "class": 1.0},
    {"phase": "boxes", "step": 40, "loss": 5.0, "class": 0.5},
    {"phase": "boxes", "step": 40, "box_ap": 0.4},
    {"phase": "masks", "step": 20, "loss": 0.5, "dice": 0.3},
    {"phase": "masks", "step": 20, "box_ap": 0.4, "pq": 0.6},
]


def test_curves_show_each_phases_losses_and_then_ap_and_pq():
    boxes, masks, last = curves_figure(LOG).axes
    lines = {line.get_label(): line for line in boxes.lines}
    assert list(lines) == ["loss", "class"]
    assert list(lines["loss"].get_ydata()) == [9.0, 5.0]
    assert [line.get_label() for line in masks.lines] == ["loss", "dice"]
    points = {x.get_label(): x.get_xydata().tolist() for x in last.lines}
    assert points == {"box_ap": [[40, 0.4]], "pq": [[60, 0.6]]}


def test_legends_stand_below_the_curves():
    figure = curves_figure(LOG)
    figure.draw_without_rendering()
    for axis in figure.axes:
        legend = axis.get_legend().get_window_extent()
        assert legend.y1 < axis.get_window_extent().y0
        assert legend.y0 >= 0


def test_what_is_missed_is_a_bar_for_each_model_and_size():
    missed = {"one": (0.5, 0.25), "two": (0.2, 0.1)}
    (axis,) = missed_figure(("small", "big"), missed).axes
    assert [p.get_width() for p in axis.patches] == [0.5, 0.25, 0.2, 0.1]
    assert [x.get_text() for x in axis.get_yticklabels()] == ["small", "big"]
    names = [x.get_text() for x in axis.get_legend().get_texts()]
    assert names == ["one", "two"]


def test_log_is_read_line_by_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert read_log(path) == [{"step": 1}, {"step": 2}]


def test_sheet_puts_images_in_rows():
    tiles = [Image.new("RGB", (4, 3), c) for c in ("red", "lime", "blue")]
    page = sheet(tiles, columns=2)
    assert page.size == (8, 6)
    assert page.getpixel((5, 1)) == (0, 255, 0)
    assert page.getpixel((1, 4)) == (0, 0, 255)
    assert page.getpixel((5, 4)) == (255, 255, 255)


def test_sheet_leaves_a_white_gap_between_neighbors():
    tiles = [Image.new("RGB", (4, 3), c) for c in ("red", "lime", "blue")]
    page = sheet(tiles, columns=2, gap=2)
    assert page.size == (10, 8)
    assert page.getpixel((3, 1)) == (255, 0, 0)
    assert page.getpixel((4, 1)) == (255, 255, 255)
    assert page.getpixel((6, 1)) == (0, 255, 0)
    assert page.getpixel((1, 3)) == (255, 255, 255)
    assert page.getpixel((1, 5)) == (0, 0, 255)
