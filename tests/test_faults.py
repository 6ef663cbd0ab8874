"""The bug museum: each fault does its harm, and leaves no trace."""

import base64
import importlib
import io
import re
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image
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
    boxed,
    heads_picture,
    pair_picture,
    switchboard,
)

ROOT = Path(__file__).resolve().parents[1]
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


def test_a_module_imported_under_a_fault_is_mended(monkeypatch):
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
        ("positions_lost", "box_ap", 0.05, 0.5),
        ("positions_lost", "pq", -0.05, 0.1),
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


# The pictures of the museum.


@pytest.fixture
def balls():
    """Half a picture of sky, and a ball with a box; two heads each."""
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


def test_things_are_boxed_in_their_color(balls):
    drawn = np.asarray(boxed(balls, smallest=40))
    color = SCENE_CATEGORIES[BALL].color
    # Corners (12, 24) and (28, 32): the color one pixel inside.
    for row, column in ((25, 20), (31, 20), (28, 13), (28, 27)):
        assert tuple(drawn[row, column]) == color
    assert (drawn[5:15] == 128).all()  # the sky has no box


def test_a_box_of_negative_size_is_drawn_too(balls):
    with fault("boxes_as_corners"):
        assert balls.query_boxes[1, 2] < balls.query_boxes[1, 0]
        drawn = np.asarray(boxed(balls, smallest=40))
    assert (drawn != 128).any()


def test_heads_share_one_scale(balls):
    picture = heads_picture(balls, 1)
    drawn = np.asarray(picture).astype(int).sum(-1)
    assert picture.size == (144, 144)
    brightest = drawn[72 + 2 + 60, 2 + 60]
    quarter, dark = drawn[72 + 2 + 5, 72 + 2 + 5], drawn[20, 20]
    assert dark < quarter < brightest


def test_one_weight_has_one_shade_in_all_pictures(balls):
    fainter = replace(balls, attention_maps=balls.attention_maps.clone())
    fainter.attention_maps[1, 2, 4, 4] = 0.25
    spot = (72 + 2 + 5, 72 + 2 + 5)  # 1/8 in both
    shades = [heads_picture(p, 1).getpixel(spot) for p in (balls, fainter)]
    assert shades[0] == shades[1]


def test_a_pair_stands_side_by_side():
    red, blue = (Image.new("RGB", (50, 40), c) for c in ("red", "blue"))
    pair = pair_picture(red, blue)
    assert pair.size == (112, 62)
    assert pair.getpixel((10, 50)) == (255, 0, 0)
    assert pair.getpixel((55, 50)) == (255, 255, 255)
    assert pair.getpixel((70, 50)) == (0, 0, 255)


def test_the_switchboard_has_a_switch_for_each_pair():
    picture = Image.new("RGB", (8, 8), (213, 94, 0))
    pairs = {name: (picture, picture) for name in FAULTS}
    about = {name: f"<{name}>" for name in FAULTS}
    effects = {name: f"{name} & more" for name in FAULTS}
    page = switchboard(pairs, about, effects)
    soup = BeautifulSoup(page, "html.parser")
    radios = soup.find_all("input", type="radio")
    assert [r["id"] for r in radios] == [f"fault-{n}" for n in FAULTS]
    assert len({r["name"] for r in radios}) == 1
    assert [r.has_attr("checked") for r in radios].count(True) == 1
    for name, radio in zip(FAULTS, radios, strict=True):
        assert radio.parent.name == "label"
        assert radio.parent.text.strip() == name
        exhibit = soup.find(class_=radio["id"])
        assert exhibit.p.text == f"<{name}>"
        first, second = exhibit.find_all("img")
        assert first["alt"] == "without: as it should be"
        assert second["alt"] == f"with the fault: {name} & more"
        assert f"#{radio['id']}:checked) .{radio['id']} " in soup.style.text
    encoded = soup.img["src"].removeprefix("data:image/png;base64,")
    kept = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    assert kept.getpixel((3, 3)) == (213, 94, 0)
    assert "<script" not in page


def test_faults_are_described():
    for chosen in FAULTS.values():
        assert chosen.description.endswith(".")
        assert len(chosen.source) > 20


def test_the_page_shows_every_fault_and_no_other():
    headings = re.findall(
        r"^## .*`(\w+)`$", TEXT.read_text("utf-8"), re.MULTILINE
    )
    assert sorted(headings) == sorted(FAULTS)
