"""recipe.json tells the truth, or what is not as it was is said."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from support import CONFIG, TINY, Kill, refusal

from detr_lite.cli.main import main
from detr_lite.data.scenes import SceneSplit
from detr_lite.errors import ConfigError
from detr_lite.inference.model import build_model
from detr_lite.training import estimate
from detr_lite.training.recipe_json import (
    read_recipe,
    recipe_json,
    weights_hash,
)
from detr_lite.training.recipes import Engine
from detr_lite.training.train import train
from detr_lite.weights.writing import save_model

BOXES = replace(TINY, phases=TINY.phases[1:2])
TWO = replace(TINY, phases=TINY.phases[1:3])


def text_of(scenes, recipe=BOXES, engine=None, start=None, weights=None):
    return recipe_json(
        recipe, engine or Engine(), scenes, scenes, start, weights
    )


@pytest.fixture
def heard(heard, monkeypatch):
    """The same, without an estimate before it."""
    monkeypatch.setattr(estimate, "estimate", lambda *words: "a while")
    return heard


def again(file, *arguments):
    words = ["train", "--recipe", file, "--out", file.parent / "again"]
    return main([*map(str, [*words, *arguments])])


# What is computed, and how


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--precision", "float32"], {"precision": "float32"}),
        (["--workers", 0], {"workers": 0}),
        (["--accumulate", 1], {"accumulate": 1}),
    ],
)
def test_a_run_is_computed_again_as_it_was(
    heard, scenes, tmp_path, arguments, changes
):
    engine = Engine("bf16", 2, True, 3, True)
    file = tmp_path / "recipe.json"
    file.write_text(text_of(scenes, engine=engine))
    assert read_recipe(file).engine == engine
    assert again(file, *arguments) == 130
    assert heard["engine"] == replace(engine, **changes)


@pytest.mark.parametrize("change", ["none", "weights", "seed"])
def test_weights_that_were_written_over_are_told(
    heard, scenes, tmp_path, sure_model, capsys, change
):
    """With another seed nobody expects the same result."""
    start, file = tmp_path / "start.safetensors", tmp_path / "recipe.json"
    save_model(sure_model, start)
    known = weights_hash(sure_model)
    recipe = replace(BOXES, model=sure_model.config)
    file.write_text(text_of(scenes, recipe, None, str(start), known))
    if change != "none":
        sure_model.mask_head.lay3.weight.data += 1
        save_model(sure_model, start)
    assert again(file, *["--seed", 5] * (change == "seed")) == 130
    told = "other weights to go on from than" in capsys.readouterr().err
    assert told == (change == "weights")
    assert weights_hash(heard["start"]) == weights_hash(sure_model)


def test_a_start_without_a_name_is_asked_for(
    heard, scenes, tmp_path, capsys, sure_model
):
    file = tmp_path / "recipe.json"
    file.write_text(text_of(scenes, weights=weights_hash(sure_model)))
    assert again(file) == 1
    assert "--from" in capsys.readouterr().err
    assert not heard


def test_another_number_of_steps_on_the_way_is_told(
    heard, scenes, tmp_path, capsys
):
    file = tmp_path / "recipe.json"
    content = json.loads(text_of(scenes))
    for changed in (False, True):
        file.write_text(json.dumps(content | {"steps_changed": changed}))
        assert again(file) == 130
        told = (
            "resumed with another number of steps" in capsys.readouterr().err
        )
        assert told == changed


# Resumed runs


def run(out, recipe, resume=False, watch=None):
    split = SceneSplit(7, 4)
    torch.manual_seed(0)
    detector = build_model(CONFIG, split.categories).detr
    return train(
        recipe, split, split, out, resume=resume, watch=watch, log_every=1,
        evaluations=1, checkpoint_seconds=0, detector=detector, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(_cache, tmp_path_factory):
    """A run that stopped in its first phase, and one in its second."""
    out = tmp_path_factory.mktemp("stopped")
    for recipe, phase in ((BOXES, "boxes"), (TWO, "masks")):
        with pytest.raises(KeyboardInterrupt):
            run(out / phase, recipe, watch=Kill(phase, 2))
    return out


@pytest.fixture
def begun(folders, tmp_path):
    return shutil.copytree(folders, tmp_path / "begun")


def steps_of(folder):
    file = read_recipe(folder / "recipe.json")
    return [p.steps for p in file.recipe.phases], file.steps_changed


def longer(recipe, *steps):
    pairs = zip(recipe.phases, steps, strict=True)
    phases = tuple(replace(p, steps=n) for p, n in pairs)
    return replace(recipe, phases=phases)


def test_a_resumed_run_writes_the_steps_that_it_does(begun):
    folder, before = begun / "boxes", (begun / "boxes/recipe.json").read_text()
    assert steps_of(folder) == ([3], False)
    run(folder, BOXES, resume=True)
    assert (folder / "recipe.json").read_text() == before


@pytest.mark.parametrize("steps", [2, 4])
def test_other_steps_within_a_phase_are_written_and_marked(begun, steps):
    run(begun / "boxes", longer(BOXES, steps), resume=True)
    assert steps_of(begun / "boxes") == ([steps], True)


def test_steps_of_a_phase_that_is_done_are_those_that_were_done(begun):
    run(begun / "masks", longer(TWO, 9, 3), resume=True)
    assert steps_of(begun / "masks") == ([3, 3], False)


def test_what_a_run_began_with_stays_in_its_recipe(begun):
    path = begun / "boxes/recipe.json"
    content = json.loads(path.read_text())
    assert content["start_weights"].startswith("sha256")
    path.write_text(json.dumps(content | {"start_weights": "sha256 0"}))
    run(begun / "boxes", BOXES, resume=True)
    assert read_recipe(path).start_weights == "sha256 0"


@pytest.mark.parametrize("precision", [False, True])
def test_a_checkpoint_of_another_run_is_refused(begun, precision):
    """Also where the command's settings are those of the checkpoint."""
    path = begun / "boxes/recipe.json"
    content = json.loads(path.read_text())
    if precision:
        content["engine"]["precision"] = "bf16"
    else:
        content["recipe"]["seed"] = 1
    path.write_text(json.dumps(content))
    log = (begun / "boxes/log.jsonl").read_text()
    words = ["seed is 0 in the one", "and 1 in the other"]
    if precision:
        words = ["precision is tf32 in", "bf16 in the other"]
    with refusal(*words, error=ConfigError):
        run(begun / "boxes", BOXES, resume=True)
    assert (begun / "boxes/log.jsonl").read_text() == log
    assert json.loads(path.read_text()) == content


