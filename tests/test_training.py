"""Training: reproducible to the bit, resumable, and frozen where it says."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tqdm
from accelerate import Accelerator
from support import (
    CONFIG,
    TINY,
    TWO_CLASSES,
    Kill,
    Malicious,
    logged,
    randomized,
    same_weights,
    sampled,
)

from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError, DataError, OutputError
from detr_lite.inference.loading import load_backbone, load_model
from detr_lite.inference.model import build_model
from detr_lite.models import memory_format
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import PRESETS, Phase, learning_rate, preset
from detr_lite.training.train import ProgressBar, train


def run(out, split, recipe=TINY, **options):
    return train(
        recipe,
        split,
        split,
        out,
        **{"log_every": 1, "evaluations": 1} | options,
    )


@pytest.fixture(scope="module")
def whole(_cache, tmp_path_factory):
    """A run from its start to its end."""
    return run(tmp_path_factory.mktemp("whole"), SceneSplit(7, 8))


def test_the_same_seed_gives_the_same_weights_bit_for_bit(
    whole, scenes, tmp_path
):
    again = run(tmp_path, scenes)
    assert same_weights(again.model, whole.model)
    assert again.evaluation.metrics == whole.evaluation.metrics


def test_another_seed_gives_other_weights(whole, scenes, tmp_path):
    run(tmp_path, scenes, replace(TINY, phases=TINY.phases[:1], seed=1))
    mine, other = (
        (folder / "backbone.safetensors").read_bytes()
        for folder in (whole.folder, tmp_path)
    )
    assert mine != other


FIRST = replace(TINY, phases=TINY.phases[:2])


@pytest.fixture(scope="module")
def unfinished(_cache, tmp_path_factory):
    """A run of FIRST that was killed in its second phase."""
    out, kill = tmp_path_factory.mktemp("unfinished"), Kill("boxes", 2)
    with pytest.raises(KeyboardInterrupt):
        run(out, SceneSplit(7, 8), FIRST, watch=kill, checkpoint_seconds=0)
    return out


@pytest.fixture
def killed(unfinished, tmp_path):
    """A copy of it."""
    return shutil.copytree(unfinished, tmp_path / "killed")


# Before the first checkpoint, after backbone's first step, there is nothing
# to resume.
PLACES = ["backbone 2", "boxes 3", "masks 1", "joint 3", "backbone 3"]
PLACES += ["boxes 1", "boxes 2", "masks 2", "masks 3", "joint 1", "joint 2"]


@pytest.mark.parametrize("place", sampled(PLACES, 4))
def test_a_killed_run_that_is_resumed_ends_at_the_same_weights(
    whole, scenes, tmp_path, place
):
    phase, step = place.split()
    kill = Kill(phase, int(step))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, scenes, watch=kill, checkpoint_seconds=0)
    assert not (tmp_path / "model.safetensors").exists()
    torch.manual_seed(99)  # another process has another random state
    result = run(tmp_path, scenes, resume=True, checkpoint_seconds=0)
    assert same_weights(result.model, whole.model)
    assert result.evaluation.metrics == whole.evaluation.metrics


def test_a_run_killed_twice_ends_at_the_same_weights(whole, scenes, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, scenes, watch=Kill("boxes", 2), checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path,
            scenes,
            watch=Kill("masks", 2),
            resume=True,
            checkpoint_seconds=0,
        )
    result = run(tmp_path, scenes, resume=True)
    assert same_weights(result.model, whole.model)


def test_a_run_writes_a_model_that_loads_bit_for_bit(whole):
    model = load_model(whole.folder / "model.safetensors", device="cpu")
    assert same_weights(model, whole.model)


def test_a_run_writes_its_figures(whole):
    content = json.loads((whole.folder / "metrics.json").read_text())
    assert content["metrics"] == whole.evaluation.metrics
    assert content["images"] == 8


def test_a_finished_run_leaves_only_its_results(whole):
    names = {p.name for p in whole.folder.iterdir()}
    assert names == {
        ".detr-lite",
        "recipe.json",
        "backbone.safetensors",
        "log.jsonl",
        "metrics.json",
        "model.safetensors",
    }


def test_the_log_has_the_losses_of_every_step_and_the_metrics(whole):
    lines = logged(whole.folder)
    names = {
        "backbone": {"loss", "accuracy"},
        "boxes": {"loss", "class", "l1", "giou"},
        "masks": {"loss", "focal", "dice"},
        "joint": {"loss", "class", "l1", "giou", "focal", "dice"},
    }
    for phase, losses in names.items():
        mine = [line for line in lines if line["phase"] == phase]
        steps = [line["step"] for line in mine if "loss" in line]
        assert steps == [1, 2, 3]
        for line in mine:
            assert line["seconds"] >= 0
            assert "box_ap" in line or losses <= line.keys()
        measured = [line for line in mine if "box_ap" in line]
        assert len(measured) == (phase != "backbone")
        assert all(("pq" in line) == (phase != "boxes") for line in measured)


def test_the_watcher_hears_of_every_step_and_so_does_the_bar(
    scenes, tmp_path, capsys
):
    heard = []

    def watch(progress):
        heard.append(progress)
        bar.watch(progress)

    with ProgressBar(FIRST) as bar:
        run(tmp_path, scenes, FIRST, watch=watch)
    assert "6/6" in capsys.readouterr().err
    steps = [(p.phase, p.step) for p in heard if p.losses]
    assert steps == [(n, i) for n in ("backbone", "boxes") for i in (1, 2, 3)]
    assert all(p.steps == 3 for p in heard)
    assert "box_ap" in heard[-1].metrics


def test_the_backbone_that_was_learned_is_the_one_that_is_used(
    scenes, tmp_path
):
    recipe = replace(TINY, phases=TINY.phases[:1])
    model = run(tmp_path, scenes, recipe).model
    other = build_model(CONFIG, SCENE_CATEGORIES)
    load_backbone(other, tmp_path / "backbone.safetensors")
    bodies = (m.detr.backbone[0].body for m in (model, other))
    assert same_weights(*bodies)


LIMITS = (96, 160)


class Trainer(PhaseTrainer):
    """A phase that takes its images itself, all of a step's at once."""

    def step(self, step):
        return super().step(step, self.order.batches(step, Share(), LIMITS))


