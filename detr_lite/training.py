"""Training in the paper's phases: boxes, freeze, masks.

Before them, and for small models only, phase "backbone" stands in for
ImageNet weights: the backbone learns to classify the pixels of the scenes.

A run is a function of its recipe and its data: which pictures make up a step
follows from the seed and the step's number alone.  A killed run that is
resumed therefore ends at the same weights as one that was not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import ResNet
from detr_lite.detr import DETR, DetrOutput
from detr_lite.errors import ConfigError, DataError
from detr_lite.evaluation import Evaluation, evaluate
from detr_lite.losses import DetectionLoss, MaskLoss
from detr_lite.matching import HungarianMatcher, Matching
from detr_lite.models import (
    ModelConfig,
    PanopticModel,
    build_model,
    build_resnet,
)
from detr_lite.recipes import TRAIN_COUNTS, Phase, Recipe, learning_rate
from detr_lite.runs import Progress, Run
from detr_lite.samples import Batch, Split, collate, fit_sample, flip
from detr_lite.scenes import (
    TRAIN_SEED,
    VALIDATION_COUNT,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.weights import (
    load_backbone,
)


class PixelClassifier(nn.Module):
    """The backbone's stand-in for ImageNet: which class is at a position."""

    def __init__(self, body: ResNet, num_classes: int):
        super().__init__()
        self.body = body
        self.head = nn.Conv2d(body.channels[-1], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K, h, w) logits."""
        return self.head(self.body(images).res5)


class MatchedQueries:
    """Chooses the queries that were matched, and remembers the matchings.

    Only they can get a mask loss, so only they get a mask: same loss and
    gradients as with all N, for a fraction of the time and memory.
    """

    def __init__(
        self, matcher: HungarianMatcher, targets: list, last_only: bool
    ):
        self.matcher, self.targets = matcher, targets
        self.last_only = last_only
        self.matchings: list[Matching] = []

    def __call__(self, detection: DetrOutput) -> Tensor:
        """Return which queries to make masks for, (B, N) bool."""
        layers = detection.layers[-1:] if self.last_only else detection.layers
        self.matchings = self.matcher(layers, self.targets)
        batch, queries = detection.boxes.shape[:2]
        return self.matchings[-1].keep(queries, batch)


class BatchOrder:
    """Which pictures make up step number s: a function of the seed and s."""

    def __init__(self, split: Split, phase: Phase, seed: int):
        self.split, self.size, self.seed = split, phase.batch_size, seed
        self._epoch, self._order = -1, []

    def batch(
        self, step: int, rank: int, processes: int, limits: tuple[int, int]
    ) -> Batch:
        """Return this process's part of the step's batch."""
        numbers = range(step * self.size, (step + 1) * self.size)
        coins = torch.rand(self.size, generator=self._generator(2 * step + 1))
        samples = [
            (self._index(n), coin)
            for n, coin in zip(numbers, coins.tolist(), strict=True)
        ][rank::processes]
        return collate(
            [
                flip(sample) if coin < 0.5 else sample
                for sample, coin in (
                    (fit_sample(self.split[i], *limits), coin)
                    for i, coin in samples
                )
            ]
        )

    def _index(self, number: int) -> int:
        """Return the number-th index of an endless series of shuffles."""
        epoch, place = divmod(number, len(self.split))
        if epoch != self._epoch:
            shuffle = torch.randperm(
                len(self.split), generator=self._generator(2 * epoch)
            )
            self._epoch, self._order = epoch, shuffle.tolist()
        return self._order[place]

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 2**32 + number)


def memory_format(config: ModelConfig) -> torch.memory_format:
    """Return how images lie in memory: channels last, which is faster.

    But not for a ResNet so narrow that oneDNN writes past its buffers, as it
    does behind strided 1x1 convolutions of fewer than 16 channels (issue
    6035 of oneDNN): wrong gradients on some CPUs, a crash on others.
    """
    narrowest = config.resnet_width * (4 if config.bottleneck else 1)
    if narrowest < 16:
        return torch.contiguous_format
    return torch.channels_last


class PhaseTrainer:
    """One phase: its module, its optimizer, and what one step does."""

    def __init__(
        self,
        model: PanopticModel,
        phase: Phase,
        recipe: Recipe,
        split: Split,
        number: int,
        accelerator,
    ):
        self.model, self.phase, self.accelerator = model, phase, accelerator
        self.order = BatchOrder(split, phase, recipe.seed * 16 + number)
        self.limits = (recipe.model.shortest, recipe.model.longest)
        self.matcher = HungarianMatcher()
        self.detection_loss = DetectionLoss(recipe.no_object_weight)
        self.mask_loss = MaskLoss()
        self.things = torch.tensor([c.isthing for c in split.categories])
        module, groups = self._module_and_groups(recipe)
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.memory_format = memory_format(recipe.model)
        self.bare = module.to(memory_format=self.memory_format)
        self.module, self.optimizer = accelerator.prepare(module, optimizer)
        self.parameters = [p for g in groups for p in g["params"]]

    def _module_and_groups(self, recipe: Recipe) -> tuple[nn.Module, list]:
        """Return what the phase trains, and its parameters with their rates.

        A group's "factor" multiplies the phase's learning rate.
        """
        model, name = self.model, self.phase.name
        model.requires_grad_(name in ("boxes", "joint"))
        if name == "backbone":
            body = build_resnet(recipe.model, nn.BatchNorm2d)
            module = PixelClassifier(body, len(self.things))
            return module, [{"params": [*module.parameters()], "factor": 1.0}]
        if name == "masks":
            heads = nn.ModuleList([model.bbox_attention, model.mask_head])
            heads.requires_grad_(True)
            # Frozen means eval mode too: no dropout in the detector.
            model.eval()
            return model, [{"params": [*heads.parameters()], "factor": 1.0}]
        if name not in ("boxes", "joint"):
            raise ConfigError(
                f"There is no phase {name!r}; the phases are backbone, "
                "boxes, masks and joint."
            )
        module = model.detr if name == "boxes" else model
        module.train()
        backbone = [*model.detr.backbone.parameters()]
        ids = {id(p) for p in backbone}
        rest = [p for p in module.parameters() if id(p) not in ids]
        return module, [
            {"params": rest, "factor": 1.0},
            {"params": backbone, "factor": self.phase.backbone_lr},
        ]

    def step(self, step: int) -> dict[str, Tensor]:
        """Train on one batch; return the losses."""
        accelerator = self.accelerator
        batch = self.order.batch(
            step,
            accelerator.process_index,
            accelerator.num_processes,
            self.limits,
        ).to(accelerator.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.phase, step) * group["factor"]
        losses = self._losses(batch)
        self.optimizer.zero_grad()
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(self.parameters, self.phase.clip)
        self.optimizer.step()
        return losses

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=self.memory_format)
        if self.phase.name == "backbone":
            return self._pixel_loss(images, batch)
        targets, mask = batch.targets, batch.padding_mask
        count = sum(len(t.labels) for t in targets)
        counts = torch.tensor(float(count), device=images.device)
        counts = self.accelerator.reduce(counts, "mean")
        num_boxes = max(counts.item(), 1.0)
        if self.phase.name == "boxes":
            output = self.module(images, mask)
            matchings = self.matcher(output.layers, targets)
            return self.detection_loss(output, matchings, targets, num_boxes)
        frozen = self.phase.name == "masks"
        keep = MatchedQueries(self.matcher, targets, last_only=frozen)
        output = self.module(images, mask, keep)
        losses = self.mask_loss(
            output,
            keep.matchings[-1],
            targets,
            tuple(images.shape[-2:]),
            num_boxes,
        )
        if frozen:
            return losses
        boxes = self.detection_loss(
            output.detection, keep.matchings, targets, num_boxes
        )
        return {
            **losses,
            **boxes,
            "loss": losses["loss"] + boxes["loss"],
        }

    def _pixel_loss(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy at each position; things, being rarer, count thrice.

        The truth at a position is the class of the pixel at its center, -1
        (not counted) where that is void or padding.
        """
        logits = self.module(images)
        size, (h, w) = images.shape[-2:], logits.shape[-2:]
        maps = []
        for target in batch.targets:
            labels = torch.full_like(target.id_map, -1, dtype=torch.int64)
            for mask, label in zip(target.masks(), target.labels, strict=True):
                labels[mask] = label
            height, width = labels.shape
            pad = (0, size[1] - width, 0, size[0] - height)
            maps.append(F.pad(labels, pad, value=-1))
        rows = (torch.arange(h) * size[0] + size[0] // 2) // h
        columns = (torch.arange(w) * size[1] + size[1] // 2) // w
        wanted = torch.stack(maps)[:, rows[:, None], columns]
        weight = 1.0 + 2.0 * self.things.to(images.device)
        loss = F.cross_entropy(logits, wanted, weight, ignore_index=-1)
        right = (logits.argmax(1) == wanted)[wanted >= 0].float().mean()
        return {"loss": loss, "accuracy": right.detach()}

    def finish(self) -> None:
        """Hand what was learned to the model."""
        if self.phase.name == "backbone":
            self.model.detr.backbone[0].body.load_state_dict(
                self.bare.body.state_dict()
            )

    def state(self) -> dict:
        """Return what a checkpoint needs beside the model."""
        extra = {}
        if self.phase.name == "backbone":
            extra = self.bare.state_dict()
        return {
            "optimizer": self.optimizer.state_dict(),
            "extra": extra,
            "rng": torch.get_rng_state(),
        }

    def load_state(self, state: dict) -> None:
        """Take up a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["extra"]:
            self.bare.load_state_dict(state["extra"])
        # Last: making this trainer has drawn random numbers too.
        torch.set_rng_state(state["rng"])


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
) -> TrainResult:
    """Train a model and write it to a folder.

    Writes log.jsonl (a line each log_every steps and each evaluation),
    checkpoint.pt (to resume from), backbone.safetensors, model.safetensors
    and metrics.json.

    Args:
        recipe: what to do.
        train_split, validation: the data; `validation` is only looked at.
        out: the folder; it must not hold a run, unless resume is True.
        resume: go on where the run in the folder stopped.
        watch: called with a Progress at each report.
        log_every: steps between reports.
        evaluations: evaluations in each phase, the last at its end.
        checkpoint_seconds: time between checkpoints.
        detector: trained, to start from (`--frozen_weights` in the
            original); then the recipe may consist of phase "masks" alone.
    """
    from accelerate import Accelerator

    _check(recipe, train_split, validation)
    out = Path(out)
    accelerator = Accelerator()
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model, train_split.categories)
    if detector is not None:
        model.detr.load_state_dict(detector.state_dict())
    elif not recipe.starts_from_scratch():
        load_backbone(model)
    model.to(accelerator.device)
    run = Run(recipe, out, accelerator, watch, checkpoint_seconds)
    first_phase, first_step, state = run.start(model, resume)
    evaluation = None
    first_with_masks = next(
        (p for p in recipe.phases if p.name in ("masks", "joint")), None
    )
    for number, phase in enumerate(recipe.phases):
        if number < first_phase:
            continue
        trainer = PhaseTrainer(
            model, phase, recipe, train_split, number, accelerator
        )
        begin = first_step if number == first_phase else 0
        if begin:
            trainer.load_state(state)
        elif phase is first_with_masks:
            decoder = model.detr.transformer.decoder
            model.bbox_attention.start_from(decoder.layers[-1].multihead_attn)
        every = -(-phase.steps // evaluations)
        for step in range(begin, phase.steps):
            run.collect(trainer.step(step))
            done = step + 1
            last = done == phase.steps
            if done % log_every == 0 or last:
                run.report(phase, done)
            if last:
                trainer.finish()
            if (done % every == 0 or last) and phase.name != "backbone":
                evaluation = evaluate(
                    model, validation, masks=phase.name != "boxes"
                )
                run.evaluated(phase, done, evaluation)
                trainer.bare.train(phase.name != "masks")
            if not last:
                run.checkpoint(model, trainer, number, done)
        run.phase_done(model, number)
    if evaluation is None:
        evaluation = evaluate(model, validation)
    model.eval()
    run.finish(model, evaluation)
    return TrainResult(model, evaluation, out)


def _check(recipe: Recipe, train_split: Split, validation: Split) -> None:
    if train_split.categories != validation.categories:
        raise DataError(
            "The training and the validation data list different "
            "categories; they must be the same, in the same order."
        )
    if not recipe.phases:
        raise ConfigError("A recipe needs at least one phase.")
    for split, what in ((train_split, "training"), (validation, "validation")):
        if not any(len(sample.labels) for sample in split):
            raise DataError(
                f"The {what} data have no segment at all; there is nothing "
                "to learn from or to compare with."
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

        self._before, total = {}, 0
        for phase in recipe.phases:
            self._before[phase.name] = total
            total += phase.steps
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
        done = self._before[progress.phase] + progress.step
        self._bar.update(done - self._bar.n)
