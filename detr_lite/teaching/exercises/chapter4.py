"""The exercises of chapter 4: the mask head and its savings."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.backbone import Pyramid
from detr_lite.data.scenes import SCENE_CATEGORIES, VALIDATION_SEED, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.detr import DetrOutput
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.models import SCENES_CONFIG
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import (
    near,
    needs_function,
    number,
    tensor,
)

LEVELS = {"res4": "adapter1", "res3": "adapter2", "res2": "adapter3"}


def exercise_1(answer) -> str:
    """The multiply-adds of stage 4's convolution for one query."""
    count = number(answer, "The answer is one whole number.")
    channels, kernel, places = 64 * 32, 9, 100 * 134
    right = channels * kernel * places
    mistakes = {
        channels * places: "A 3 x 3 kernel has nine places.",
        2 * right: "A multiplication and an addition count as one.",
        100 * right: "That is for 100 queries; the question is about one.",
        (channels * kernel + 32) * places: "The bias is left out.",
        channels * kernel * 50 * 67: (
            "That is at Res4's size; stage 4 runs after the enlargement."
        ),
        channels * kernel * 200 * 267: (
            "That is at Res2's size, which comes after stage 4."
        ),
        32 * 16 * kernel * 200 * 267: "That is stage 5.",
        32 * 16 * kernel * 24 * 24: "That is for the scenes' model.",
    }
    if count == right:
        return "Stage 3 needs just as many."
    raise Wrong(
        mistakes.get(
            count,
            "It is input channels times output channels times the kernel's "
            "places times the output's places.",
        )
    )


def exercise_2(answer: Callable) -> str:
    """Nearest upsampling: a function (x, size) -> (..., H, W)."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(42)
    # The last size is no double, so copying twice and cropping won't do.
    cases = [
        ((1, 1, 2, 3), (4, 6)),
        ((2, 3, 25, 34), (50, 67)),
        ((1, 2, 3, 5), (7, 8)),
    ]
    for shape, size in cases:
        x = torch.randn(shape, generator=generator)
        wanted = F.interpolate(x, size=size, mode="nearest")
        found = tensor(answer(x.clone(), size), "Return a tensor").float()
        if found.shape != wanted.shape:
            raise Wrong(
                f"From {shape} to the size {size}, the result has the shape "
                f"{tuple(found.shape)}, not {tuple(wanted.shape)}."
            )
        if near(found, wanted):
            continue
        if not torch.isin(found, x).all():
            raise Wrong("Nearest copies numbers; yours has made new ones.")
        raise Wrong(
            f"From {shape} to the size {size}, some places copy the wrong "
            "number: column j copies column j * w // W."
        )
    return "It works for sizes that are no multiples, too."


def exercise_3(answer: Callable) -> str:
    """GroupNorm: a function (x, groups) -> a tensor like x."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(43)
    x = 3 * torch.randn(2, 8, 3, 3, generator=generator) + 1
    x[1] += 5 * torch.arange(8.0)[:, None, None]
    found = _like(answer(x.clone(), 4), x)
    wanted = F.group_norm(x, 4)
    if not near(found, wanted):
        raise Wrong(_group_norm_mistake(found, x))
    flat = torch.full((1, 4, 2, 2), 7.0)
    if not near(_like(answer(flat.clone(), 2), flat), torch.zeros(1)):
        raise Wrong(
            "A group of equal numbers must become zeros; add 1e-5 to the "
            "variance before you divide by its root."
        )
    return "No sample looks at another."


def _group_norm_mistake(found: Tensor, x: Tensor) -> str:
    """Return what a wrong GroupNorm of 4 groups did instead."""
    rows = x.view(len(x), 4, -1)
    centered = rows - rows.mean(-1, keepdim=True)
    variance = rows.var(-1, correction=0, keepdim=True)
    batch = x.transpose(0, 1).reshape(1, 8, -1, 1)
    batch = F.group_norm(batch, 4).view(8, 2, 3, 3).transpose(0, 1)
    mistakes = [
        (F.group_norm(x, 8), "A group has two channels here, yours one."),
        (F.group_norm(x, 1), "Yours takes all channels as one group."),
        (F.group_norm(x, 2), "Use `groups` groups, not groups of `groups`."),
        (batch, "Yours takes the mean over the samples as well."),
        (F.batch_norm(x, None, None, training=True), "That is batch norm."),
        (centered.view(x.shape), "The mean is 0; the variance isn't 1 yet."),
        (
            (centered / (variance + 1e-5)).view(x.shape),
            "Divide by the root of the variance.",
        ),
        (
            (centered / rows.std(-1, keepdim=True)).view(x.shape),
            "Divide the squared distances by their number, not by one less "
            "(correction=0).",
        ),
    ]
    for mistake, sentence in mistakes:
        if near(found, mistake):
            return sentence
    return (
        "Each group of each sample must have mean 0 and variance 1 over "
        "its channels and positions."
    )