def trainer(name, split, **options):
    """Return a model and the trainer of one phase of it."""
    usual = {"batch_size": 4, "lr": 1e-3, "warmup": 1, "clip": 1.0}
    phase = Phase(name, 30, **usual | options)
    torch.manual_seed(1)
    model = build_model(CONFIG, SCENE_CATEGORIES)
    recipe = replace(TINY, phases=(phase,))
    order = BatchOrder(split, phase, seed=0)
    made = Trainer(model, phase, recipe, split.categories, Accelerator())
    made.order = order
    return model, made


def copied(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def moved(module, before):
    """Return the names of the tensors that are not what they were."""
    after = module.state_dict()
    return {k for k in before if not torch.equal(before[k], after[k])}


def test_phase_masks_leaves_the_detector_as_it_is_bit_for_bit(scenes):
    model, masks = trainer("masks", scenes)
    detector, head = copied(model.detr), copied(model.mask_head)
    maps = copied(model.bbox_attention)
    for step in range(3):
        masks.step(step)
    assert moved(model.detr, detector) == set()
    assert moved(model.mask_head, head) == head.keys()
    # A key bias adds the same to all scores of a head; joint heads see it.
    assert moved(model.bbox_attention, maps) == maps.keys()


def test_phase_masks_has_no_dropout_in_the_frozen_detector(scenes):
    _, masks = trainer("masks", scenes, lr=0.0)
    first, second = masks.step(0), masks.step(0)
    assert torch.equal(first["loss"], second["loss"])


def test_phase_boxes_has_dropout(scenes):
    """Or the test above would prove nothing."""
    _, boxes = trainer("boxes", scenes, lr=0.0)
    first, second = boxes.step(0), boxes.step(0)
    assert not torch.equal(first["loss"], second["loss"])


def test_the_first_phase_with_masks_starts_from_the_decoders_attention(
    whole, scenes, tmp_path
):
    """Phases that learn nothing show where the maps start."""
    still = {"steps": 1, "batch_size": 4, "lr": 0.0}
    phases = (Phase("boxes", **still | {"lr": 1e-3}), Phase("masks", **still))
    recipe = replace(TINY, phases=phases)
    result = run(tmp_path, scenes, recipe, detector=whole.model.detr)
    decoder = result.model.detr.transformer.decoder
    weight = decoder.layers[-1].multihead_attn.in_proj_weight
    maps = result.model.bbox_attention
    assert torch.equal(maps.q_linear.weight, weight[:32])
    assert torch.equal(maps.k_linear.weight, weight[32:64])


def test_phase_boxes_trains_the_detector_alone(scenes):
    model, boxes = trainer("boxes", scenes)
    before = copied(model)
    boxes.step(0)
    boxes.step(1)
    trained = {name for name, _ in model.detr.named_parameters()}
    assert moved(model, before) == {f"detr.{name}" for name in trained}


def test_phase_joint_trains_everything(scenes):
    model, joint = trainer("joint", scenes)
    before = copied(model)
    joint.step(0)
    joint.step(1)
    assert moved(model, before) == {n for n, _ in model.named_parameters()}


def test_the_backbone_may_learn_more_slowly(scenes):
    model, boxes = trainer("boxes", scenes, backbone_lr=0.0)
    before = copied(model.detr)
    boxes.step(0)
    names = moved(model.detr, before)
    assert names
    assert not any(name.startswith("backbone") for name in names)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("backbone", 20), ("boxes", 40), ("masks", 60), ("joint", 40)],
)
def test_a_phase_learns_one_picture_by_heart(scenes, name, steps):
    model, phase = trainer(
        name, Part(scenes, [2]), batch_size=1, lr=2e-3, clip=10.0
    )
    randomized(model)
    losses = [phase.step(0)["loss"].item() for _ in range(steps)]
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


