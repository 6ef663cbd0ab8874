"""A phase of training: what is trained, how fast, and what one step does."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from detr_lite.data.batch import Batch
from detr_lite.data.categories import Categories
from detr_lite.errors import DataError
from detr_lite.inference.model import PanopticModel
from detr_lite.inference.speed import float32_products
from detr_lite.losses import DetectionLoss
from detr_lite.models import build_resnet, memory_format
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.finite import first_layer, not_finite
from detr_lite.training.pretraining import PixelClassifier
from detr_lite.training.recipes import Engine, Phase, Recipe, learning_rate
from detr_lite.training.steps import BoxStep, MaskStep, PixelStep
from detr_lite.training.totals import Totals, count_totals


class PhaseTrainer:
    """One phase: its module, its optimizer, and what one step does.

    The losses and gradients of a step are those of its images together,
    however many processes and micro-batches share them, to rounding.  But
    for phase "backbone": batch norm sees a micro-batch alone.

    A step whose gradients are not finite changes nothing, and `check` tells;
    to ask at each step, a GPU would have to be waited for.

    Args:
        order: for `check` to say which images a step had.
        others: those of `train`.
    """

    def __init__(
        self,
        model: PanopticModel,
        phase: Phase,
        recipe: Recipe,
        categories: Categories,
        accelerator,
        engine: Engine | None = None,
        order: BatchOrder | None = None,
    ):
        self.model, self.phase, self.accelerator = model, phase, accelerator
        self.order = order
        # The first step whose gradients were not finite; -1 if all were.
        self.bad_step = torch.tensor(-1, device=accelerator.device)
        self.engine = engine or Engine()
        self.no_object_weight = recipe.no_object_weight
        self.memory_format = memory_format(recipe.model)
        module, groups = self._step_and_groups(recipe, categories)
        self.bare = module.to(memory_format=self.memory_format)
        self.bare.to(accelerator.device)
        self.module = accelerator.prepare_model(self.bare)
        self.parameters = [p for g in groups for p in g["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, weight_decay=recipe.weight_decay, fused=True
        )
        # Half precision alone has so few exponents that gradients vanish.
        half = self.engine.precision == "fp16"
        device = accelerator.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=half)

    def _step_and_groups(
        self, recipe: Recipe, categories: Categories
    ) -> tuple[nn.Module, list]:
        """Return what a step minimizes, and the parameters with their rates.

        A group's "factor" multiplies the phase's learning rate.
        """
        model, name, engine = self.model, self.phase.name, self.engine
        model.requires_grad_(name in ("boxes", "joint"))
        if name == "backbone":
            body = build_resnet(recipe.model, nn.BatchNorm2d)
            module = PixelClassifier(body, len(categories))
            isthing = torch.tensor([c.isthing for c in categories])
            step = PixelStep(module, isthing, engine)
            return step, [{"params": [*module.parameters()], "factor": 1.0}]
        if name == "masks":
            heads = nn.ModuleList([model.bbox_attention, model.mask_head])
            heads.requires_grad_(True)
            # Frozen means eval mode too: no dropout in the detector.
            model.eval()
            step = MaskStep(model, None, engine)
            return step, [{"params": [*heads.parameters()], "factor": 1.0}]
        weight = recipe.no_object_weight
        if name == "boxes":
            module = model.detr.train()
            step = BoxStep(module, weight, engine)
        else:
            module = model.train()
            step = MaskStep(model, DetectionLoss(weight), engine)
        body = model.detr.backbone[0].body
        if recipe.freeze_stem:
            for part in (body.conv1, body.bn1, body.layer1):
                part.requires_grad_(False)
        backbone = [p for p in body.parameters() if p.requires_grad]
        ids = {id(p) for p in body.parameters()}
        rest = [p for p in module.parameters() if id(p) not in ids]
        return step, [
            {"params": rest, "factor": 1.0},
            {"params": backbone, "factor": self.phase.backbone_lr},
        ]

    def step(self, step: int, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Train on the micro-batches of a step; return the losses.

        The losses' mean over the processes is that of the whole step.
        """
        with float32_products(self.accelerator.device, self.engine.precision):
            return self._step(step, batches)

    def _step(self, step: int, batches: Sequence[Batch]) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.phase, step) * group["factor"]
        totals = count_totals(
            batches,
            self.model.config.num_queries,
            self.no_object_weight,
            self.accelerator,
        )
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, 1):
            batch = batch.to(self.accelerator.device)
            images = batch.images.contiguous(memory_format=self.memory_format)
            # Processes exchange their gradients once, when all are there.
            last = number == len(batches)
            with (
                nullcontext()
                if last
                else self.accelerator.no_sync(self.module)
            ):
                try:
                    batch = replace(batch, images=images)
                    losses = self.module(batch, totals)
                except DataError:  # of what cannot be matched
                    raise self._not_finite("The losses", step) from None
                self.scaler.scale(losses["loss"]).backward()
            for name, value in losses.items():
                before = sums.get(name)
                value = value.detach()
                sums[name] = value if before is None else before + value
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.phase.clip)
        if not self.scaler.is_enabled():  # which does it by itself
            wrong = ~norm.isfinite()
            self.optimizer.found_inf = wrong.to(torch.float32)
            first = wrong & (self.bad_step < 0)
            self.bad_step = torch.where(first, step, self.bad_step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return sums

    def check(self) -> None:
        """Raise DataError if a step's gradients were not finite."""
        step = int(self.bad_step)
        if step >= 0:
            raise self._not_finite("The gradients", step)

    def _not_finite(self, what: str, step: int) -> DataError:
        """Return the error of a step, with its images and first bad layer."""
        where = f"step {step + 1} of phase {self.phase.name}"
        if self.order is None:
            return not_finite(what, where, [])
        config = self.model.config
        limits = config.shortest, config.longest
        alone = Share(parts=self.phase.batch_size)
        for batch in self.order.batches(step, alone, limits):
            batch = batch.to(self.accelerator.device)
            layer = first_layer(self.bare, partial(self._try, batch))
            if layer is not None:
                where += f", first in the layer {layer}"
                break
        split = self.order.split
        images = [split[i].image_id for i in self.order.indices(step)]
        return not_finite(what, where, images)

    def _try(self, batch: Batch) -> None:
        counted = Totals(1.0, 1.0, 1.0)
        with suppress(DataError), torch.no_grad():
            self.bare(batch, counted)

    def finish(self) -> None:
        """Hand what was learned to the model."""
        if self.phase.name == "backbone":
            self.model.detr.backbone[0].body.load_state_dict(
                self.bare.classifier.body.state_dict()
            )

    def state(self) -> dict:
        """Return what a checkpoint needs beside the model."""
        extra = {}
        if self.phase.name == "backbone":
            extra = self.bare.state_dict()
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "extra": extra,
        }

    def load_state(self, state: dict) -> None:
        """Take up a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if state["extra"]:
            self.bare.load_state_dict(state["extra"])
