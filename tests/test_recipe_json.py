"""A finished run tells how to do it again."""

import json
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError

import pytest
import torch
from support import TINY, on_disk

import detr_lite
from detr_lite.cli.main import main
from detr_lite.data.scenes import SceneSplit
from detr_lite.data.subsets import Part, fingerprint
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.training import recipes
from detr_lite.training.recipe_json import read_recipe, recipe_json
from detr_lite.training.recipes import PRESETS, Engine, finetune
from detr_lite.weights.writing import save_model

pytestmark = pytest.mark.usefixtures("tiny_preset")


def run(*arguments):
    assert main(["train", *map(str, arguments)]) == 0


def weights(folder):
    return load_model(folder / "model.safetensors", "cpu").state_dict()


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_its_file(name, tmp_path, scenes):
    recipe = replace(PRESETS[name], seed=3)
    path = tmp_path / "recipe.json"
    path.write_text(recipe_json(recipe, Engine(), scenes, scenes, "mine.pth"))
    file = read_recipe(path)
    assert file.recipe == recipe
    assert file.start == "mine.pth"
    assert file.data["training"] == fingerprint(scenes)
    assert set(json.loads(path.read_text())["versions"]) > {"python", "torch"}


@pytest.mark.parametrize("exact", [True, False])
def test_a_recipe_of_before_says_how_images_were_padded(
    exact, tmp_path, scenes
):
    """By its model alone: both were one switch, and on by default."""
    model = replace(TINY.model, exact_padding=exact)
    recipe = replace(TINY, model=model, exact_padding=not exact)
    path = tmp_path / "recipe.json"
    text = recipe_json(recipe, Engine(), scenes, scenes, None)
    path.write_text(text)
    assert read_recipe(path).recipe == recipe
    content = json.loads(text)
    del content["recipe"]["exact_padding"]
    path.write_text(json.dumps(content))
    assert read_recipe(path).recipe == replace(recipe, exact_padding=exact)


def test_a_recipe_is_written_by_a_package_that_is_not_installed(
    monkeypatch, scenes
):
    """Such as one found by PYTHONPATH."""
    found = Distribution.from_name

    def from_name(name):
        if name.startswith("detr"):
            raise PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(Distribution, "from_name", from_name)
    text = recipe_json(TINY, Engine(), scenes, scenes, None)
    assert json.loads(text)["versions"]["detr-lite"] == detr_lite.__version__


def test_a_run_is_done_again_from_its_recipe(tmp_path, capsys):
    first, again, other = (tmp_path / n for n in ("first", "again", "other"))
    run("--out", first, "--seed", 4, "--steps", 3)
    run("--recipe", first / "recipe.json", "--out", again)
    assert "other data" not in capsys.readouterr().err
    assert same(weights(first), weights(again))
    run("--recipe", first / "recipe.json", "--out", other, "--seed", 5)
    assert not same(weights(first), weights(other))


def test_data_of_ones_own_are_named_again_and_compared(
    tmp_path, scenes, capsys
):
    for name, count in (("mine", 5), ("fewer", 4)):
        on_disk(Part(scenes, range(count)), tmp_path / name)
    first, again, other = (tmp_path / n for n in ("first", "again", "other"))
    run("--data", tmp_path / "mine", "--out", first)
    recipe = ["--recipe", first / "recipe.json"]
    assert main(["train", *map(str, [*recipe, "--out", again])]) == 1
    assert "--data" in capsys.readouterr().err
    run(*recipe, "--data", tmp_path / "mine", "--out", again)
    assert "other data" not in capsys.readouterr().err
    assert same(weights(first), weights(again))
    run(*recipe, "--data", tmp_path / "fewer", "--out", other)
    assert "other data" in capsys.readouterr().err


def test_a_run_from_weights_starts_from_them_again(tmp_path, data, sure_model):
    save_model(sure_model, tmp_path / "start.safetensors")
    data = ["--data", data]
    first, again = tmp_path / "first", tmp_path / "again"
    run("--preset", "finetune", "--from", tmp_path / "start.safetensors",
        *data, "--steps", 2, "--out", first)  # fmt: skip
    run("--recipe", first / "recipe.json", *data, "--out", again)
    assert same(weights(first), weights(again))


@pytest.mark.parametrize(
    "arguments", [["--steps", "3"], ["--lr", "1"], ["--joint"]]
)
def test_a_run_is_done_again_as_it_was(arguments, tmp_path, capsys):
    arguments += ["--recipe", "recipe.json", "--out", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 1
    assert "as it was" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing cannot be read"):
        read_recipe(tmp_path / "nothing")
    (tmp_path / "text").write_text("{")
    with pytest.raises(ConfigError, match="text is not valid JSON"):
        read_recipe(tmp_path / "text")


def test_fingerprints_tell_data_apart(scenes, tmp_path):
    splits = [
        SceneSplit(7, 8),
        SceneSplit(8, 8),
        SceneSplit(7, 9),
        Part(SceneSplit(7, 9), range(8)),
        Part(SceneSplit(7, 9), range(1, 9)),
        Part(SceneSplit(7, 8), [0]),
    ]
    prints = [json.dumps(fingerprint(s)) for s in splits]
    assert len(set(prints)) == len(prints)
    assert fingerprint(SceneSplit(7, 8)) == fingerprint(splits[0])


def test_fine_tuning_cuts_parts_of_large_images_alone(scenes):
    large = replace(recipes.SCENES_CONFIG, shortest=800, longest=1333)
    assert finetune(large).augment
    assert not finetune(recipes.SCENES_CONFIG).augment
