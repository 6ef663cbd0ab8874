"""Training in the paper's phases: boxes, freeze, masks.

Before them, and for small models only, phase "backbone" stands in for
ImageNet weights: the backbone learns to classify the pixels of the scenes.

A run is a function of its recipe and its data: which images make up a step
follows from the seed and the step's number alone.  A killed run that is
resumed therefore ends at the same weights as one that was not.

The same `train` runs on one CPU, on one GPU, or in several processes, one
for each GPU, that share the images of a step:

    detr-lite train --out DIR
    torchrun --nproc-per-node 8 -m detr_lite train --out DIR
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d \
        --rdzv-endpoint HOST:29500 -m detr_lite train --out DIR

The last on each of 4 machines; HOST is one of them, DIR a folder that all of
them see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from detr_lite.data.scenes import (
    TRAIN_SEED,
    VALIDATION_COUNT,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.data.split import Split
from detr_lite.detr import DETR
from detr_lite.devices import device_named
from detr_lite.errors import ConfigError, DataError
from detr_lite.files.output import expanded
from detr_lite.inference.evaluation import Evaluation, evaluate
from detr_lite.inference.loading import load_backbone
from detr_lite.inference.model import PanopticModel, build_model
from detr_lite.inference.speed import deterministic
from detr_lite.training.batches import (
    BatchOrder,
    Share,
    Transform,
    check_shared_memory,
    load_steps,
)
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipe_json import recipe_json, weights_hash
from detr_lite.training.recipes import TRAIN_COUNTS, Engine, Recipe
from detr_lite.training.runs import Progress, Run, in_own_folder


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves: the model, its figures, and the folder of files."""

    model: PanopticModel
    evaluation: Evaluation
    folder: Path


def train(
    recipe: Recipe,
    train_split: Split,
    validation: Split,
    out: str | Path,
    resume: bool = False,
    watch: Callable[[Progress], None] | None = None,
    log_every: int = 20,
    evaluations: int = 2,
    checkpoint_seconds: float = 60.0,
    detector: DETR | None = None,
    engine: Engine | None = None,
    transform: Transform | None = None,
    start: PanopticModel | None = None,
    device: str | None = None,
) -> TrainResult:
    """Train a model and write it to a folder.

    Writes recipe.json (to do the run again), log.jsonl (a line each
    log_every steps and each evaluation), checkpoint.pt (to resume from),
    backbone.safetensors, model.safetensors and metrics.json.

    Args:
        recipe: what to do.
        train_split, validation: the data; `validation` is only looked at.
        out: the folder; it must not hold a run, unless resume is True.
        resume: go on where the run in the folder stopped, with the same
            data, recipe, precision and as many processes.  The phase that
            it stopped in and later ones may have another number of steps,
            if it is more than are done; recipe.json then says so.
        watch: called with a Progress at each report, in the main process.
        log_every: steps between reports.
        evaluations: evaluations in each phase, the last at its end.
        checkpoint_seconds: time between checkpoints.
        detector: trained, to start from (`--frozen_weights` in the
            original); then the recipe may consist of phase "masks" alone.
        engine: how it is run: precision, memory, workers.
        transform: makes of a sample and a torch.Generator the sample that
            the model sees, instead of what the recipe says.
        start: a model to go on from, as `load_model` returns it; it has the
            recipe's configuration and the data's categories.
        device: "cpu", "cuda" or "mps" (default: a GPU if there is one).
    """
    engine = Engine() if engine is None else engine
    for name, value, kind in (
        ("recipe", recipe, Recipe),
        ("engine", engine, Engine),
        ("detector", detector, DETR),
        ("start", start, PanopticModel),
    ):
        if value is not None and not isinstance(value, kind):
            raise ConfigError(
                f"{name} must be of the type {kind.__name__}, and is "
                f"{type(value).__name__}; give another."
            )
    if log_every < 1 or evaluations < 1:
        raise ConfigError(
            f"log_every is {log_every} and evaluations {evaluations}; both "
            "are at least 1."
        )
    out = expanded(out)
    with in_own_folder(out, resume), deterministic(engine.deterministic):
        accelerator = make_accelerator(device)
        _check(recipe, train_split, validation, engine, accelerator)
        model = _model(recipe, train_split, start, detector)
        model.to(accelerator.device)
        # From here on each process draws its own dropout.
        torch.manual_seed(recipe.seed + accelerator.process_index * 10007)
        run = Run(recipe, engine, out, accelerator, watch, checkpoint_seconds)
        report = start and start.load_report
        about = recipe_json(
            recipe,
            engine,
            train_split,
            validation,
            None if report is None else report.source,
            weights_hash(detector if start is None else start),
        )
        first_phase, first_step, state = run.start(model, resume, about)
        evaluation = None
        first_with_masks = None
        if start is None or (report and report.missing):  # no masks so far
            first_with_masks = next(
                (
                    number
                    for number, phase in enumerate(recipe.phases)
                    if phase.name in ("masks", "joint")
                ),
                None,
            )
        share = Share(
            accelerator.process_index,
            accelerator.num_processes,
            engine.accumulate,
        )
        limits = (recipe.model.shortest, recipe.model.longest)
        if transform is None and recipe.augment:
            from detr_lite.data.transforms import TrainTransform  # torchvision

            transform = TrainTransform()
        for number, phase in enumerate(recipe.phases):
            if number < first_phase:
                continue
            order = BatchOrder(
                train_split,
                phase,
                recipe.seed * 16 + number,
                transform,
                recipe.by_shape,
                recipe.exact_padding,
                None if engine.workers else accelerator.device,
            )
            trainer = PhaseTrainer(
                model,
                phase,
                recipe,
                train_split.categories,
                accelerator,
                engine,
                order,
            )
            begin = first_step if number == first_phase else 0
            if begin:
                trainer.load_state(state)
                # Last: making this trainer has drawn random numbers too.
                run.restore_random_state()
            elif number == first_with_masks:
                last_layer = model.detr.transformer.decoder.layers[-1]
                model.bbox_attention.start_from(last_layer.multihead_attn)
            every = -(-phase.steps // evaluations)
            steps = range(begin, phase.steps)
            loaded = load_steps(
                order,
                steps,
                share,
                limits,
                engine.workers,
                accelerator.device.type == "cuda",
            )
            for step, batches in zip(steps, loaded, strict=True):
                run.collect(trainer.step(step, batches))
                done = step + 1
                last = done == phase.steps
                if done % log_every == 0 or last:
                    trainer.check()
                    run.report(number, done)
                if last:
                    trainer.finish()
                if (done % every == 0 or last) and phase.name != "backbone":
                    evaluation = evaluate(
                        model,
                        validation,
                        masks=phase.name != "boxes",
                        accelerator=accelerator,
                    )
                    run.evaluated(number, done, evaluation)
                if not last:
                    run.checkpoint(model, trainer, number, done)
            run.phase_done(model, number)
            accelerator.free_memory()  # or it would keep the phase's module
        if evaluation is None:
            evaluation = evaluate(model, validation, accelerator=accelerator)
        model.eval()
        run.finish(model, evaluation)
        return TrainResult(model, evaluation, run.out)


def _model(
    recipe: Recipe,
    split: Split,
    start: PanopticModel | None,
    detector: DETR | None,
) -> Any:
    """Return the model that training begins with, still on the CPU.

    It is a PanopticModel, or a DetectionModel where the recipe wants no masks.
    """
    if start is not None:
        _check_start(recipe, split, start)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model, split.categories)
    if start is not None:
        model.load_state_dict(start.state_dict())
    elif detector is not None:
        model.detr.load_state_dict(detector.state_dict())
    elif not recipe.starts_from_scratch():
        load_backbone(model, "imagenet" if recipe.imagenet else None)
    return model


