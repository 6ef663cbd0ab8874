"""A run by its files and its weights: what it refuses, and what it keeps."""

import math
import os
import re
import shutil
import signal
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from support import (
    CONFIG,
    TINY,
    Kill,
    contents,
    edited,
    gradients,
    logged,
    refusal,
    same_weights,
)
from torch.utils.data import _utils

from detr_lite.cli.main import main
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.scenes import SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError, DataError, OutputError
from detr_lite.files import output
from detr_lite.inference.model import build_model
from detr_lite.training import batches
from detr_lite.training import train as training
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import Engine, preset, with_steps
from detr_lite.training.train import train

BOXES = replace(TINY, phases=TINY.phases[1:2])


def run(out, split, recipe=BOXES, validation=None, **options):
    options = {"log_every": 1, "evaluations": 1, "device": "cpu"} | options
    if recipe.phases[0].name != "backbone":  # of which no weights are here
        torch.manual_seed(0)
        detector = build_model(CONFIG, split.categories).detr
        options = {"detector": detector} | options
    return train(recipe, split, validation or split, out, **options)


def stopped(out, split, recipe=BOXES, step=2, phase="boxes", **options):
    """Leave a run with a checkpoint after step - 1."""
    options |= {"watch": Kill(phase, step), "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        run(out, split, recipe, **options)


@pytest.fixture(scope="module")
def usual(_cache, tmp_path_factory):
    """A run of BOXES, with a line in its log for each step."""
    return run(tmp_path_factory.mktemp("usual"), SceneSplit(7, 8))


@pytest.fixture(scope="module")
def stopped_once(_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("stopped")
    stopped(out, SceneSplit(7, 8))
    return out


@pytest.fixture
def begun(stopped_once, tmp_path):
    """A run of BOXES that stopped after a checkpoint."""
    return shutil.copytree(stopped_once, tmp_path / "begun")


def refused(out, split, *words, error=ConfigError, **options):
    before = contents(out)
    with refusal(*words, error=error):
        run(out, split, **options)
    assert contents(out) == before


def test_classes_in_another_order_cannot_be_resumed(data, tmp_path):
    """Label 0 would mean another class than it did before."""
    out = tmp_path / "run"
    stopped(out, CocoPanoptic.from_folder(data))
    edited(data, lambda c: c["categories"].reverse())
    other = CocoPanoptic.from_folder(data)
    refused(out, other, "data.training", "other settings", resume=True)


def test_other_pictures_cannot_be_resumed(scenes, begun):
    other = SceneSplit(8, 8)
    words = "data.training.scenes.seed was 7, and is 8"
    refused(begun, other, words, resume=True)
    words = "data.validation.scenes.seed was 7, and is 8"
    refused(begun, scenes, words, resume=True, validation=other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 5}, "seed was 0, and is 5"),
        ({"weight_decay": 0.5}, "weight_decay was 0.0001, and is 0.5"),
        ({"model": replace(CONFIG, dropout=0.2)}, "model.dropout was 0.1"),
        (
            {"phases": (replace(TINY.phases[1], lr=0.5),)},
            "phases.0.lr was 0.001, and is 0.5",
        ),
        ({"phases": TINY.phases[1:3]}, "phases.1"),
    ],
)
def test_another_recipe_is_told_by_name_and_values(
    scenes, begun, changes, words
):
    recipe = replace(BOXES, **changes)
    refused(begun, scenes, words, resume=True, recipe=recipe)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(accumulate=2),
        Engine(checkpoint_masks=True),
        Engine(workers=1),
    ],
)
def test_what_moves_memory_about_may_change(scenes, tmp_path, engine):
    recipe = replace(TINY, phases=TINY.phases[2:3])
    stopped(tmp_path / "run", scenes, recipe, phase="masks")
    result = run(tmp_path / "run", scenes, recipe, resume=True, engine=engine)
    assert (result.folder / "model.safetensors").exists()


