"""Chapter 6: checkers of its exercises."""

from dataclasses import replace

import torch

from detr_lite.data.sample import Sample
from detr_lite.data.scenes import (
    BALL,
    CRATE,
    SCENE_CATEGORIES,
    SEA,
    SKY,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.data.split import Split
from detr_lite.data.subsets import Part
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import needs_function, number
from detr_lite.training.recipes import TRAIN_COUNTS, Phase, Recipe, preset


def exercise_1(answer) -> str:
    """The PQ of a class with given counts."""
    value = number(answer, "The answer is a PQ, a single number.")
    counts = PanopticQuality(num_classes=1)
    counts.tp[0], counts.fp[0], counts.fn[0], counts.iou[0] = 5, 2, 1, 4.0
    result = counts.compute()
    if abs(value - result["pq"]) < 0.005:
        return f"It is SQ {result['sq']:.2f} times RQ {result['rq']:.2f}."
    mistakes = (
        (100 * result["pq"], "PQ goes from 0 to 1, so give it as a fraction."),
        (result["sq"], "That is SQ: the segments that went wrong must count."),
        (result["rq"], "That is RQ: the IoUs must count too."),
        (4 / 8, "Each FP and each FN counts one half in the divisor."),
        (4 / 7, "FP and FN both count, one half each."),
        (4 / 6, "FP and FN both count, one half each."),
        (4 / 5.5, "FP and FN both count, one half each."),
    )
    for wrong, hint in mistakes:
        if abs(value - wrong) < 0.005 * max(1, wrong):
            raise Wrong(hint)
    raise Wrong("Divide the sum of the IoUs by TP + FP / 2 + FN / 2.")


def exercise_2(epochs) -> str:
    """How often each phase sees each image."""
    needs_function(epochs)
    other = Recipe(
        (Phase("boxes", 10, 8, 1e-3), Phase("masks", 30, 4, 1e-3)),
    )
    cases = (
        (preset("quick"), TRAIN_COUNTS["quick"]),
        (preset("full"), TRAIN_COUNTS["full"]),
        (other, 100),
    )
    for recipe, count in cases:
        answer = epochs(recipe, count)
        if not isinstance(answer, dict):
            try:
                names = [p.name for p in recipe.phases]
                answer = dict(zip(names, list(answer), strict=True))
            except (TypeError, ValueError):
                raise Wrong(
                    "Return a dict with a number for the name of each phase."
                ) from None
        for phase in recipe.phases:
            if phase.name not in answer:
                raise Wrong(f"Your answer leaves out phase {phase.name}.")
            value = number(
                answer[phase.name],
                f"The answer for {phase.name} is a single number.",
            )
            right = phase.steps * phase.batch_size / count
            if abs(value - right) > 0.01 * right:
                raise Wrong(_epochs_hint(value, phase, count))
    return "The paper's 300 epochs of COCO are of another order."


def _epochs_hint(value: float, phase: Phase, count: int) -> str:
    right = phase.steps * phase.batch_size / count
    start = (
        f"For {phase.steps} steps of {phase.batch_size} images out of "
        f"{count} you say {value:.3g}. "
    )
    if abs(value - phase.steps / count) < 0.01 * right:
        return start + "A step takes more than one image."
    if value == int(right) or value == round(right):
        return start + "Do not round: an epoch may end in its middle."
    return start + "Count the images of all steps together first."


def exercise_3(answer) -> str:
    """A recipe of phase masks alone, half as long."""
    if not isinstance(answer, Recipe):
        raise Wrong(
            "The answer is a Recipe, as `preset` returns; you gave "
            f"{type(answer).__name__}."
        )
    names = [phase.name for phase in answer.phases]
    if names != ["masks"]:
        raise Wrong(
            "The detector is trained already: the only phase is masks, not "
            f"{', '.join(names) or 'none'}."
        )
    quick = preset("quick")
    wanted, phase = quick.phases[-1], answer.phases[0]
    if phase.steps != wanted.steps // 2:
        raise Wrong(
            f"Half of {wanted.steps} steps are {wanted.steps // 2}, not "
            f"{phase.steps}."
        )
    if phase != replace(wanted, steps=phase.steps):
        raise Wrong("Of the phase, change nothing but the steps.")
    if replace(answer, phases=quick.phases) != quick:
        raise Wrong("Of the recipe, change nothing but the phases.")
    return "Your detector for it is result.model.detr."


def exercise_4(missed) -> str:
    """How many true segments were not found."""
    needs_function(missed)
    for name, prediction, sample, right in _missed_cases():
        value = number(
            missed(prediction, sample), "Return a count, a single number."
        )
        if value != right:
            raise Wrong(
                f"{name}: {right} of {len(sample.labels)} segments were "
                f"missed; your function says {value:g}."
            )
    return "Its sum over the images is the table's FN."


def _missed_cases():
    """Yield a description, a prediction, its truth, and the FN."""
    true = torch.full((8, 8), 1, dtype=torch.int32)
    true[4:, :4], true[4:, 4:] = 2, 3
    labels = [SKY, BALL, BALL]
    swapped = true.clone()
    swapped[4:, :4], swapped[4:, 4:] = 3, 2
    half = true.clone()
    half[6:, :4] = 1  # of 16 pixels of the first ball 8 are left: IoU 1/2
    wide = true.clone()
    wide[1:, :] = 3  # the second ball takes nearly all: IoU 16/56
    yield "All is right", _found(true, labels), _truth(true, labels), 0
    yield (
        "The ids are others than in the truth",
        _found(swapped, labels),
        _truth(true, labels),
        0,
    )
    yield (
        "A ball is called a crate",
        _found(true, [SKY, CRATE, BALL]),
        _truth(true, labels),
        1,
    )
    yield (
        "Of one ball half is found, so its IoU is 1/2, not more",
        _found(half, labels),
        _truth(true, labels),
        1,
    )
    yield (
        "One ball is found far too large",
        _found(wide, labels),
        _truth(true, labels),
        3,
    )
    yield (
        "Nothing is found",
        _found(torch.zeros_like(true), []),
        _truth(true, [SEA, BALL, BALL]),
        3,
    )


def _found(id_map: torch.Tensor, labels: list[int]) -> Prediction:
    areas = id_map.flatten().bincount(minlength=len(labels) + 1).tolist()
    segments = tuple(
        Segment(i, label, 0.9, areas[i], i - 1, (0.5, 0.5, 1.0, 1.0))
        for i, label in enumerate(labels, 1)
        if areas[i]
    )
    image = torch.zeros(3, *id_map.shape, dtype=torch.uint8)
    maps = torch.zeros(len(segments), 8, 1, 1)
    return Prediction(image, id_map, segments, SCENE_CATEGORIES, maps)


def _truth(id_map: torch.Tensor, labels: list[int]) -> Sample:
    return Sample(
        image=torch.zeros(3, *id_map.shape, dtype=torch.uint8),
        id_map=id_map,
        segment_ids=torch.arange(1, len(labels) + 1),
        labels=torch.tensor(labels),
        crowd=torch.zeros(len(labels), dtype=torch.bool),
        image_id=1,
        name="made for the exercise",
    )


class Noisy(Part):
    """The first scenes of a split, with noise on every image.

    amplitude: the standard deviation of the noise, in gray levels.
    """

    def __init__(self, split: Split, count: int, amplitude: float):
        super().__init__(split, range(count))
        self.amplitude = amplitude

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        random = torch.Generator().manual_seed(index)
        noise = torch.randn(sample.image.shape, generator=random)
        image = sample.image + self.amplitude * noise
        image = image.round().clamp(0, 255).to(torch.uint8)
        return replace(sample, image=image)


def exercise_5(answer) -> str:
    """An amplitude of noise that costs the shipped weights half their PQ."""
    value = number(answer, "The answer is an amplitude, a single number.")
    if not 0 <= value < 256:
        raise Wrong("An amplitude is 0 or more, and less than 256.")
    model = load_model("scenes", "cpu")
    split = Noisy(SceneSplit(VALIDATION_SEED, 64), 64, value)
    metrics = evaluate(model, split).metrics
    pq = metrics["pq"]
    if not 0.4 <= pq <= 0.6:
        where = "Use less noise." if pq < 0.4 else "It can take more noise."
        raise Wrong(f"At {value:g} the PQ is {pq:.1f}. {where}")
    first = "things" if metrics["pq_things"] < metrics["pq_stuff"] else "stuff"
    return f"The {first} suffer more."
