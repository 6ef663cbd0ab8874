"""Weights: whole models in safe files, or a refusal that says why."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import CONFIG, TWO_CLASSES, randomized, refusal, same_weights

from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.categories import original_categories
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import OutputError, WeightsError
from detr_lite.inference.loading import load_backbone, load_model
from detr_lite.inference.model import build_model, shapes_alone
from detr_lite.models import ModelConfig
from detr_lite.training.recipes import PRESETS
from detr_lite.weights.inferred_config import check_original, config_of
from detr_lite.weights.writing import save_backbone, save_model


@pytest.fixture
def file(tiny_model, tmp_path):
    """The tiny model's file."""
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model, path)
    return path


def refused(source, *words):
    with refusal(*words, error=WeightsError):
        load_model(source)


def changed(file, name="other.safetensors", tensors=None, **metadata):
    """Write the file again with some of its content changed."""
    with safe_open(file, "pt") as opened:
        text = opened.metadata()
    state = load_file(file)
    (tensors or (lambda s: None))(state)
    text |= metadata
    path = file.with_name(name)
    save_file(state, path, text)
    return path


def test_equal_models_are_equal_files(tiny_model, file, tmp_path):
    content = file.read_bytes()
    for number in range(8):
        other = tmp_path / f"{number}.safetensors"
        save_model(tiny_model, other)
        assert other.read_bytes() == content


def test_a_loaded_model_is_the_saved_one_bit_for_bit(tiny_model, file):
    model = load_model(file, device="cpu")
    assert same_weights(model, tiny_model)
    assert model.config == tiny_model.config
    assert model.categories == tiny_model.categories
    assert not model.training


@torch.no_grad()
def test_a_loaded_model_predicts_what_the_saved_one_does(
    sure_model, tmp_path, scenes
):
    path = tmp_path / "sure.safetensors"
    save_model(sure_model, path)
    picture = scenes[0].image
    mine = sure_model.predict(picture)
    other = load_model(path, device="cpu").predict(picture)
    assert mine.segments == other.segments
    assert torch.equal(mine.id_map, other.id_map)


