"""Images of boxes: what is drawn, read back from the figures."""

from fractions import Fraction

import pytest
import torch

from detr_lite import load_model
from detr_lite.boxes import giou
from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SKY, TENT
from detr_lite.teaching.plots.boxes import (
    centers_figure,
    costs_figure,
    found_figure,
    layer_figure,
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


def test_each_query_has_its_centers_in_the_colors_of_the_classes():
    centers = [
        torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.125]]),
        torch.empty(0, 2),
    ]
    labels = [torch.tensor([TENT, TENT, SKY]), torch.empty(0).long()]
    figure = centers_figure(centers, labels, SCENE_CATEGORIES)
    first, second = figure.axes
    drawn = {}
    for marks in first.collections:
        color = tuple(round(255 * c) for c in marks.get_edgecolor()[0][:3])
        drawn[color] = marks.get_offsets().tolist()
    assert drawn == {
        SCENE_CATEGORIES[TENT].color: [[0.25, 0.5], [0.75, 0.5]],
        SCENE_CATEGORIES[SKY].color: [[0.5, 0.125]],
    }
    assert not second.collections
    low, high = first.get_ylim()
    assert low > high  # y grows downwards
    legend = figure.legends[0]
    names = [t.get_text() for t in legend.get_texts()]
    markers = [h.get_marker() for h in legend.legend_handles]
    looks = dict(zip(names, markers, strict=True))
    assert set(looks) == {"tent", "sky"}
    assert looks["tent"] != looks["sky"]  # things apart from stuff


@pytest.mark.parametrize("count", [1, 6, 12])
def test_there_is_a_panel_for_each_query(count):
    centers = [torch.rand(3, 2) for _ in range(count)]
    labels = [torch.full((3,), BALL)] * count
    figure = centers_figure(centers, labels, SCENE_CATEGORIES)
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == [f"query {q}" for q in range(count)]
    assert figure.get_figwidth() == WIDTH


def test_overlaps_are_those_of_the_squares():
    figure = overlap_figure((0, 1, 3))
    fixed = torch.tensor([0.0, 0.0, 2.0, 2.0])
    for axis, move in zip(figure.axes, (0, 1, 3), strict=True):
        first, second = axis.get_title().splitlines()
        iou = Fraction(first.split()[1])
        assert iou == Fraction(max(2 - move, 0) * 2, 8 - max(2 - move, 0) * 2)
        _, overlap, _, gap = second.split()
        moved = fixed + torch.tensor([move, 0, move, 0])
        assert float(Fraction(overlap) - Fraction(gap)) == pytest.approx(
            giou(fixed, moved).item()
        )
    hatched = [[p.get_hatch() for p in a.patches] for a in figure.axes]
    # Only where the squares don't meet does the hull hold more than them.
    assert [any(panel) for panel in hatched] == [False, False, True]


def test_the_boxes_of_things_alone_are_drawn(scenes):
    model = load_model("scenes", "cpu")
    predictions = [model.predict(scenes[i].image) for i in (0, 1)]
    figure = found_figure(predictions, ["one", "two"])
    for axis, prediction, title in zip(
        figure.axes, predictions, ("one", "two"), strict=True
    ):
        categories = prediction.categories
        named = [categories[s.label] for s in prediction.segments]
        things = sorted(c.name for c in named if c.isthing)
        assert sorted(t.get_text() for t in axis.texts) == things
        assert len(axis.patches) == len(things)
        assert axis.get_title() == title


def test_the_opening_shows_all_boxes_and_then_the_found(scenes):
    prediction = load_model("scenes", "cpu").predict(scenes[0].image)
    figure = opening_figure(prediction, torch.rand(12, 4))
    image, every, found = figure.axes
    assert len(every.patches) == 12
    assert len(found.patches) == len(prediction.segments)
    assert not image.patches


def test_a_layer_is_drawn_with_its_three_steps():
    (axis,) = layer_figure().axes
    words = [text.get_text().replace("-\n", "-") for text in axis.texts]
    assert {"self-attention", "cross-attention", "feed-forward"} < set(words)
    assert words.count("query_pos") == 2  # never among the values
    assert words.count("+") == 3  # a sum after each step