def losses(result):
    """Return the lines of the log that have losses."""
    return [line for line in logged(result.folder) if "loss" in line]


def longer(steps):
    return replace(BOXES, phases=(replace(BOXES.phases[0], steps=steps),))


def test_a_run_may_be_given_more_steps(scenes, begun):
    result = run(begun, scenes, longer(5), resume=True)
    assert [line["step"] for line in losses(result)] == [1, 2, 3, 4, 5]


def test_a_run_cannot_be_given_fewer_steps_than_it_has_done(scenes, begun):
    refused(
        begun,
        scenes,
        "has done 1 steps of phase boxes, which shall have 1; give it more",
        recipe=longer(1),
        resume=True,
    )


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        {"model": {"a": torch.ones(1)}},
        {"settings": 3, "phase": 0, "step": 0},
        torch.ones(1),
    ],
)
def test_a_foreign_file_is_no_checkpoint(scenes, tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    refused(tmp_path, scenes, "cannot be read as a checkpoint", resume=True)


def test_a_checkpoint_of_no_numbers_is_refused(scenes, begun):
    path = begun / "checkpoint.pt"
    saved = torch.load(path)
    name = "detr.query_embed.weight"
    saved["model"][name][3] = math.nan
    torch.save(saved, path)
    words = "checkpoint.pt", name, "not finite"
    refused(begun, scenes, *words, error=DataError, resume=True)


@pytest.mark.parametrize("phase", ["backbone", "boxes", "masks", "joint"])
def test_numbers_that_stop_being_finite_are_told_and_not_kept(
    scenes, tmp_path, monkeypatch, phase
):
    """With step, images and layer; the last good checkpoint stays."""
    (chosen,) = (p for p in TINY.phases if p.name == phase)
    recipe = replace(TINY, phases=(replace(chosen, steps=9),))
    step = PhaseTrainer.step

    def spoil(self, number, batches):
        if number == 4:
            named = dict(self.bare.named_modules())
            (layer,) = (
                m
                for n, m in named.items()
                if n.endswith("body.layer3.0.conv1")
            )
            with torch.no_grad():
                layer.weight[0, 0, 0, 0] = math.inf
        return step(self, number, batches)

    monkeypatch.setattr(PhaseTrainer, "step", spoil)
    words = f"step 5 of phase {phase}", "body.layer3.0.conv1,"
    with refusal(*words, error=DataError) as caught:
        run(tmp_path, scenes, recipe, log_every=20, checkpoint_seconds=0)
    text = str(caught.value)
    ids = re.search(r"of the images ([\d, ]+);", text)[1].split(", ")
    assert len(ids) == 4
    assert {*map(int, ids)} <= {s.image_id for s in scenes}
    assert not (tmp_path / "model.safetensors").exists()
    saved = torch.load(tmp_path / "checkpoint.pt")
    assert saved["step"] == 4
    for tensor in saved["model"].values():
        assert tensor.isfinite().all()


def test_gradients_that_are_not_finite_leave_the_weights(scenes, tmp_path):
    """A rate that is wild makes them so, after losses that are numbers."""
    wild = replace(BOXES.phases[0], lr=1e30, clip=1e30, steps=9, warmup=0)
    words = r"not finite in step [23] of .* lower the learning rate"
    with pytest.raises(DataError, match=words):
        run(
            tmp_path,
            scenes,
            replace(BOXES, phases=(wild,)),
            checkpoint_seconds=0,
            log_every=20,
        )
    for path in tmp_path.glob("checkpoint.pt"):
        for tensor in torch.load(path)["model"].values():
            assert tensor.isfinite().all()


def test_two_runs_cannot_enter_one_folder(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(output, "PATIENCE", 0.1)
    seen = []

    def watch(progress):
        if not seen:
            for resume in (False, True):
                with pytest.raises(OutputError, match="Another process"):
                    run(tmp_path, scenes, resume=resume)
                seen.append(resume)

    run(tmp_path, scenes, watch=watch, checkpoint_seconds=0)
    assert seen == [False, True]
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize("name", ["log_every", "evaluations"])
def test_counts_of_nothing_are_refused(scenes, tmp_path, name):
    refused(tmp_path, scenes, name, **{name: 0})


def test_a_home_may_be_written_as_a_tilde(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("~/run", scenes, longer(1))
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("of", ["training", "validation"])
def test_crowds_alone_are_nothing_to_learn_from(scenes, tmp_path, of):
    class Crowds(Part):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, crowd=torch.ones_like(sample.crowd))

    crowds = Crowds(scenes, range(8))
    split, held = (crowds, scenes) if of == "training" else (scenes, crowds)
    refused(
        tmp_path,
        split,
        f"The {of} data",
        "crowds alone",
        error=DataError,
        validation=held,
    )


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("megabytes", "workers", "words"),
    [
        (64, 1, None),
        (2, 2, "--workers 1,"),
        (0.1, 1, "--workers 0,"),
        (0.1, 0, None),
    ],
)
def test_workers_need_room_in_shared_memory(
    scenes, tmp_path, monkeypatch, megabytes, workers, words
):
    """4 images of 96 x 160 pixels of 13 bytes, twice, for each worker."""
    usage = Usage(0, 0, int(megabytes * 1e6))
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda path: usage)
    engine = Engine(workers=workers)
    if words is None:
        run(tmp_path, scenes, longer(1), engine=engine)
    else:
        refused(tmp_path, scenes, words, "--shm-size", engine=engine)


