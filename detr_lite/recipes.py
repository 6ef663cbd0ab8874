"""Recipes: everything that decides the weights, but for the data."""

import math
from dataclasses import dataclass, replace

from detr_lite.errors import ConfigError
from detr_lite.models import SCENES_CONFIG, ModelConfig


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: "backbone" (pixel classification), "boxes" (DETR), "masks"
            (DETR frozen, mask head only) or "joint" (all at once).
        steps: optimizer steps.
        batch_size: pictures a step, over all processes together.
        lr: the highest learning rate, after the warm-up.
        backbone_lr: that of the backbone, as a part of lr.
        warmup: steps of warm-up.
        clip: the highest norm of the gradient.
        drop: the part of the steps after which the rate falls to a tenth,
            as in the original; None: it falls along a cosine, down to 0.
    """

    name: str
    steps: int
    batch_size: int
    lr: float
    backbone_lr: float = 0.3
    warmup: int = 50
    clip: float = 0.1
    drop: float | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but for the data.

    Attributes:
        phases: in order.
        model: the sizes of the model.
        no_object_weight: of "no object" in the class loss.
        seed: of the initial weights and of the order of the pictures.
        weight_decay: of AdamW.
        freeze_stem: leave the backbone's first convolution and Res2 as they
            are, as the original does with ImageNet's.
        by_shape: the pictures of a step are all landscape or all portrait;
            see BatchOrder.
    """

    phases: tuple[Phase, ...]
    model: ModelConfig = SCENES_CONFIG
    no_object_weight: float = 0.4
    seed: int = 0
    weight_decay: float = 1e-4
    freeze_stem: bool = False
    by_shape: bool = False

    def starts_from_scratch(self) -> bool:
        """Return whether the backbone is trained before the boxes."""
        return self.phases[0].name == "backbone"


@dataclass(frozen=True)
class Engine:
    """How a recipe is run: speed and memory, not what is learned.

    Attributes:
        precision: of the model's arithmetic: "no" (float32), "bf16", or
            "fp16" for GPUs without bf16.
        accumulate: micro-batches that a process's pictures of a step are
            computed in, one after the other; less memory, the same step.
        checkpoint_masks: compute the mask head's activations twice instead
            of keeping them; less memory, the same gradients.
        workers: processes that load pictures, for each training process.
    """

    precision: str = "no"
    accumulate: int = 1
    checkpoint_masks: bool = False
    workers: int = 0

    def __post_init__(self):
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(
                f"precision must be no, bf16 or fp16, not {self.precision!r}."
            )
        if self.accumulate < 1:
            raise ConfigError(
                f"accumulate must be at least 1, not {self.accumulate}."
            )
        if self.workers < 0:
            raise ConfigError(
                f"workers must not be negative, it is {self.workers}."
            )


PRESETS = {
    # From the shipped backbone; five minutes on two cores.
    "quick": Recipe(
        phases=(
            Phase("boxes", steps=750, batch_size=32, lr=1e-3),
            Phase("masks", steps=240, batch_size=16, lr=3e-3, clip=1.0),
        )
    ),
    # From nothing; an hour on two cores.
    "full": Recipe(
        phases=(
            Phase("backbone", steps=600, batch_size=32, lr=6e-3, clip=10.0),
            Phase("boxes", steps=6500, batch_size=32, lr=1e-3),
            Phase("masks", steps=1500, batch_size=16, lr=3e-3, clip=1.0),
        )
    ),
}
TRAIN_COUNTS = {"quick": 8192, "full": 16384}  # scenes to train on


def learning_rate(phase: Phase, step: int) -> float:
    """Return the rate of a step: linear warm-up, then the fall of a phase."""
    warm = min(1.0, (step + 1) / max(phase.warmup, 1))
    if phase.drop is not None:
        late = step >= phase.drop * phase.steps
        return phase.lr * warm * (0.1 if late else 1.0)
    return phase.lr * warm * (1 + math.cos(math.pi * step / phase.steps)) / 2


def joint(recipe: Recipe) -> Recipe:
    """Return the recipe with boxes and masks trained at once, unfrozen.

    The paper found no difference in quality, and phases to be faster.
    """
    phases = [
        replace(p, name="joint") if p.name == "boxes" else p
        for p in recipe.phases
        if p.name != "masks"
    ]
    return replace(recipe, phases=tuple(phases))


def preset(name: str, **changes) -> Recipe:
    """Return a preset recipe, with some of its fields changed."""
    if name not in PRESETS:
        raise ConfigError(
            f"There is no preset {name!r}; choose from {', '.join(PRESETS)}."
        )
    return replace(PRESETS[name], **changes)
