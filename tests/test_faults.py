"""The bug museum: each fault does its harm, and leaves no trace."""

import importlib
import re
import sys
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from figures import assert_fits_the_page, contrast
from support import ROOT
from torch import Tensor

from detr_lite import boxes, inference, load_model, panoptic
from detr_lite.data.batch import pad_images
from detr_lite.data.coco import format as coco
from detr_lite.data.scenes import (
    BALL,
    SCENE_CATEGORIES,
    SKY,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError, DataError
from detr_lite.inference import results as prediction
from detr_lite.inference.evaluation import evaluate
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.faults import (
    FAULTS,
    TwoSizes,
    fault,
    shared_stuff,
    through_png,
    together,
)
from detr_lite.teaching.plots.faults import (
    CROSS,
    GREEN,
    RED,
    TICK,
    Verdict,
    changed_pixels,
    draw_boxes,
    draw_heads,
    draw_segments,
    losses_figure,
    notices_figure,
    pair_figure,
)
from detr_lite.teaching.plots.style import book_figure

TEXT = ROOT / "book" / "text" / "bug_museum.md"


@pytest.fixture(scope="module")
def shipped():
    return load_model("scenes", "cpu")


@pytest.fixture(scope="module")
def some():
    return Part(SceneSplit(VALIDATION_SEED, 32), range(16))


@pytest.fixture(scope="module")
def padding():
    """The shipped model, told to pad as the original does."""
    return load_model("scenes", "cpu", exact_padding=False)


@pytest.fixture(scope="module")
def right(shipped, padding, some):
    """The figures without a fault: of whole scenes, and of padded pairs."""
    whole = evaluate(shipped, some).metrics
    return whole, evaluate(padding, TwoSizes(some), batch_size=2).metrics


def tensors(value):
    """Yield every tensor in nested results, in order."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors(part)


@torch.inference_mode()
def everything(model, split):
    """Return all that a fault can change, as a list of tensors."""
    images, mask = pad_images([s.image for s in split])
    output = model(images, mask)
    sizes = [tuple(s.id_map.shape) for s in split]
    isthing = [c.isthing for c in split.categories]
    found = panoptic.panoptic_results(
        output, isthing, tuple(images.shape[-2:]), sizes
    )
    ids = torch.arange(0, 2**24, 99_991).view(4, 42)
    return [
        *tensors(output),
        *(f.id_map for f in found),
        boxes.cxcywh_to_xyxy(output.boxes),
        coco.rgb_to_ids(coco.ids_to_rgb(ids)),
    ]


def same(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_something_and_leaves_no_trace(name, shipped, some):
    pair = TwoSizes(Part(some, range(2)))
    with shared_stuff(shipped):
        before = everything(shipped, pair)
        with fault(name) as chosen:
            assert chosen is FAULTS[name]
            assert not same(everything(shipped, pair), before)
        assert same(everything(shipped, pair), before)
        with pytest.raises(ZeroDivisionError), fault(name):
            raise ZeroDivisionError
        assert same(everything(shipped, pair), before)


def test_an_unknown_name_is_refused():
    with (
        pytest.raises(ConfigError, match=r"batch_first, .*positions_lost"),
        fault("no_such_fault"),
    ):
        pass


def test_faults_stand_in_each_other(shipped, some):
    """Even two in the same place of the package."""
    pair = TwoSizes(Part(some, range(2)))
    before = everything(shipped, pair)
    with fault("padding_mask_lost"):
        one = everything(shipped, pair)
        with fault("no_object_ignored"):
            both = everything(shipped, pair)
        assert same(everything(shipped, pair), one)
    with fault("no_object_ignored"):
        other = everything(shipped, pair)
    assert same(everything(shipped, pair), before)
    assert not any(same(both, x) for x in (before, one, other))


def test_a_module_imported_under_a_fault_is_fixed(monkeypatch):
    monkeypatch.delitem(sys.modules, "detr_lite.inference.results")
    monkeypatch.setattr(inference, "results", prediction)
    with fault("boxes_as_corners"):
        fresh = importlib.import_module("detr_lite.inference.results")
        assert fresh.cxcywh_to_xyxy is not prediction.cxcywh_to_xyxy
    assert fresh.cxcywh_to_xyxy is prediction.cxcywh_to_xyxy
    assert fresh.cxcywh_to_xyxy is boxes.cxcywh_to_xyxy


def test_a_program_that_imported_the_function_feels_the_fault(monkeypatch):
    program = sys.modules["__main__"]
    monkeypatch.setattr(program, "rgb_to_ids", coco.rgb_to_ids, raising=False)
    with fault("bytes_reversed"):
        assert program.rgb_to_ids is coco.rgb_to_ids
    assert program.rgb_to_ids is coco.rgb_to_ids


# The figures with a fault, against those without: what the page claims.


@pytest.mark.parametrize(
    ("name", "metric", "least", "most"),
    [
        ("batch_first", "pq", 0.15, 1),
        ("batch_first", "box_ap", 0.3, 1),
        ("positions_lost", "box_ap", 0.05, 0.5),
        ("no_object_ignored", "pq_things", 0.1, 0.6),
        ("no_object_ignored", "box_ap", -0.05, 0.05),
        ("memory_swapped", "pq", 0.3, 1),
        ("memory_swapped", "box_ap", 0, 0),
        ("per_head_softmax", "pq", 0.01, 0.4),
        ("per_head_softmax", "box_ap", 0, 0),
        ("stuff_not_merged", "pq", -0.02, 0.05),
    ],
)
def test_what_a_fault_costs(name, metric, least, most, shipped, some, right):
    with fault(name):
        wrong = evaluate(shipped, some).metrics
    assert least <= right[0][metric] - wrong[metric] <= most


def test_without_positions_masks_lose_less_than_boxes(shipped, some, right):
    with fault("positions_lost"):
        wrong = evaluate(shipped, some).metrics
    lost = {key: right[0][key] - wrong[key] for key in ("pq", "box_ap")}
    assert 0 < lost["pq"] < lost["box_ap"]


def test_mixed_images_make_the_metric_depend_on_the_batch(shipped, some):
    with fault("batch_first"):
        among = evaluate(shipped, some).metrics["pq"]
        alone = evaluate(shipped, some, batch_size=1).metrics["pq"]
    assert among - alone > 0.1


def test_a_softmax_for_each_head_sums_to_the_number_of_heads(shipped, some):
    with fault("per_head_softmax"):
        maps = shipped.predict(some[0].image).attention_maps
    sums = maps.sum((1, 2, 3))
    torch.testing.assert_close(sums, torch.full_like(sums, 8.0))


@pytest.mark.parametrize(
    ("name", "metric", "least", "most"),
    [
        ("padding_mask_lost", "box_ap", 0.2, 1),
        ("padding_not_cropped", "pq", 0.4, 1),
        ("padding_not_cropped", "box_ap", 0, 0),
    ],
)
def test_what_a_fault_costs_padded_pairs(
    name, metric, least, most, padding, some, right
):
    with fault(name):
        wrong = evaluate(padding, TwoSizes(some), batch_size=2).metrics
    assert least <= right[1][metric] - wrong[metric] <= most


@pytest.mark.parametrize("name", ["padding_mask_lost", "padding_not_cropped"])
def test_padding_faults_hide_where_nothing_is_padded(
    name, shipped, some, right
):
    with fault(name):
        assert evaluate(shipped, some).metrics == right[0]


def test_boxes_as_corners_ruins_every_box(shipped, some, right):
    with fault("boxes_as_corners"):
        wrong = evaluate(shipped, some).metrics
    assert wrong["box_ap"] < 0.01
    assert wrong["pq"] == right[0]["pq"]


def test_shared_stuff_costs_only_without_the_merge(shipped, some, right):
    with shared_stuff(shipped):
        merged = evaluate(shipped, some).metrics
        with fault("stuff_not_merged"):
            wrong = evaluate(shipped, some).metrics
    assert merged["pq"] == pytest.approx(right[0]["pq"], abs=0.02)
    assert wrong["pq"] < merged["pq"] - 0.3


def test_bytes_reversed_loses_every_segment(shipped, some):
    def png_pq():
        quality = PanopticQuality(8)
        for sample in some:
            seen = shipped.predict(sample.image)
            ids, labels = sample.segment_ids.tolist(), sample.labels.tolist()
            quality.update(
                coco.rgb_to_ids(coco.ids_to_rgb(seen.id_map)),
                {s.id: s.label for s in seen.segments},
                sample.id_map,
                dict(zip(ids, labels, strict=True)),
            )
        return quality.compute()["pq"]

    assert png_pq() > 0.8
    # No id is one of the listed segments' any more.
    with (
        fault("bytes_reversed"),
        pytest.raises(DataError, match="not in the list"),
    ):
        png_pq()


# Situations that set faults free.


def test_two_sizes_cut_a_picture_and_its_segments_alike(some):
    cut = TwoSizes(some)
    assert len(cut) == len(some)
    assert cut.categories == some.categories
    for index, part in ((0, np.s_[:, :72]), (1, np.s_[24:])):
        whole, sample = some[index], cut[index]
        assert sample.id_map.equal(whole.id_map[part])
        assert sample.image.equal(whole.image[:, *np.index_exp[part]])
        ids = sample.segment_ids.tolist()
        assert set(ids) == set(sample.id_map.unique().tolist())
        labels = dict(
            zip(whole.segment_ids.tolist(), whole.labels.tolist(), strict=True)
        )
        assert sample.labels.tolist() == [labels[i] for i in ids]
        assert len(sample.crowd) == len(ids)
    assert any(
        len(cut[i].segment_ids) < len(some[i].segment_ids)
        for i in range(len(some))
    )


def test_whole_scenes_seen_together_are_as_predicted(shipped, some):
    pictures = [some[i].image for i in range(3)]
    for picture, seen in zip(
        pictures, together(shipped, pictures), strict=True
    ):
        alone = shipped.predict(picture)
        assert seen.image is picture
        assert (seen.id_map == alone.id_map).float().mean() > 0.95
        labels = [s.label for s in seen.segments]
        assert labels == [s.label for s in alone.segments]
        torch.testing.assert_close(
            seen.attention_maps, alone.attention_maps, atol=1e-4, rtol=0
        )


def classes(prediction):
    """Return the class of each pixel, (H, W)."""
    labels = {s.id: s.label for s in prediction.segments}
    return prediction.id_map.clone().apply_(lambda i: labels.get(i, -1))


def test_padding_changes_little_that_is_seen(shipped, some):
    """What the convolutions see of it, beside it."""
    cut = TwoSizes(some)
    pictures = [cut[0].image, cut[1].image]
    for picture, seen in zip(
        pictures, together(shipped, pictures), strict=True
    ):
        (alone,) = together(shipped, [picture])
        assert seen.id_map.shape == picture.shape[1:]
        assert (classes(seen) == classes(alone)).float().mean() > 0.9


def test_nothing_seen_has_no_maps(shipped, some, monkeypatch):
    monkeypatch.setattr(shipped, "threshold", 1.1)
    (seen,) = together(shipped, [some[0].image])
    assert seen.segments == ()
    assert len(seen.attention_maps) == 0


def test_shared_stuff_is_halved_and_things_are_not(shipped, some):
    images, mask = pad_images([some[0].image])
    with torch.inference_mode():
        before = shipped(images, mask)
        with shared_stuff(shipped):
            halved = shipped(images, mask)
        after = shipped(images, mask)
    assert same(list(tensors(before)), list(tensors(after)))
    labels = before.class_logits.argmax(-1)[0, before.query_index]
    stuff, middle = labels >= SKY, before.mask_logits.shape[-1] // 2
    extra = int(stuff.sum())
    assert len(halved.mask_logits) == len(before.mask_logits) + extra
    things = halved.mask_logits[:-extra][~stuff]
    assert things.equal(before.mask_logits[~stuff])
    left, right = (
        halved.mask_logits[:-extra][stuff],
        halved.mask_logits[-extra:],
    )
    whole = before.mask_logits[stuff]
    assert left[..., :middle].equal(whole[..., :middle])
    assert right[..., middle:].equal(whole[..., middle:])
    assert left[..., middle:].max() < whole[..., middle:].max() - 49
    assert right[..., :middle].max() < whole[..., :middle].max() - 49
    assert halved.query_index[-extra:].equal(before.query_index[stuff])


def test_shared_stuff_ends_when_its_block_fails(shipped, some):
    before = shipped.predict(some[0].image)
    with pytest.raises(ZeroDivisionError), shared_stuff(shipped):
        raise ZeroDivisionError
    after = shipped.predict(some[0].image)
    assert before.id_map.equal(after.id_map)


def test_ids_come_back_from_a_png_or_their_segments_go(balls):
    assert through_png(balls).id_map.equal(balls.id_map)
    assert through_png(balls).segments == balls.segments
    with fault("bytes_reversed"):
        lost = through_png(balls)
    assert lost.segments == ()
    assert lost.id_map.unique().tolist() == [65536, 131072]


# The images of the museum.


@pytest.fixture
def balls():
    """Half an image of sky, and a ball with a box; two heads each."""
    id_map = torch.ones(40, 40, dtype=torch.int32)
    id_map[20:] = 2
    segments = (
        panoptic.Segment(1, SKY, 0.9, 800, 0, (0.5, 0.25, 1, 0.5)),
        panoptic.Segment(2, BALL, 0.9, 800, 1, (0.5, 0.7, 0.4, 0.2)),
    )
    maps = torch.zeros(2, 4, 5, 5)
    maps[1, 2, 4, 4] = 0.5
    maps[1, 3, 0, 0] = 0.125
    image = torch.full((3, 40, 40), 128, dtype=torch.uint8)
    return prediction.Prediction(
        image, id_map, segments, SCENE_CATEGORIES, maps
    )


@pytest.fixture
def axis():
    return book_figure(2).subplots()


def test_things_are_boxed_in_their_color(balls, axis):
    draw_boxes(axis, balls)
    (frame,) = axis.patches  # the sky has no box
    assert frame.get_xy() == pytest.approx((12, 24))
    assert frame.get_width() == pytest.approx(16)
    assert frame.get_height() == pytest.approx(8)
    color = np.array(SCENE_CATEGORIES[BALL].color) / 255
    np.testing.assert_allclose(frame.get_edgecolor()[:3], color)


def test_a_box_of_negative_size_is_drawn_too(balls, axis):
    with fault("boxes_as_corners"):
        assert balls.query_boxes[1, 2] < balls.query_boxes[1, 0]
        draw_boxes(axis, balls)
    (frame,) = axis.patches
    assert frame.get_width() > 0
    assert frame.get_height() > 0


def test_heads_share_one_scale_in_all_pictures(balls, axis):
    draw_heads(axis, balls, "ball")
    tiles = axis.child_axes
    assert len(tiles) == 4
    for tile, own in zip(tiles, balls.attention_maps[1], strict=True):
        heat = tile.images[1]
        assert np.array_equal(heat.get_array(), own.numpy())
        assert heat.get_clim() == (0, 0.5)
        assert heat.norm(0.125) == pytest.approx(0.5)


def test_heads_are_those_of_the_largest_segment(balls, axis):
    small = panoptic.Segment(3, BALL, 0.9, 5, 0, (0.1, 0.1, 0.1, 0.1))
    maps = balls.attention_maps[[0, 1, 0]]
    more = replace(
        balls, segments=(*balls.segments, small), attention_maps=maps
    )
    draw_heads(axis, more, "ball")
    shown = [tile.images[1].get_array().max() for tile in axis.child_axes]
    assert shown == [0, 0, 0.5, 0.125]


def test_segments_are_named_and_none_leave_the_image(balls, axis):
    draw_segments(axis, balls)
    assert sorted(t.get_text() for t in axis.texts) == ["ball", "sky"]
    # Of two of a class the larger one is named.
    small = panoptic.Segment(3, BALL, 0.9, 4, 2, (0.1, 0.1, 0.1, 0.1))
    id_map = balls.id_map.clone()
    id_map[:2, :2] = 3
    pair = replace(balls, id_map=id_map, segments=(*balls.segments, small))
    both = book_figure(2).subplots()
    draw_segments(both, pair)
    places = {t.get_text(): t.get_position()[1] for t in both.texts}
    assert sorted(places) == ["ball", "sky"]
    assert places["ball"] > 20
    bare = book_figure(2).subplots()
    draw_segments(bare, replace(balls, segments=()))
    shown = bare.images[-1].get_array()
    assert np.array_equal(shown, balls.image.permute(1, 2, 0).numpy())


def test_a_pair_is_drawn_without_the_fault_and_with_it(balls):
    figure = pair_figure(draw_boxes, balls, balls, "boxes_as_corners")
    right, wrong = figure.axes
    assert [a.get_title() for a in (right, wrong)] == [
        "without",
        "with the fault",
    ]
    assert right.patches[0].get_xy() == pytest.approx((12, 24))
    assert wrong.patches[0].get_xy() != pytest.approx((12, 24))
    # And the fault is off again.
    assert balls.query_boxes[1].tolist() == pytest.approx([12, 24, 28, 32])


def cells(figure):
    """Return the color of each cell of a table, and its words."""
    (axis,) = figure.axes
    colors = {}
    for frame in axis.patches:
        place = round(frame.get_x() + 0.47), round(frame.get_y() + 0.45)
        colors[place] = frame.get_facecolor()
    words = dict.fromkeys(colors, "")
    for text in axis.texts:
        x, y = text.get_position()
        words[round(x), round(y)] += text.get_text()
    return colors, words


def test_losses_are_red_and_written_and_the_rest_is_green():
    losses = {"a": [0.31, 0.0], "b": [-0.02, 0.002]}
    figure = losses_figure(losses, ["PQ", "box AP"])
    colors, words = cells(figure)
    assert words == {
        (0, 0): CROSS + "\N{MINUS SIGN}0.31",
        (1, 0): TICK,
        (0, 1): TICK,
        (1, 1): CROSS + "< 0.01",
    }
    # A tick has no ground of its own, which would be a slab in the dark.
    assert colors[1, 0][3] == colors[0, 1][3] == 0
    # Where more is lost, the cell is redder; white is read on both.
    much, little = colors[0, 0], colors[1, 1]
    assert much[0] - much[1] > little[0] - little[1] > 0
    assert min(contrast(much), contrast(little)) > 4.5
    (axis,) = figure.axes
    assert {t.get_text(): t.get_color() for t in axis.texts}[TICK] == GREEN
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]


def test_a_table_of_who_notices_has_a_mark_in_each_cell():
    figure = notices_figure({"a": [True, False]}, ["PQ", "1"])
    colors, words = cells(figure)
    assert words == {(0, 0): CROSS, (1, 0): TICK}
    assert (colors[0, 0][3], colors[1, 0][3]) == (1, 0)


def test_tables_and_pairs_fit_the_page_and_are_clear(balls):
    rows = [f.title for f in FAULTS.values()]
    for figure in (
        losses_figure({r: [0.5] * 4 for r in rows}, ["of things"] * 4),
        notices_figure({r: [True] * 12 for r in rows}, ["10"] * 12),
        pair_figure(draw_segments, balls, balls, "batch_first"),
    ):
        assert_fits_the_page(figure)


def test_a_verdict_says_in_words_what_its_colors_say():
    page = Verdict("a_check", True, False)
    soup = BeautifulSoup(page._repr_html_(), "html.parser")
    assert soup.b.text == "a check"
    first, second = soup.find_all("span")
    assert first.text == "holds without the fault"
    assert GREEN in first["style"]
    assert second.text == "broken with the fault"
    assert RED in second["style"]
    assert f"{CROSS} with the fault" in repr(page)


def test_pixels_count_as_changed_by_their_class(balls):
    assert changed_pixels(balls, balls) == 0
    renumbered = replace(
        balls,
        id_map=balls.id_map * 7,
        segments=tuple(replace(s, id=s.id * 7) for s in balls.segments),
    )
    assert changed_pixels(balls, renumbered) == 0
    nothing = replace(balls, segments=balls.segments[:1])
    assert changed_pixels(balls, nothing) == 20 * 40


def test_faults_are_described():
    for chosen in FAULTS.values():
        assert chosen.title[0].isupper()
        assert chosen.description.endswith(".")
        assert len(chosen.source) > 20


def test_the_page_shows_every_fault_and_no_other():
    headings = re.findall(
        r"^## .*`(\w+)`$", TEXT.read_text("utf-8"), re.MULTILINE
    )
    assert sorted(headings) == sorted(FAULTS)
