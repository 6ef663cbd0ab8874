"""A phase of training: what is trained, how fast, and what one step does."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detr_lite.data.batch import Batch
from detr_lite.detr import DetrOutput
from detr_lite.errors import ConfigError, DataError
from detr_lite.inference.model import PanopticModel
from detr_lite.inference.options import PRECISIONS
from detr_lite.losses import DetectionLoss
from detr_lite.matching import HungarianMatcher, MatchedQueries
from detr_lite.models import build_resnet, memory_format
from detr_lite.savings.mask_losses import MaskLossInParts
from detr_lite.training.batches import BatchOrder
from detr_lite.training.finite import first_layer, not_finite
from detr_lite.training.pretraining import PixelClassifier, pixel_loss
from detr_lite.training.recipes import Engine, Phase, Recipe, learning_rate
from detr_lite.training.totals import Totals, answers, count_totals


class PhaseTrainer:
    """One phase: its module, its optimizer, and what one step does.

    The losses and gradients of a step are those of its pictures together,
    however many processes and micro-batches share them, to rounding.  But
    for phase "backbone": batch norm sees a micro-batch alone.

    With a lower precision only the module runs in it; the matching and the
    losses are float32, as are the weights and the optimizer's state.
    """

    def __init__(
        self,
        model: PanopticModel,
        phase: Phase,
        recipe: Recipe,
        order: BatchOrder,
        accelerator,
        engine: Engine | None = None,
    ):
        self.model, self.phase, self.accelerator = model, phase, accelerator
        self.order = order
        self.engine = engine or Engine()
        self.no_object_weight = recipe.no_object_weight
        self.matcher = HungarianMatcher()
        self.detection_loss = DetectionLoss(recipe.no_object_weight)
        self.mask_loss = MaskLossInParts()
        categories = order.split.categories
        self.isthing = torch.tensor([c.isthing for c in categories])
        self.memory_format = memory_format(recipe.model)
        module, groups = self._module_and_groups(recipe)
        self.bare = module.to(memory_format=self.memory_format)
        self.bare.to(accelerator.device)
        self.module = accelerator.prepare_model(self.bare)
        self.parameters = [p for g in groups for p in g["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, weight_decay=recipe.weight_decay
        )
        device = accelerator.device.type
        lower = self.engine.precision != "float32"
        self.autocast: Callable = nullcontext
        if lower:
            dtype = PRECISIONS[self.engine.precision]
            self.autocast = partial(torch.autocast, device, dtype)
        # Half precision alone has so few exponents that gradients vanish.
        half = self.engine.precision == "fp16"
        self.scaler = torch.amp.GradScaler(device, enabled=half)
        if self.engine.checkpoint_masks:
            _forget_activations(model.mask_head)

    def _module_and_groups(self, recipe: Recipe) -> tuple[nn.Module, list]:
        """Return what the phase trains, and its parameters with their rates.

        A group's "factor" multiplies the phase's learning rate.
        """
        model, name = self.model, self.phase.name
        model.requires_grad_(name in ("boxes", "joint"))
        if name == "backbone":
            body = build_resnet(recipe.model, nn.BatchNorm2d)
            module = PixelClassifier(body, len(self.isthing))
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
        body = model.detr.backbone[0].body
        if recipe.freeze_stem:
            for part in (body.conv1, body.bn1, body.layer1):
                part.requires_grad_(False)
        backbone = [p for p in body.parameters() if p.requires_grad]
        ids = {id(p) for p in body.parameters()}
        rest = [p for p in module.parameters() if id(p) not in ids]
        return module, [
            {"params": rest, "factor": 1.0},
            {"params": backbone, "factor": self.phase.backbone_lr},
        ]

    def step(self, step: int, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Train on the micro-batches of a step; return the losses.

        The losses' mean over the processes is that of the whole step.
        """
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
            # Processes exchange their gradients once, when all are there.
            last = number == len(batches)
            with (
                nullcontext()
                if last
                else self.accelerator.no_sync(self.module)
            ):
                batch = batch.to(self.accelerator.device)
                try:
                    losses = self._losses(batch, totals, len(batches))
                    fine = bool(losses["loss"].isfinite())
                except DataError:  # of what cannot be matched
                    fine = False
                if not fine:
                    raise self._not_finite(
                        "The losses are", step, batch, totals, len(batches)
                    )
                self.scaler.scale(losses["loss"]).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.phase.clip)
        if not self.scaler.is_enabled() and not norm.isfinite():
            raise self._not_finite(
                "The gradients are", step, batch, totals, len(batches)
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return sums

    def _not_finite(self, what: str, step: int, batch, totals, parts):
        """Return the error of a step, with the first layer at fault."""

        def forward():
            with suppress(DataError):
                self._losses(batch, totals, parts)

        layer = first_layer(self.bare, forward)
        where = f"step {step + 1} of phase {self.phase.name}"
        where += f", first in the layer {layer}" if layer else ""
        pictures = self.order.indices(step)
        return not_finite(what, where, self.order.split, pictures)

    def _losses(
        self, batch: Batch, totals: Totals, parts: int
    ) -> dict[str, Tensor]:
        """Return the micro-batch's parts of the step's losses."""
        images = batch.images.contiguous(memory_format=self.memory_format)
        targets, mask = batch.targets, batch.padding_mask
        size, name = tuple(images.shape[-2:]), self.phase.name
        if name == "backbone":
            with self.autocast():
                logits = self.module(images)
            losses = pixel_loss(logits, targets, size, self.isthing)
            return {key: value / parts for key, value in losses.items()}
        if name == "boxes":
            with self.autocast():
                output = self.module(images, mask)
            matchings = self.matcher(output.layers, targets)
            return self._detection(output, matchings, targets, totals)
        keep = MatchedQueries(self.matcher, targets, name == "masks")
        with self.autocast():
            output = self.module(images, mask, keep)
        pairs = keep.matchings[-1]
        losses = self.mask_loss(output, pairs, targets, size, totals.boxes)
        if not len(pairs.image):
            # No mask was made.  Yet each parameter takes part, as
            # data-parallel training demands.
            nothing = sum(p.sum() for p in self.parameters) * 0.0
            losses["loss"] = losses["loss"] + nothing
        if name == "masks":
            return losses
        boxes = self._detection(
            output.detection, keep.matchings, targets, totals
        )
        return {**losses, **boxes, "loss": losses["loss"] + boxes["loss"]}

    def _detection(
        self, output: DetrOutput, matchings: list, targets, totals: Totals
    ) -> dict[str, Tensor]:
        """Return the losses of classes and boxes, and how right they are."""
        losses = self.detection_loss(
            output, matchings, targets, totals.boxes, totals.class_weight
        )
        logits, _ = output.layers[-1]
        return losses | answers(logits, matchings[-1], targets, totals)

    def finish(self) -> None:
        """Hand what was learned to the model, which is as it was built."""
        if self.phase.name == "backbone":
            self.model.detr.backbone[0].body.load_state_dict(
                self.bare.body.state_dict()
            )
        vars(self.model.mask_head).pop("forward", None)

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


def _forget_activations(head: nn.Module) -> None:
    """Make the head compute its activations again for the gradients.

    Same gradients; the head's memory is that of one picture's masks less
    all that lies between its input and its output.
    """
    head.forward = partial(
        checkpoint,
        type(head).forward.__get__(head),
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in it is random
    )
