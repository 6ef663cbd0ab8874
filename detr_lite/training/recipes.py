"""Recipes: everything that decides the weights, but for the data."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_type_hints

from pydantic import Field, ValidationError

from detr_lite.errors import ConfigError
from detr_lite.files.records import checked, faults
from detr_lite.inference.speed import check_precision
from detr_lite.models import SCENES_CONFIG, ModelConfig

# What a field may be, in Python and in recipe.json alike.
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _check_fields(settings, whose: str = "") -> None:
    """Refuse a field that is not of the type and range that it declares."""
    kinds = get_type_hints(type(settings), include_extras=True)
    for name, kind in kinds.items():
        try:
            checked(kind, getattr(settings, name), strict=True)
        except ValidationError as error:
            (_, what), *_ = faults(error)
            raise ConfigError(f"{name}{whose} {what}; change it.") from error


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: "backbone" (pixel classification), "boxes" (DETR), "masks"
            (DETR frozen, attention maps and mask head) or "joint" (all at
            once).
        steps: optimizer steps.
        batch_size: images a step, over all processes together.
        lr: the highest learning rate, after the warm-up.
        backbone_lr: that of the backbone, as a part of lr.
        warmup: steps of warm-up.
        clip: the highest norm of the gradient.
        drop: the part of the steps after which the rate falls to a tenth,
            as in the original; None: it falls along a cosine, down to 0.
    """

    name: Literal["backbone", "boxes", "masks", "joint"]
    steps: Count
    batch_size: Count
    lr: NotNegative
    backbone_lr: NotNegative = 0.3
    warmup: Whole = 50
    clip: Positive = 0.1
    drop: Fraction | None = None

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self):
        _check_fields(self, f" of phase {self.name}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but for the data.

    Attributes:
        phases: in order.
        model: the sizes of the model.
        no_object_weight: of "no object" in the class loss.
        seed: of the initial weights and of the order of the images.
        weight_decay: of AdamW.
        freeze_stem: leave the backbone's first convolution and Res2 as they
            are, as the original does with ImageNet's.
        by_shape: the images of a step are all landscape or all portrait;
            see BatchOrder.
        imagenet: start from the backbone's ImageNet weights, not from those
            of the scenes.
        augment: resize images at random and cut parts of them, as the
            original does (TrainTransform); otherwise half are mirrored and
            no more.
        exact_padding: a step's images of one size make a micro-batch, so
            that none sees padding; False pads them, as the original does.
    """

    phases: tuple[Phase, ...]
    model: ModelConfig = SCENES_CONFIG
    no_object_weight: Positive = 0.4
    seed: Seed = 0
    weight_decay: NotNegative = 1e-4
    freeze_stem: bool = False
    by_shape: bool = False
    imagenet: bool = False
    augment: bool = False
    exact_padding: bool = False

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self):
        if isinstance(self.phases, list):
            object.__setattr__(self, "phases", tuple(self.phases))
        _check_fields(self)
        for phase in self.phases:
            if phase.name in ("masks", "joint") and not self.model.masks:
                raise ConfigError(
                    f"The model has masks=False, and phase {phase.name} "
                    "trains masks; leave that phase out."
                )

    def starts_from_scratch(self) -> bool:
        """Return whether the backbone is trained before the boxes."""
        return self.phases[0].name == "backbone"


@dataclass(frozen=True)
class Engine:
    """How a recipe is run: speed and memory, not what is learned.

    Attributes:
        precision: of the model's arithmetic: "tf32", which is float32 but
            for the products of NVIDIA's GPUs, "float32", "bf16", or "fp16"
            for GPUs without bf16; see Speed.
        accumulate: micro-batches that a process's images of a step are
            computed in, one after the other; less memory, the same step.
        checkpoint_masks: compute the mask head's activations twice instead
            of keeping them; less memory, the same gradients.
        workers: processes that load images, for each training process.
        deterministic: a GPU gives the same weights every time, more slowly;
            a CPU does so anyway.
    """

    precision: str = "tf32"
    accumulate: Count = 1
    checkpoint_masks: bool = False
    workers: Whole = 0
    deterministic: bool = False

    def __post_init__(self):
        _check_fields(self)
        check_precision(self.precision)


COCO_IMAGES = 118_287  # in train2017


def _epochs(count: int, batch_size: int) -> int:
    """Return the steps in which COCO's images are seen count times."""
    return math.ceil(count * COCO_IMAGES / batch_size)


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
    # The paper's, sections 4 and 4.4; its boxes took 3 days on 16 V100.
    "coco": Recipe(
        phases=(
            Phase(
                "boxes",
                steps=_epochs(300, 64),
                batch_size=64,
                lr=1e-4,
                backbone_lr=0.1,
                warmup=0,
                drop=200 / 300,
            ),
            Phase(
                "masks",
                steps=_epochs(25, 64),
                batch_size=64,
                lr=1e-4,
                warmup=0,
                drop=15 / 25,
            ),
        ),
        model=ModelConfig(num_classes=133),
        no_object_weight=0.1,
        freeze_stem=True,
        by_shape=True,
        imagenet=True,
        augment=True,
    ),
    # From panoptic weights, for hundreds of images rather than 100,000.
    # Half of the paper's rate: a step has an eighth of its images, and
    # the weights have less far to go.
    "finetune": Recipe(
        phases=(
            Phase(
                "boxes",
                steps=2000,
                batch_size=8,
                lr=5e-5,
                backbone_lr=0.1,
                warmup=200,
            ),
            Phase("masks", steps=1000, batch_size=8, lr=1e-4, warmup=100),
        ),
        by_shape=True,
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


def finetune(config: ModelConfig, **changes) -> Recipe:
    """Return the preset "finetune" for a model, its queries kept.

    The weight of "no object" goes with their number: 0.1 belongs to 100
    queries, of which a few find something, and 0.4 to the scenes' 12.
    Models that work on images of COCO's size learn from parts of them, too.
    """
    chosen = {
        "model": config,
        "no_object_weight": min(0.4, 10 / config.num_queries),
        "augment": config.shortest >= 600,
    }
    return preset("finetune", **chosen | changes)


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with its phases shortened to so many steps in all.

    Or made longer; each keeps its part of them.
    """
    if steps < len(recipe.phases):
        raise ConfigError(
            f"{steps} steps are too few for {len(recipe.phases)} phases; "
            "give each at least one."
        )
    factor = steps / sum(p.steps for p in recipe.phases)
    *first, last = recipe.phases
    phases, left = [], steps
    for after, phase in zip(range(len(first), 0, -1), first, strict=True):
        # As many as its part, but at least one for it and for each after it.
        own = min(max(round(phase.steps * factor), 1), left - after)
        phases.append(_scaled(phase, own))
        left -= own
    return replace(recipe, phases=(*phases, _scaled(last, left)))


def _scaled(phase: Phase, steps: int) -> Phase:
    warmup = round(phase.warmup * min(steps / phase.steps, 1.0))
    return replace(phase, steps=steps, warmup=warmup)


def scaled_rates(recipe: Recipe, lr: float) -> Recipe:
    """Return the recipe with this rate for boxes, and others in proportion."""
    if not 0 < lr < math.inf:
        raise ConfigError(f"The learning rate must be positive, not {lr}.")
    chief = next(
        (p for p in recipe.phases if p.name in ("boxes", "joint")),
        recipe.phases[0],
    )
    phases = [replace(p, lr=p.lr * lr / chief.lr) for p in recipe.phases]
    return replace(recipe, phases=tuple(phases))


TRAINED = {
    "backbone": "trains the backbone on the classes of pixels",
    "boxes": "trains the detector; the mask head is not used",
    "masks": "trains the attention maps and the mask head; the detector is "
    "frozen",
    "joint": "trains everything",
}


def describe(recipe: Recipe, images: int) -> list[str]:
    """Return a line on each phase: its steps, its rate, what it trains."""
    lines = []
    for p in recipe.phases:
        looks = p.steps * p.batch_size / images
        line = (
            f"phase {p.name}: {p.steps} steps of {p.batch_size} images "
            f"({looks:.1f} looks at each), learning rate {p.lr:g}"
        )
        what = TRAINED[p.name]
        if p.name in ("boxes", "joint"):
            line += f", of the backbone {p.lr * p.backbone_lr:g}"
            if recipe.freeze_stem:
                what += "; its first convolution and Res2 are frozen"
        lines.append(f"{line}; {what}")
    return lines