def exercise_4(answer: Callable) -> str:
    """A Keep for things: a function of a DetrOutput -> (B, N) bool."""
    needs_function(answer)
    isthing = [c.isthing for c in SCENE_CATEGORIES]
    thing, stuff, nothing = isthing.index(True), isthing.index(False), 8
    other = len(isthing) - 1 - isthing[::-1].index(True)
    best = [[thing, stuff, nothing, thing], [other, nothing, other, stuff]]
    sure = [[0.95, 0.95, 0.95, 0.4], [0.9, 0.5, 0.5, 0.5]]
    keep = answer(_detection(torch.tensor(best), torch.tensor(sure)))
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool:
        raise Wrong("A Keep returns a tensor of True and False.")
    if keep.shape != (2, 4):
        raise Wrong(
            "For 2 images of 4 queries the shape is (2, 4), yours is "
            f"{tuple(keep.shape)}."
        )
    if keep[0, 1]:
        raise Wrong("A query that is sure of stuff is kept.")
    if keep[0, 2] or keep[1, 1]:
        raise Wrong('A query whose best class is "no object" is kept.')
    if keep[0, 3] or keep[1, 2]:
        raise Wrong(
            "A thing is kept that the model isn't sure of: compare with "
            "the threshold."
        )
    if not (keep[0, 0] and keep[1, 0]):
        raise Wrong("A query that is sure of a thing is not kept.")
    if keep[1, 3]:
        raise Wrong("A query for stuff is kept.")
    return "Each thing's mask stays what it was."


def _detection(best: Tensor, sure: Tensor) -> DetrOutput:
    """Return what a detector says that gives `best` the probability `sure`.

    The rest goes to the other classes in equal parts.
    """
    count = SCENES_CONFIG.num_classes + 1
    rest = ((1 - sure) / (count - 1))[..., None].expand(*sure.shape, count)
    logits = rest.scatter(-1, best[..., None], sure[..., None]).log()
    map4 = torch.zeros(len(best), 4, 2, 2)
    return DetrOutput(
        layer_logits=logits[None],
        layer_boxes=torch.full((1, *best.shape, 4), 0.5),
        box_embeddings=torch.zeros(*best.shape, 4),
        memory=map4,
        src_proj=map4,
        padding_mask=None,
        pyramid=Pyramid(map4, map4, map4, map4),
    )


def exercise_5(answer) -> str:
    """The level whose detail the shipped model needs most."""
    name = str(answer).strip().lower().replace(" ", "")
    if name not in LEVELS:
        raise Wrong('The answer is "res2", "res3" or "res4".')
    left = _pq_without_detail()
    if name != min(left, key=left.get):
        raise Wrong(
            "Another level costs more PQ; did you remove each hook before "
            "the next measurement?"
        )
    return "The other two cost less, each alone."


@cache
def _pq_without_detail() -> dict[str, float]:
    """Return the PQ that is left when a level's detail is taken away."""
    model = load_model("scenes", device="cpu")
    scenes = Part(SceneSplit(VALIDATION_SEED, 64), range(32))
    left = {}
    for level, adapter in LEVELS.items():
        hook = getattr(model.mask_head, adapter).register_forward_hook(
            lambda module, inputs, out: out.mean((2, 3), True).expand_as(out)
        )
        left[level] = evaluate(model, scenes).metrics["pq"]
        hook.remove()
    return left


def _like(found, x: Tensor) -> Tensor:
    found = tensor(found, "Return a tensor like x", x.shape)
    if found.isnan().any():
        raise Wrong(
            "There are NaNs in it: 0 / 0?  Add 1e-5 to the variance before "
            "you divide by its root."
        )
    return found