def test_a_lone_checkpoint_gets_a_recipe(begun, tmp_path):
    (tmp_path / "lone").mkdir()
    shutil.copy(begun / "boxes/checkpoint.pt", tmp_path / "lone")
    run(tmp_path / "lone", longer(BOXES, 5), resume=True)
    assert steps_of(tmp_path / "lone") == ([5], True)


def test_a_damaged_recipe_beside_a_checkpoint_is_told(begun):
    (begun / "boxes/recipe.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no recipe .* delete it"):
        run(begun / "boxes", BOXES, resume=True)


# Files that were changed by hand


PHASE = ("recipe", "phases", 0)
SCENES = ("data", "training", "scenes")


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ((*PHASE, "steps"), 0),
        ((*PHASE, "steps"), -3),
        ((*PHASE, "steps"), True),
        ((*PHASE, "name"), "foo"),
        ((*PHASE, "batch_size"), 0),
        ((*PHASE, "lr"), -1.0),
        ((*PHASE, "lr"), float("nan")),
        ((*PHASE, "clip"), -0.1),
        ((*PHASE, "warmup"), -5),
        ((*PHASE, "drop"), -1),
        ((*PHASE, "kind"), 3),
        (("recipe", "phases"), {"a": 1}),
        (("recipe", "seed"), 2**70),
        (("recipe", "seed"), -1),
        (("recipe", "weight_decay"), -1),
        (("recipe", "no_object_weight"), -1),
        (("recipe", "model", "depths"), [1.5, 1, 1, 1]),
        (("recipe", "model", "depths"), [1, 1, 1]),
        (("recipe", "model", "depths"), [1, 1, 1, 10**9]),
        (("recipe", "model", "heads"), 3),
        (("recipe", "model", "width"), 126),
        (("recipe", "model", "masks"), False),
        (("recipe", "model"), 3),
        (("recipe",), []),
        (("start",), 5),
        (("start_weights",), 5),
        (("steps_changed",), "no"),
        (("engine", "precision"), "half"),
        (("engine", "workers"), -1),
        (("engine",), 3),
        ((*SCENES, "count"), 0),
        ((*SCENES, "seed"), "1"),
        (SCENES, {"version": 1}),
        (SCENES, 5),
        (("recipe", "phases"), [{"name": "boxes"}]),
        ((*PHASE, "steps"), "ten"),
        (("recipe", "seed"), None),
        (("recipe", "speed"), 3),
        (("recipe", "model", "depths"), 2),
        (("recipe", "model", "width"), "256"),
        (("data",), {}),
        (("data", "training"), 3),
    ],
)
def test_a_recipe_of_what_cannot_be_is_one_sentence(
    scenes, tmp_path, path, to
):
    content = json.loads(text_of(scenes, TWO))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(content))
    with refusal(f"{file} is no recipe", error=ConfigError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert message.count(". ") == 0
    entry = [k for k in path if isinstance(k, str)][-1]
    assert entry in message or "scenes.seed" in message or "num_ch" in message


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 500 + "]" * 500])
def test_a_file_that_is_too_deep_is_refused(tmp_path, text):
    file = tmp_path / "recipe.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe\.json is no"):
        read_recipe(file)


def test_a_byte_order_mark_is_no_mistake(scenes, tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(text_of(scenes), encoding="utf-8-sig")
    assert read_recipe(file).recipe == BOXES


def test_a_recipe_of_before_knows_nothing_of_weights(scenes, tmp_path):
    content = json.loads(text_of(scenes))
    del content["start_weights"], content["engine"]
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(content))
    found = read_recipe(file)
    assert (found.start_weights, found.steps_changed) == (None, False)
    assert found.engine == Engine()
    assert asdict(found.recipe) == asdict(BOXES)


# What `train` is given


@pytest.mark.parametrize("name", ["recipe", "engine", "detector", "start"])
def test_what_is_of_another_type_is_refused(scenes, tmp_path, name):
    options = {"recipe": BOXES} | {name: "bf16"}
    recipe = options.pop("recipe")
    with pytest.raises(ConfigError, match=f"^{name} must be of the type"):
        train(recipe, scenes, scenes, tmp_path, **options)
    assert not [*tmp_path.iterdir()]


def test_a_model_is_no_detector(scenes, tmp_path, sure_model):
    with pytest.raises(ConfigError, match="DETR, and is PanopticModel"):
        train(BOXES, scenes, scenes, tmp_path, detector=sure_model)


def test_a_seed_that_no_generator_takes_is_refused(
    heard, tiny_preset, tmp_path, capsys
):
    words = ["train", "--seed", str(2**64), "--out", str(tmp_path / "run")]
    assert main(words) == 1
    assert "seed should be less than" in capsys.readouterr().err
    assert not heard