def make_accelerator(device: str | None = None) -> Accelerator:
    """Return this process's place among those that torchrun started.

    device: "cpu" keeps off a GPU (default: one if there is one); of several
    GPUs each process takes its own.
    Precision and accumulation are PhaseTrainer's own business: there a
    reader sees where they begin and end.
    """
    chosen = device_named(device)
    return Accelerator(cpu=chosen.type == "cpu", mixed_precision="no")


def _check(
    recipe: Recipe,
    train_split: Split,
    validation: Split,
    engine: Engine,
    accelerator: Accelerator,
) -> None:
    if train_split.categories != validation.categories:
        raise DataError(
            "The training and the validation data list different "
            "categories; they must be the same, in the same order."
        )
    if not recipe.phases:
        raise ConfigError("A recipe needs at least one phase.")
    parts = accelerator.num_processes * engine.accumulate
    for phase in recipe.phases:
        if phase.batch_size < parts:
            raise ConfigError(
                f"The {phase.batch_size} images a step of phase "
                f"{phase.name} cannot be shared among {parts} (processes "
                "times accumulate); lower accumulate or raise batch_size."
            )
    most = max(phase.batch_size for phase in recipe.phases)
    check_shared_memory(
        engine.workers,
        -(-most // accelerator.num_processes),
        (recipe.model.shortest, recipe.model.longest),
    )
    if engine.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError(
            "The precision fp16 needs a GPU; choose bf16 or float32 on a CPU."
        )
    for split, what in ((train_split, "training"), (validation, "validation")):
        if not any((~sample.crowd).any() for sample in split):
            raise DataError(
                f"The {what} data have no segment at all, or crowds alone; "
                "there is nothing to learn from or to compare with."
            )


def _check_start(recipe: Recipe, split: Split, start: PanopticModel) -> None:
    if start.config != recipe.model:
        raise ConfigError(
            "The model to start from has another configuration than the "
            "recipe's model; give the recipe model=start.config."
        )
    if start.categories != split.categories:
        raise ConfigError(
            "The model to start from has other categories than the data; "
            "load it with categories=data.categories."
        )


def scenes_data(name: str) -> tuple[SceneSplit, SceneSplit]:
    """Return the scenes that a preset trains on, and the validation scenes."""
    return (
        SceneSplit(TRAIN_SEED, TRAIN_COUNTS[name]),
        SceneSplit(VALIDATION_SEED, VALIDATION_COUNT),
    )


class ProgressBar:
    """A bar over all steps of a recipe; its `watch` is given to `train`."""

    def __init__(self, recipe: Recipe):
        from tqdm import tqdm

        steps = [phase.steps for phase in recipe.phases]
        self._before, total = [0, *accumulate(steps)], sum(steps)
        self._bar = tqdm(total=total, unit="step", smoothing=0.05)
        self._losses: dict[str, float] = {}

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    def watch(self, progress: Progress) -> None:
        """Show the phase, the losses, and the last AP and PQ."""
        if progress.losses:
            self._losses = progress.losses
        shown = self._losses | {
            k: v for k, v in progress.metrics.items() if k in ("box_ap", "pq")
        }
        self._bar.set_description(progress.phase, refresh=False)
        self._bar.set_postfix_str(
            ", ".join(f"{k} {v:.3f}" for k, v in shown.items()), refresh=False
        )
        before = self._before[progress.number]
        if not self._bar.n:  # a resumed run's rate is that of its new steps
            begun = before + progress.resumed
            self._bar.initial = self._bar.n = self._bar.last_print_n = begun
        done = before + progress.step
        self._bar.update(done - self._bar.n)
