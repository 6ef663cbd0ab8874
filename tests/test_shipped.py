"""What is shipped: the weights, their figures, and what the README says."""

import hashlib
import json
import re
from dataclasses import replace

import measure
import numpy as np
import pytest
import torch
from support import ROOT

from detr_lite import load_model
from detr_lite.data.batch import collate
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    VALIDATION_COUNT,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.model import build_model
from detr_lite.models import SCENES_CONFIG
from detr_lite.position import SinePositionalEncoding


@pytest.fixture(scope="module")
def shipped_metrics():
    split = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    return evaluate(load_model("scenes", "cpu"), split).metrics


def test_shipped_weights_are_good(shipped_metrics):
    assert shipped_metrics["pq"] >= 0.88
    assert shipped_metrics["pq_things"] >= 0.80
    assert shipped_metrics["box_ap"] >= 0.82


@pytest.mark.parametrize("key", measure.METRICS)
def test_measured_figures_of_the_shipped_weights_still_hold(
    shipped_metrics, key
):
    """Another processor may round one pixel or one box the other way."""
    kept = measure.read_results()["shipped"][key]
    assert shipped_metrics[key] == pytest.approx(kept, abs=0.002)


def test_card_gives_the_measured_figures():
    card = (ROOT / "data" / "MODEL_CARD.md").read_text()
    row = re.search(r"\| PQ \| (\S+) \| (\S+) \| (\S+) \|", card).groups()
    kept = measure.read_results()["shipped"]
    for text, key in zip(row, ("pq", "pq_things", "pq_stuff"), strict=True):
        assert float(text) == pytest.approx(kept[key], abs=0.001)


@pytest.mark.parametrize("name", measure.ABLATIONS)
def test_each_ablation_is_a_model_that_can_be_built(name):
    changes = measure.ABLATIONS[name]
    config = replace(SCENES_CONFIG, **changes)
    assert (config == SCENES_CONFIG) == (name == "quick")
    build_model(config, SCENE_CATEGORIES)


def test_without_positions_all_positions_are_the_same():
    changes = measure.ABLATIONS["no_positions"]
    position = SinePositionalEncoding(128, **changes)
    encoded = position(torch.zeros(1, 12, 12, dtype=torch.bool)).flatten(2)
    assert (encoded - encoded[..., :1]).abs().max() < 1e-12


def test_readme_tables_are_the_measured_ones():
    readme = (ROOT / "README.md").read_text()
    assert measure.tables(measure.read_results()) in readme


def test_the_ablations_in_chapter_6_are_the_measured_ones():
    text = (ROOT / "book/text/06_train_and_evaluate.md").read_text("utf-8")
    results = measure.read_results()
    table, rows = measure.ablations(results), measure.ablation_rows(results)
    assert f"<!-- ablations -->\n{table}\n<!-- /ablations -->" in text
    assert f"# As measured:\n{rows}\n# A dot is a seed." in text


def test_the_table_of_nuclei_in_chapter_7_is_the_measured_one():
    text = (ROOT / "book/text/07_real_images.md").read_text("utf-8")
    table = measure.nuclei_table(measure.read_results())
    assert f"<!-- nuclei -->\n{table}\n<!-- /nuclei -->" in text


def test_manifest_describes_every_shipped_file():
    data = ROOT / "data"
    manifest = json.loads((data / "manifest.json").read_text())
    files = {
        p.relative_to(data).as_posix(): p
        for p in data.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    assert set(manifest) == set(files)
    for name, path in files.items():
        content = path.read_bytes()
        assert len(content) == manifest[name]["size"] < 8_000_000
        digest = hashlib.sha256(content).hexdigest()
        assert digest == manifest[name]["sha256"]
        assert manifest[name]["license"]
        assert manifest[name]["source"]


def test_small_split_is_the_start_of_the_validation_split():
    small = CocoPanoptic.from_folder(ROOT / "data" / "scenes")
    split = SceneSplit(VALIDATION_SEED, len(small))
    for mine, theirs in zip(small, split, strict=True):
        assert (mine.image == theirs.image).all()
        assert (mine.id_map == theirs.id_map).all()
        assert (mine.labels == theirs.labels).all()


def test_the_film_shows_two_scenes_at_sixteen_steps():
    path = ROOT / "data" / "film.npz"
    assert path.stat().st_size < 1_000_000
    film = np.load(path)
    counts = [len(film[f"{phase}_steps"]) for phase in ("boxes", "masks")]
    assert sum(counts) == 16
    assert len(film["scenes"]) == film["boxes_boxes"].shape[1] == 2


def test_the_film_ends_with_the_shipped_weights():
    film, model = (
        np.load(ROOT / "data" / "film.npz"),
        load_model("scenes", "cpu"),
    )
    split = SceneSplit(VALIDATION_SEED, 32)
    for row, index in enumerate(film["scenes"]):
        boxes = model.detr(collate([split[int(index)]]).images).boxes[0]
        last = film["masks_boxes"][-1, row]
        assert last == pytest.approx(boxes.detach().numpy(), abs=2e-3)