def test_a_killed_worker_gets_a_sentence(scenes, tmp_path):
    def children():
        text = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        return text.read_text().split()

    before = children()

    def watch(progress):
        if progress.step > 1:  # after a checkpoint
            for number in {*children()} - {*before}:
                os.kill(int(number), signal.SIGKILL)
            time.sleep(1)

    with pytest.raises(ConfigError, match=r"A worker .*--resume"):
        run(
            tmp_path,
            scenes,
            longer(50),
            engine=Engine(workers=1),
            watch=watch,
            checkpoint_seconds=0,
        )
    assert (tmp_path / "checkpoint.pt").exists()


def test_workers_that_stand_still_get_a_sentence(
    scenes, tmp_path, monkeypatch
):
    monkeypatch.setattr(batches, "STALLED", 1)
    # Seconds that torch waits for a worker before it ends it.
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.1)

    class Asleep(Part):
        def __getitem__(self, index):
            if torch.utils.data.get_worker_info():
                time.sleep(60)
            return super().__getitem__(index)

    with pytest.raises(ConfigError, match=r"A worker .*timed out"):
        run(tmp_path, Asleep(scenes, range(8)), engine=Engine(workers=1))


@pytest.mark.parametrize("name", ["quick", "full", "coco", "finetune"])
def test_any_number_of_steps_is_that_number(name):
    phases = len(preset(name).phases)
    for steps in [*range(phases, 40), 999, 10_000]:
        chosen = with_steps(preset(name), steps).phases
        assert sum(p.steps for p in chosen) == steps
        assert min(p.steps for p in chosen) >= 1


@pytest.mark.parametrize("phase", ["backbone", "joint"])
def test_what_is_said_after_an_interruption_leads_on(
    tiny_preset, tmp_path, monkeypatch, capsys, phase
):
    """A run that is terminated, and then resumed if that was said."""

    def watch(bar, progress):
        if progress.phase == phase:
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "run"
    words = ["train", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(training.ProgressBar, "watch", watch)
        assert main(words) == 130
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("detr-lite: stopped")
    assert not [p for p in out.iterdir() if p.name.startswith(".unf")]
    assert not (out / ".detr-lite.lock").exists()
    resumed = phase == "joint"  # before it the backbone's was saved
    assert ("--resume" in last) == resumed == (out / "checkpoint.pt").exists()
    assert main([*words, "--resume"]) == (0 if resumed else 1)


def test_the_log_has_means_of_steps_not_sums(usual, scenes, tmp_path):
    each = losses(usual)
    (mean,) = losses(run(tmp_path, scenes, log_every=3))
    for name in ("loss", "giou"):
        wanted = sum(line[name] for line in each) / 3
        assert mean[name] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"weight_decay": 0.9},
        {"no_object_weight": 1.0},
        {"freeze_stem": True},
    ],
)
def test_what_the_recipe_says_reaches_the_steps(
    usual, scenes, tmp_path, change
):
    other = run(tmp_path, scenes, replace(BOXES, **change))
    assert same_weights(usual.model, other.model) == (change == {})