def test_a_backbone_alone_is_loaded_bit_for_bit(tiny_model, tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_backbone(tiny_model, path)
    other = build_model(CONFIG, tiny_model.categories)
    body, its_body = (m.detr.backbone[0].body for m in (tiny_model, other))
    assert not same_weights(body, its_body)
    load_backbone(other, path)
    assert same_weights(body, its_body)


def test_saving_does_not_change_the_model(tiny_model, tmp_path):
    before = {k: v.clone() for k, v in tiny_model.state_dict().items()}
    save_model(tiny_model, tmp_path / "a.safetensors")
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_model_with_other_classes_than_its_tensors_is_refused(file):
    more = [
        {"id": i, "name": f"c{i}", "isthing": True, "color": [0, 0, 0]}
        for i in range(1, 10)
    ]
    config = json.loads(_metadata(file)["config"]) | {"num_classes": 9}
    path = changed(
        file, config=json.dumps(config), categories=json.dumps(more)
    )
    refused(path, "class_embed", "(9, 32)", "(10, 32)", "number of classes")


def _metadata(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_a_file_whose_categories_and_classes_differ_is_refused(file):
    config = json.loads(_metadata(file)["config"]) | {"num_classes": 9}
    refused(changed(file, config=json.dumps(config)), "other.safetensors")


def test_a_file_that_lacks_a_tensor_is_refused_by_its_name(file):
    path = changed(file, tensors=lambda s: s.pop("detr.query_embed.weight"))
    refused(path, "no tensor detr.query_embed.weight")


def test_a_file_with_a_tensor_too_many_is_refused_by_its_name(file):
    path = changed(file, tensors=lambda s: s.update(extra=torch.zeros(1)))
    refused(path, "extra")


def test_batch_counters_in_a_backbone_file_are_no_mistake(
    tiny_model, tmp_path
):
    path = tmp_path / "backbone.safetensors"
    save_backbone(tiny_model, path)
    path = changed(
        path,
        tensors=lambda s: s.update(
            {"bn1.num_batches_tracked": torch.tensor(3)}
        ),
    )
    load_backbone(build_model(CONFIG, tiny_model.categories), path)


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("kind", ["bare", "wrapped", "safetensors", "boxes"])
def test_tensors_of_ours_without_their_configuration_are_refused(
    tmp_path, preset, kind
):
    """What they lack would be guessed, as it is in the original's files."""
    config = replace(PRESETS[preset].model, masks=kind != "boxes")
    state = build_model(config, SCENE_CATEGORIES).state_dict()
    path = tmp_path / "tensors.pth"
    if kind == "safetensors":
        save_file({n: t.contiguous() for n, t in state.items()}, path)
    else:
        torch.save({"model": state} if kind == "wrapped" else state, path)
    refused(path, "tensors.pth lacks the configuration", "save_model")


@pytest.mark.parametrize(
    "changes", [{}, {"depths": (3, 4, 23, 3)}, {"masks": False}]
)
def test_what_the_original_publishes_passes(changes):
    config = ModelConfig(num_classes=91, **changes)
    with shapes_alone():
        model = build_model(config, original_categories(91))
    state = model.state_dict()
    check_original(config_of(state, Path("file"), False), Path("file"))


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    refused(path, "not written by this version of detr_lite")


def test_a_file_of_another_version_is_refused(file):
    refused(changed(file, format="detr_lite 999"), "detr_lite 999")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"depths": 3}', '{"num_classes": 8, "depths": []}']
)
def test_a_file_with_a_broken_configuration_is_refused(file, text):
    refused(changed(file, config=text), "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 5},
        {"heads": 0},
        {"context": 8},
        {"width": -1},
        {"width": 2**20},
        {"depths": "no"},
        {"depths": [1, 1, 1, 2**31]},
        {"depths": [1, 1, 1, 0]},
        {"encoder_layers": 2**31},
        {"encoder_layers": -1},
        {"decoder_layers": 10**30},
        {"dropout": float("nan")},
        {"dropout": 1},
        {"temperature": [20.0]},
        {"temperature": 0},
        {"cycles": "2"},
        {"map_gain": float("inf")},
        {"threshold": [1]},
        {"threshold": 1.1},
        {"shortest": 0},
        {"longest": 0.5},
        {"longest": 90},
        {"longest": 10**6},
        {"masks": "yes"},
        {"pool": None},
        {"num_queries": True},
        {"num_queries": 10**9},
        {"something_new": 3},
    ],
)
def test_a_file_with_an_impossible_configuration_is_refused(file, change):
    config = json.loads(_metadata(file)["config"]) | change
    began = time.monotonic()
    refused(changed(file, config=json.dumps(config)), "other.safetensors")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_their_name(file, number):
    name = "mask_head.lay3.weight"

    def spoil(state):
        state[name].view(-1)[-1] = number

    refused(changed(file, tensors=spoil), name, "not finite")


def test_weights_of_whole_numbers_are_refused(file):
    name = "detr.query_embed.weight"
    path = changed(file, tensors=lambda s: s.update({name: s[name].int()}))
    refused(path, name, "torch.int32")


def test_a_home_may_be_written_as_a_tilde(
    tiny_model, file, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert same_weights(load_model("~/tiny.safetensors", "cpu"), tiny_model)


def test_a_file_with_broken_categories_is_refused(file):
    refused(changed(file, categories='[{"id": 1}]'), "other.safetensors")


def test_a_backbone_file_is_no_model(tiny_model, tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_backbone(tiny_model, path)
    refused(path, "backbone.safetensors", "no tensor")


def test_an_unknown_name_is_refused_with_the_known_ones():
    refused("cocoa", "cocoa", "scenes")


def test_categories_survive_the_round_trip(tmp_path):
    names = Categories(
        [
            Category(3, "größe", True, (1, 2, 3)),
            Category(500, "a b", False, (4, 5, 6)),
        ]
    )
    model = randomized(build_model(replace(CONFIG, num_classes=2), names))
    save_model(model, tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").categories == names
    assert names != TWO_CLASSES


def test_weights_are_written_whole_or_not_at_all(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "new" / "m.safetensors")
    load_model(tmp_path / "new" / "m.safetensors")
    wall = tmp_path / "wall"
    wall.write_text("a file is in the way")
    for path in (wall / "m.safetensors", tmp_path / "new"):
        with pytest.raises(OutputError, match="cannot be written"):
            save_model(tiny_model, path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "m.safetensors", "new", "wall",
    ]  # fmt: skip