def test_an_unknown_phase_is_refused(scenes):
    with pytest.raises(ConfigError, match="'mask'"):
        trainer("mask", scenes)


def test_the_learning_rate_rises_and_falls():
    phase = Phase("boxes", steps=100, batch_size=1, lr=2.0, warmup=10)
    rates = [learning_rate(phase, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(1.0)
    assert rates[99] < 0.001
    top = rates.index(max(rates))
    assert 5 < top < 15
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_folder_that_holds_a_run_is_refused(whole, scenes):
    before = (whole.folder / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run"):
        run(whole.folder, scenes)
    assert (whole.folder / "model.safetensors").read_bytes() == before


def test_a_folder_that_holds_an_unfinished_run_is_refused(scenes, killed):
    with pytest.raises(ConfigError, match="--resume"):
        run(killed, scenes, FIRST)


def test_nothing_can_be_resumed_from_an_empty_folder(scenes, tmp_path):
    with pytest.raises(ConfigError, match="no unfinished run"):
        run(tmp_path, scenes, resume=True)


def test_a_checkpoints_code_does_not_run(scenes, tmp_path):
    proof = tmp_path / "proof"
    torch.save({"model": Malicious(proof)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt cannot be read"):
        run(tmp_path, scenes, resume=True)
    assert not proof.exists()


def test_a_full_disk_leaves_no_half_checkpoint(scenes, tmp_path, monkeypatch):
    def full(path, content):
        # A view of a BytesIO in a traceback makes Python 3.12.1 crash.
        assert isinstance(content, bytes)
        with path.open("wb") as file:
            file.write(bytes(content)[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        run(tmp_path, scenes, checkpoint_seconds=0)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {".detr-lite", "log.jsonl", "recipe.json"}


class Without(Part):
    """The same images with another list of classes."""

    def __init__(self, split):
        super().__init__(split, range(len(split)))
        self.categories = TWO_CLASSES


def test_validation_data_of_other_classes_are_refused(scenes, tmp_path):
    with pytest.raises(DataError, match="different categories"):
        train(TINY, scenes, Without(scenes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_without_any_segment_are_refused(scenes, tmp_path):
    empty = Part(scenes, [])
    for pair in ((empty, scenes), (scenes, empty)):
        with pytest.raises(DataError, match="no segment at all"):
            train(TINY, *pair, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_without_phases_is_refused(scenes, tmp_path):
    with pytest.raises(ConfigError, match="at least one phase"):
        run(tmp_path, scenes, replace(TINY, phases=()))


def test_presets_are_changed_by_name():
    assert preset("quick", seed=4) == replace(PRESETS["quick"], seed=4)
    with pytest.raises(ConfigError, match="quick, full"):
        preset("slow")


@pytest.fixture
def bars(monkeypatch):
    """The bars that tqdm has made."""
    made, bar = [], tqdm.tqdm
    monkeypatch.setattr(
        tqdm, "tqdm", lambda **how: made.append(bar(**how)) or made[-1]
    )
    return made


def test_a_resumed_run_goes_on_in_its_bar_and_its_seconds(
    scenes, killed, bars
):
    """Steps of the run before are not taken for steps of this second."""
    path = killed / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    assert 0 < saved["seconds"] < 600
    saved["seconds"] += 1000
    torch.save(saved, path)
    with ProgressBar(FIRST) as bar:
        run(killed, scenes, FIRST, resume=True, watch=bar.watch)
        total = sum(phase.steps for phase in FIRST.phases)
        begun = FIRST.phases[0].steps + 1  # step 2 was not saved any more
        assert (bars[0].initial, bars[0].n) == (begun, total)
    assert 1000 < logged(killed)[-1]["seconds"] < 1600


def test_masks_are_trained_on_a_given_detector(whole, scenes, tmp_path):
    detector = whole.model.detr
    recipe = replace(TINY, phases=TINY.phases[2:3])
    result = run(tmp_path, scenes, recipe, detector=detector)
    assert same_weights(result.model.detr, detector)
    assert not same_weights(result.model.mask_head, whole.model.mask_head)


@pytest.mark.parametrize(
    ("width", "wanted"),
    [(8, torch.contiguous_format), (16, torch.channels_last)],
)
@pytest.mark.parametrize("bottleneck", [False, True])
def test_narrow_models_keep_off_channels_last(width, wanted, bottleneck):
    config = replace(
        CONFIG,
        resnet_width=width // (4 if bottleneck else 1),
        bottleneck=bottleneck,
    )
    assert memory_format(config) is wanted


def test_phases_may_share_a_name(whole, scenes, tmp_path, bars):
    """The second goes on where the first has ended, and so may a resumed."""
    boxes, masks = (replace(p, steps=2) for p in TINY.phases[1:3])
    recipe = replace(TINY, phases=(boxes, masks, boxes, masks))
    start = {"recipe": recipe, "detector": whole.model.detr}
    seen = []
    usual = run(tmp_path / "whole", scenes, watch=seen.append, **start)
    assert sorted({p.number for p in seen}) == [0, 1, 2, 3]
    with ProgressBar(recipe) as bar:
        for progress in seen:
            bar.watch(progress)
        assert bars[0].n == sum(p.steps for p in recipe.phases)
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        run(out, scenes, watch=Kill(3, 2), checkpoint_seconds=0, **start)
    again = run(out, scenes, resume=True, **start)
    assert same_weights(again.model, usual.model)
