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
        lr: the highest learning rate; warm-up, then a cosine down to 0.
        backbone_lr: that of the backbone, as a part of lr.
        warmup: steps of warm-up.
        clip: the highest norm of the gradient.
    """

    name: str
    steps: int
    batch_size: int
    lr: float
    backbone_lr: float = 0.3
    warmup: int = 50
    clip: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but for the data.

    Attributes:
        phases: in order.
        model: the sizes of the model.
        no_object_weight: of "no object" in the class loss.
        seed: of the initial weights and of the order of the pictures.
        weight_decay: of AdamW.
    """

    phases: tuple[Phase, ...]
    model: ModelConfig = SCENES_CONFIG
    no_object_weight: float = 0.4
    seed: int = 0
    weight_decay: float = 1e-4

    def starts_from_scratch(self) -> bool:
        """Return whether the backbone is trained before the boxes."""
        return self.phases[0].name == "backbone"


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
    """Return the rate of a step: linear warm-up, then a cosine down to 0."""
    warm = min(1.0, (step + 1) / max(phase.warmup, 1))
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
