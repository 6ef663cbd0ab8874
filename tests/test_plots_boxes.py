"""Pictures of boxes: what is drawn, read back from the figures."""

import pytest
import torch

from detr_lite import load_model
from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY, TENT
from detr_lite.teaching.plots.boxes import (
    STUFF,
    THING,
    boxes_figure,
    centers_figure,
    costs_figure,
    layer_figure,
    matching_figure,
    opening_figure,
    overlap_figure,
)
from detr_lite.teaching.plots.style import WIDTH


def test_costs_are_written_and_the_pairs_framed():
    costs = torch.tensor([[-3.0, 2.25], [4.0, -1.0], [0.0, 0.0]])
    figure = costs_figure(costs, ["ball", "sky"], [(0, 0), (1, 1)])
    axis = figure.axes[0]
    written = {t.get_position(): t.get_text() for t in axis.texts}
    assert written[0, 0] == "-3.0"
    assert written[1, 0] == "2.2"
    assert written[0, 1] == "4.0"
    assert len(written) == 6
    framed = {
        (p.get_y() + p.get_height() / 2, p.get_x() + p.get_width() / 2)
        for p in axis.patches
    }
    assert {(round(r), round(c)) for r, c in framed} == {(0, 0), (1, 1)}
    assert [t.get_text() for t in axis.get_xticklabels()] == ["ball", "sky"]


def test_dark_cells_have_light_words():
    costs = torch.tensor([[-3.0, 10.0]])
    axis = costs_figure(costs, ["a", "b"], []).axes[0]
    assert [t.get_color() for t in axis.texts] == ["black", "white"]


def test_each_query_has_its_centers_things_apart_from_stuff():
    centers = [
        torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.125]]),
        torch.empty(0, 2),
    ]
    isthing = [torch.tensor([True, True, False]), torch.empty(0).bool()]
    figure = centers_figure(centers, isthing)
    first, second = figure.axes
    things, stuff = (c.get_offsets().tolist() for c in first.collections)
    assert things == [[0.25, 0.5], [0.75, 0.5]]
    assert stuff == [[0.5, 0.125]]
    assert all(len(c.get_offsets()) == 0 for c in second.collections)
    low, high = first.get_ylim()
    assert low > high  # y grows downwards
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    colors = [h.get_color() for h in figure.legends[0].legend_handles]
    assert dict(zip(names, colors, strict=True)) == {
        "thing": THING,
        "stuff": STUFF,
    }


@pytest.mark.parametrize("count", [1, 6, 12])
def test_there_is_a_panel_for_each_query(count):
    centers = [torch.rand(3, 2) for _ in range(count)]
    isthing = [torch.ones(3, dtype=torch.bool)] * count
    figure = centers_figure(centers, isthing)
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == [f"query {q}" for q in range(count)]
    assert figure.get_figwidth() == WIDTH


IMAGE = torch.zeros(3, 40, 80, dtype=torch.uint8)
BOXES = torch.tensor(
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.4], [0.1, 0.1, 0.2, 0.2]]
)
LABELS = torch.tensor([BALL, BALL, TENT])


def test_boxes_are_drawn_in_pixels_and_in_the_color_of_their_class():
    figure = boxes_figure(
        IMAGE,
        [BOXES[:1], BOXES[2:]],
        [LABELS[:1], LABELS[2:]],
        SCENE_CATEGORIES,
        ["one", "two"],
    )
    for axis, corners, label in zip(
        figure.axes,
        ((20, 10, 40, 20), (0, 0, 16, 8)),
        (BALL, TENT),
        strict=True,
    ):
        (patch,) = axis.patches
        drawn = patch.get_x(), patch.get_y(), *patch.get_bbox().size
        assert drawn == pytest.approx(corners, abs=1e-4)
        color = [255 * c for c in patch.get_edgecolor()[:3]]
        assert color == pytest.approx(SCENE_CATEGORIES[label].color)
    assert [a.get_title() for a in figure.axes] == ["one", "two"]
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["ball", "tent"]


def test_boxes_in_one_place_share_a_note_of_their_numbers():
    figure = boxes_figure(
        IMAGE,
        [BOXES, BOXES],
        [LABELS, LABELS],
        SCENE_CATEGORIES,
        ["found", "true"],
        [torch.tensor([4, 9, 2]), None],
    )
    found, true = figure.axes
    assert [t.get_text() for t in found.texts] == ["4 + 9", "2"]
    assert not true.texts


def test_a_panel_without_boxes_is_the_picture_alone():
    label = torch.tensor([SKY])
    figure = boxes_figure(
        IMAGE,
        [BOXES[:0], BOXES[:1]],
        [label[:0], label],
        SCENE_CATEGORIES,
        ["none", "one"],
        [torch.empty(0), torch.tensor([3])],
    )
    empty, one = figure.axes
    assert not empty.patches
    assert not empty.texts
    assert len(empty.images) == len(one.images) == 1


def test_lines_join_the_matched_with_their_cost_on_them():
    costs = torch.tensor([[1.0, 9.0], [8.0, 2.0], [7.0, 6.0]])
    figure = matching_figure(costs, [(1, 1), (0, 0)], ["ball", "sky"])
    (axis,) = figure.axes
    assert len(axis.lines) == 2
    words = [text.get_text() for text in axis.texts]
    assert words[:2] == ["1.0", "ball"]
    assert words[2:4] == ["2.0", "sky"]
    assert {"0", "1", "2"} < set(words)


def test_overlaps_are_those_of_the_squares():
    figure = overlap_figure((0, 1, 3))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "IoU 1.00\nGIoU 1.00",
        "IoU 0.33\nGIoU 0.33",
        "IoU 0.00\nGIoU -0.20",
    ]


def test_the_opening_shows_all_boxes_and_then_the_found(scenes):
    prediction = load_model("scenes", "cpu").predict(scenes[0].image)
    figure = opening_figure(prediction, torch.rand(12, 4))
    image, every, found = figure.axes
    assert len(every.patches) == 12
    assert len(found.patches) == len(prediction.segments)
    assert not image.patches


def test_a_layer_is_drawn_with_its_three_steps():
    (axis,) = layer_figure().axes
    words = {text.get_text() for text in axis.texts}
    assert {"self-attention", "cross-attention", "feed-forward"} < words
