"""detr-lite train: from given weights, with all options."""

from dataclasses import replace

import pytest
import torch
from support import TINY, as_coco, edited, on_disk, same_weights

from detr_lite.cli.main import main
from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.training import estimate, recipes
from detr_lite.training import train as training
from detr_lite.training.recipes import finetune, with_steps
from detr_lite.training.train import train
from detr_lite.weights.writing import save_model


def command(*arguments):
    return main(["train", *map(str, arguments)])


def test_fine_tuning_starts_from_the_weights(
    capsys, model_file, data, tmp_path, sure_model
):
    """A step at a rate of nearly nothing leaves nearly what was there."""
    out = tmp_path / "run"
    arguments = ["--preset", "finetune", "--from", model_file, "--data", data]
    assert command(*arguments, "--steps", 2, "--lr", 1e-30, "--out", out) == 0
    model = load_model(out / "model.safetensors", "cpu")
    assert model.config == sure_model.config
    assert same_weights(model, sure_model)
    said = capsys.readouterr().out
    assert "phase boxes: 1 steps of 8 images" in said
    assert "the detector is frozen" in said
    assert "not in the file" not in said


class Other(Part):
    """Scenes whose labels count in another list, with one class more."""

    def __init__(self, split, indices):
        super().__init__(split, indices)
        kite = Category(77, "kite", True, (9, 9, 9))
        self.categories = Categories([kite, *reversed(split.categories)])

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return replace(sample, labels=8 - sample.labels)


def test_fine_tuning_for_other_classes_renews_the_class_head(
    capsys, model_file, scenes, tmp_path, sure_model
):
    folder = on_disk(Other(scenes, [0, 1, 2]), tmp_path / "other")
    out = tmp_path / "run"
    arguments = ["--preset", "finetune", "--from", model_file]
    arguments += ["--data", folder, "--steps", 2, "--lr", 1e-30, "--out", out]
    assert command(*arguments) == 0
    model = load_model(out / "model.safetensors", "cpu")
    assert model.categories == CocoPanoptic.from_folder(folder).categories
    assert model.config.num_queries == sure_model.config.num_queries
    old = sure_model.detr.class_embed.weight
    new = model.detr.class_embed.weight
    assert torch.equal(new[1:9], old[:8].flip(0))  # what both know is kept
    assert torch.equal(new[9], old[8])
    assert "class" in capsys.readouterr().out


def test_new_weights_of_a_fine_tuned_model_are_those_of_the_seed(
    heard, data, tmp_path, model_file
):
    """The file's classes have other names, so that all of them are new."""
    edited(data, rename)
    made = []
    for number, seed in enumerate((1, 1, 2)):
        command(
            "--preset", "finetune", "--from", model_file, "--data", data,
            "--seed", seed, "--out", tmp_path / f"run{number}",
        )  # fmt: skip
        made.append(heard["start"].detr.class_embed.weight[:8])
    assert torch.equal(made[0], made[1])
    assert not torch.isclose(made[0], made[2]).any()


def rename(content):
    for category in content["categories"]:
        category["name"] = f"new {category['name']}"


def test_the_options_reach_the_training(heard, data, tmp_path, model_file):
    code = command(
        "--preset", "finetune", "--from", model_file, "--data", data,
        "--validation", data, "--precision", "bf16", "--accumulate", 2,
        "--checkpoint-masks", "--workers", 3, "--seed", 5, "--joint",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 130
    assert heard["engine"] == recipes.Engine("bf16", 2, True, 3)
    assert heard["recipe"].seed == 5
    assert [p.name for p in heard["recipe"].phases] == ["joint"]
    assert len(heard["validation"]) == 4
    assert not heard["recipe"].augment  # images are small


def test_the_coco_preset_takes_cocos_folders(
    heard, monkeypatch, scenes, tmp_path
):
    """Their splits and classes; images are resized and cut at random.

    What it takes is estimated with small ones, of which few are tried.
    """
    full = recipes.PRESETS["coco"]
    small = replace(full.model, shortest=96, longest=160)
    monkeypatch.setitem(recipes.PRESETS, "coco", replace(full, model=small))
    monkeypatch.setattr(estimate, "PIXELS", 1)
    coco = tmp_path / "coco"
    for name in ("train2017", "val2017"):
        made = on_disk(Part(scenes, range(4)), tmp_path / name)
        as_coco(made, coco, name)
    out = tmp_path / "run"
    assert command("--preset", "coco", "--data", coco, "--out", out) == 130
    assert len(heard["training"]) == len(heard["validation"]) == 4
    assert heard["recipe"].model.num_classes == 8
    assert heard["recipe"].model.num_queries == 100
    assert heard["recipe"].augment


def test_the_coco_preset_asks_for_imagenets_backbone(monkeypatch, scenes):
    asked = []

    def load(model, source):
        asked.append(source)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "load_backbone", load)
    for recipe in (
        replace(TINY, phases=TINY.phases[1:], imagenet=True),
        replace(TINY, phases=TINY.phases[1:]),
    ):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, scenes, scenes, "never")
    assert asked == ["imagenet", None]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--preset", "finetune"], "--from"),
        (["--from", "scenes"], "finetune"),
        (["--preset", "finetune", "--from", "scenes"], "--data"),
        (["--preset", "coco"], "--data"),
        (["--validation", "there"], "--data"),
        (["--steps", "1"], "too few"),
        (["--lr", "-1"], "positive"),
        (["--precision", "half"], "precision"),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys, monkeypatch, scenes, tmp_path, arguments, word
):
    monkeypatch.setattr(training, "scenes_data", lambda name: (scenes, scenes))
    out = tmp_path / "run"
    assert command(*arguments, "--out", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
    assert not out.exists()


def test_a_model_that_is_not_the_recipes_cannot_be_the_start(
    sure_model, scenes, tmp_path
):
    recipe = with_steps(finetune(replace(sure_model.config, heads=4)), 2)
    with pytest.raises(ConfigError, match="configuration"):
        train(recipe, scenes, scenes, tmp_path, start=sure_model)
    recipe = with_steps(finetune(sure_model.config), 2)
    sure_model.categories = Categories(reversed(scenes.categories))
    with pytest.raises(ConfigError, match="categories=data"):
        train(recipe, scenes, scenes, tmp_path, start=sure_model)


def test_masks_that_the_start_lacks_begin_at_the_decoders_attention(
    sure_model, model_file, scenes, tmp_path
):
    """Those that it has are gone on with."""
    recipe = finetune(sure_model.config, by_shape=False)
    still = tuple(replace(p, lr=1e-30) for p in recipe.phases[1:])
    recipe = with_steps(replace(recipe, phases=still), 1)
    starts = [load_model(model_file, "cpu")]
    boxes = load_model(model_file, "cpu", masks=False)
    save_model(boxes, tmp_path / "boxes.safetensors")
    starts += [load_model(tmp_path / "boxes.safetensors", "cpu", masks=True)]
    for number, start in enumerate(starts):
        model = train(
            recipe, scenes, scenes, tmp_path / str(number), start=start
        ).model
        decoder = model.detr.transformer.decoder
        weight = decoder.layers[-1].multihead_attn.in_proj_weight[:32]
        equal = torch.equal(model.bbox_attention.q_linear.weight, weight)
        assert equal == (number == 1)