@pytest.mark.parametrize("weight", [0.01, 0.4, 100.0])
def test_the_class_loss_is_a_mean_by_the_recipes_weight(
    scenes, tmp_path, weight
):
    """At the start all queries are about as unsure, whatever they weigh."""
    recipe = replace(longer(1), no_object_weight=weight)
    (first,) = losses(run(tmp_path, scenes, recipe))
    assert first["class"] == pytest.approx(math.log(9), rel=0.3)


@pytest.mark.parametrize("clip", [1e-3, 1e9])
def test_gradients_are_clipped_to_the_phases_norm(scenes, clip):
    torch.manual_seed(0)
    model = build_model(CONFIG, scenes.categories)
    phase = replace(BOXES.phases[0], clip=clip)
    order = batches.BatchOrder(scenes, phase, 0)
    trainer = PhaseTrainer(
        model, phase, replace(BOXES, phases=(phase,)), order, Accelerator()
    )
    trainer.step(0, order.batches(0, batches.Share(), (96, 160)))
    squares = [(g.double() ** 2).sum() for g in gradients(model).values()]
    norm = float(sum(squares)) ** 0.5
    assert norm == pytest.approx(clip, rel=1e-3) if clip < 1 else norm > 1


def test_an_evaluation_within_a_phase_changes_nothing(scenes, tmp_path):
    """The frozen detector's dropout stays off after it."""
    phase = replace(TINY.phases[2], steps=4)
    recipe = replace(TINY, phases=(phase,))
    models = [
        run(tmp_path / str(n), scenes, recipe, evaluations=n).model
        for n in (1, 4)
    ]
    assert same_weights(*models)


def test_a_transform_makes_what_the_model_sees(usual, scenes, tmp_path):
    seen = []

    def transform(sample, generator):
        seen.append(sample.image_id)
        return replace(sample, image=torch.zeros_like(sample.image))

    black = run(tmp_path, scenes, transform=transform)
    assert len(seen) == 3 * 4
    assert not same_weights(black.model, usual.model)


def test_void_is_no_class_to_the_backbone(scenes, tmp_path):
    """Where class 0 becomes void, other pixels are learned from."""

    class Void(Part):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            void = sample.segment_ids[sample.labels == 0]
            left = sample.labels != 0
            return replace(
                sample,
                id_map=sample.id_map.masked_fill(
                    torch.isin(sample.id_map, void.int()), 0
                ),
                segment_ids=sample.segment_ids[left],
                labels=sample.labels[left],
                crowd=sample.crowd[left],
            )

    assert any((s.labels == 0).any() for s in scenes)
    recipe = with_steps(replace(TINY, phases=TINY.phases[:1]), 1)
    first, second = (
        losses(run(tmp_path / name, split, recipe))[0]["loss"]
        for name, split in (
            ("usual", scenes),
            ("void", Void(scenes, range(8))),
        )
    )
    assert abs(first - second) > 1e-3


def test_each_process_draws_its_own_dropout(scenes, tmp_path, monkeypatch):
    seeds, made = [], Accelerator(cpu=True)

    def transform(sample, generator):
        seeds.append(torch.initial_seed())
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "make_accelerator", lambda device: made)
    for index in range(2):
        monkeypatch.setattr(Accelerator, "process_index", index)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / str(index), scenes, transform=transform)
    assert seeds[0] != seeds[1]
