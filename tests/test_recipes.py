"""Recipes: presets, rates, and what is said of them."""

from dataclasses import replace

import pytest
from support import CONFIG, refusal

from detr_lite.data.scenes import SceneSplit
from detr_lite.errors import ConfigError
from detr_lite.models import ModelConfig
from detr_lite.training.recipes import (
    PRESETS,
    Engine,
    Phase,
    Recipe,
    describe,
    finetune,
    joint,
    learning_rate,
    preset,
    scaled_rates,
    with_steps,
)


def test_the_coco_preset_is_the_papers():
    """300 epochs of 118,287 images, 64 a step; then masks for 25."""
    recipe = PRESETS["coco"]
    boxes, masks = recipe.phases
    assert (boxes.name, boxes.steps) == ("boxes", 554_471)
    assert (masks.name, masks.steps) == ("masks", 46_206)
    assert boxes.lr * boxes.backbone_lr == pytest.approx(1e-5)
    for phase in recipe.phases:
        assert (phase.batch_size, phase.lr, phase.clip) == (64, 1e-4, 0.1)
    assert recipe.no_object_weight == 0.1
    assert recipe.weight_decay == 1e-4
    assert recipe.model == ModelConfig(num_classes=133)
    assert recipe.freeze_stem
    assert recipe.imagenet


def test_a_rate_with_a_drop_falls_to_a_tenth():
    """As the original's, after 200 of 300 epochs, and 15 of 25."""
    boxes, masks = PRESETS["coco"].phases
    for phase, last in ((boxes, 369_647), (masks, 27_723)):
        assert learning_rate(phase, 0) == 1e-4
        assert learning_rate(phase, last) == 1e-4
        assert learning_rate(phase, last + 1) == pytest.approx(1e-5)
        assert learning_rate(phase, phase.steps - 1) == pytest.approx(1e-5)


def test_a_drop_comes_after_the_warm_up_too():
    phase = Phase("boxes", 100, 1, lr=2.0, warmup=4, drop=0.5)
    rates = [learning_rate(phase, step) for step in range(100)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[49:51] == pytest.approx([2.0, 0.2])


def test_fine_tuning_keeps_the_model_and_its_queries():
    recipe = finetune(CONFIG, seed=4)
    assert recipe.model == CONFIG
    assert recipe.seed == 4
    assert [p.name for p in recipe.phases] == ["boxes", "masks"]
    assert recipe.phases[0].lr < PRESETS["coco"].phases[0].lr


@pytest.mark.parametrize(
    ("queries", "weight"), [(12, 0.4), (50, 0.2), (100, 0.1), (300, 1 / 30)]
)
def test_the_weight_of_no_object_goes_with_the_queries(queries, weight):
    recipe = finetune(replace(CONFIG, num_queries=queries))
    assert recipe.no_object_weight == pytest.approx(weight)


@pytest.mark.parametrize(
    ("steps", "wanted", "warmup"),
    [
        (3000, [2000, 1000], [200, 100]),
        (300, [200, 100], [20, 10]),
        (2, [1, 1], [0, 0]),
        (6000, [4000, 2000], [200, 100]),
    ],
)
def test_steps_are_shared_by_the_phases(steps, wanted, warmup):
    recipe = with_steps(preset("finetune"), steps)
    assert [p.steps for p in recipe.phases] == wanted
    assert [p.warmup for p in recipe.phases] == warmup


def test_a_phase_without_a_step_is_refused():
    with pytest.raises(ConfigError, match="too few"):
        with_steps(preset("full"), 2)


def test_rates_are_changed_together():
    boxes, masks = scaled_rates(preset("finetune"), 1e-3).phases
    assert (boxes.lr, masks.lr) == pytest.approx((1e-3, 2e-3))
    with pytest.raises(ConfigError, match="positive"):
        scaled_rates(preset("finetune"), 0.0)


def test_a_description_says_steps_rates_and_what_is_frozen():
    boxes, masks = describe(preset("coco"), 118_287)
    assert "554471 steps of 64 images (300.0 looks at each)" in boxes
    assert "learning rate 0.0001, of the backbone 1e-05" in boxes
    assert "Res2 are frozen" in boxes
    assert "46206 steps" in masks
    assert "the detector is frozen" in masks
    assert "Res2" not in describe(preset("quick"), 100)[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("name", ["foo", 3, None]),
        ("steps", [0, -3, True, 2.5, "3", 2**40]),
        ("batch_size", [0, -1, 2.5, True]),
        ("lr", [-1e-3, float("nan"), float("inf"), "0.1", None]),
        ("backbone_lr", [-5, float("nan")]),
        ("warmup", [-5, 1.5]),
        ("clip", [0, -0.1, float("nan"), float("inf")]),
        ("drop", [-1, 1.5, float("nan"), "late"]),
    ],
)
def test_a_phase_that_cannot_be_is_refused(name, values):
    for value in values:
        words = f"{name} of phase ", f"it is '{value}'"
        with refusal(*words, error=ConfigError):
            Phase(**{"name": "boxes", "steps": 3, "batch_size": 2, "lr": 0.1}
                  | {name: value})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("phases", [3, (3,), PRESETS["quick"].phases[0]]),
        ("model", [None, {"width": 3}]),
        ("no_object_weight", [0, -1, float("nan")]),
        ("seed", [-1, 2**64, 1.0, "1", True]),
        ("weight_decay", [-1, float("inf")]),
        ("freeze_stem", ["no", 0]),
        ("by_shape", [None]),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(name, values):
    for value in values:
        with pytest.raises(ConfigError, match=f"^{name} should"):
            preset("quick", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("workers", "2"), ("accumulate", True), ("deterministic", "no"),
     ("precision", ["bf16"])],
)  # fmt: skip
def test_an_engine_of_other_types_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^{name} should"):
        Engine(**{name: value})


def test_a_list_of_phases_is_as_good_as_a_tuple():
    phases = PRESETS["quick"].phases
    assert Recipe(list(phases)) == Recipe(phases)


def test_a_model_without_masks_has_no_phase_for_them():
    boxes = replace(CONFIG, masks=False)
    assert Recipe(PRESETS["quick"].phases[:1], boxes).model == boxes
    for change in (lambda r: r, joint):
        with pytest.raises(ConfigError, match="masks=False, and phase"):
            replace(change(PRESETS["quick"]), model=boxes)


@pytest.mark.parametrize("count", [10**10, 10**30])
def test_more_scenes_than_memory_holds_are_refused(count):
    with pytest.raises(ConfigError, match=f"count is {count}"):
        SceneSplit(1, count, cache=False)
