"""Checkers for the exercises of chapter 5, the steps in training."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from detr_lite.data.batch import collate
from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.inference.model import build_model
from detr_lite.models import SCENES_CONFIG
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import (
    needs_function,
    number,
    numbers,
    tensor,
)


def exercise_1(answer: Sequence[int]) -> str:
    """The color (R, G, B) of segment 70000."""
    color = numbers(
        answer, 3, "The answer should be three numbers, (R, G, B)."
    )
    if any(c != round(c) or not 0 <= c <= 255 for c in color):
        raise Wrong("Each of R, G and B is a whole number from 0 to 255.")
    if color == [112, 17, 1]:
        return "65536 fits once, and R takes what B and G leave."
    if color == [1, 17, 112]:
        raise Wrong("The right three bytes in the wrong order: R counts ones.")
    red, green, blue = (int(c) for c in color)
    raise Wrong(f"That color is the id {red + 256 * green + 65536 * blue}.")


def exercise_2(answer: float) -> str:
    """The Dice loss of four pixels at 1/2, two of them in the segment."""
    value = number(answer, "The answer should be one number.")
    if abs(value - 0.4) < 0.005:
        return "Half of the segment and half of the rest are drawn."
    if abs(value - 0.5) < 0.005:
        raise Wrong("Without the two ones it is 0.5; where do they go?")
    if abs(value - 0.6) < 0.005:
        raise Wrong("That is the overlap; the loss is 1 minus it.")
    raise Wrong(
        "The sum of p times truth is 1, the sum of p is 2, and so is the sum "
        "of the truth; put them into the formula."
    )


def exercise_3(freeze: Callable) -> str:
    """A function that freezes a model for good, but for its mask head."""
    needs_function(freeze)
    config = replace(
        SCENES_CONFIG,
        resnet_width=8,
        width=32,
        feedforward=32,
        encoder_layers=1,
        decoder_layers=1,
        dropout=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(config, SCENE_CATEGORIES)
        # A norm with running means, which only eval mode stops.
        norm = nn.BatchNorm2d(config.resnet_width)
        model.detr.backbone[0].body.bn1 = norm
        model.train()
        returned = _listed(freeze(model))
        _parameters_frozen(model, returned)
        _outputs_frozen(model, "At once", "Which mode stops that?")
        model.train()
        if not (model.mask_head.training and model.bbox_attention.training):
            raise Wrong(
                "model.train() should still reach the mask head; make "
                "model.detr alone deaf to it."
            )
        _parameters_frozen(model, returned)
        why = "It calls model.detr.train() too."
        _outputs_frozen(model, "After model.train()", why)
    return "No model.train() wakes it."


def _listed(returned) -> list:
    """Return what was returned as a list; Wrong if it is none."""
    try:
        return list(returned)
    except TypeError:
        raise Wrong(
            "Return the parameters that are left to train, as a list."
        ) from None


def _parameters_frozen(model, returned: list) -> None:
    if any(p.requires_grad for p in model.detr.parameters()):
        raise Wrong(
            "Parameters of model.detr still ask for gradients; "
            "requires_grad_(False) goes through a whole module."
        )
    heads = [*model.bbox_attention.parameters(), *model.mask_head.parameters()]
    if not all(p.requires_grad for p in heads):
        raise Wrong(
            "Now the mask head cannot learn either; bbox_attention and "
            "mask_head must keep asking for gradients."
        )
    if {id(p) for p in returned} != {id(p) for p in heads}:
        raise Wrong(
            "The list should hold the parameters of bbox_attention and of "
            "mask_head, all of them and no others."
        )


def _outputs_frozen(model, when: str, hint: str) -> None:
    batch = collate(SceneSplit(3, 2))
    before = {k: v.clone() for k, v in model.detr.state_dict().items()}
    with torch.no_grad():
        first, second = (
            model.detr(batch.images, batch.padding_mask).box_embeddings
            for _ in range(2)
        )
    after = model.detr.state_dict()
    if not all(torch.equal(before[k], after[k]) for k in before):
        raise Wrong(
            f"{when} a forward pass changes the detector: batch norm "
            f"updates means and variances, its buffers. {hint}"
        )
    if not torch.equal(first, second):
        raise Wrong(
            f"{when} two calls with one image give two answers: dropout "
            f"is on. {hint}"
        )


def exercise_4(panoptic_quality: Callable) -> str:
    """A function that computes the PQ of one image, without void."""
    needs_function(panoptic_quality)
    generator = np.random.default_rng(0)
    images = [
        # All right; an error of each kind; a match that is none, at 1/2.
        (_map("1122"), {1: 0, 2: 1}, _map("1122"), {1: 0, 2: 1}),
        (_map("1113"), {1: 0, 3: 1}, _map("1112"), {1: 0, 2: 2}),
        (_map("1112"), {1: 0, 2: 1}, _map("1122"), {1: 0, 2: 0}),
        (_map("11112222"), {1: 0, 2: 1}, _map("11222222"), {1: 0, 2: 1}),
    ]
    for _ in range(20):
        true = torch.from_numpy(generator.integers(1, 5, (6, 6)))
        noise = torch.from_numpy(generator.integers(1, 5, (6, 6)))
        keep = torch.from_numpy(generator.random((6, 6)) < 0.8)
        found = torch.where(keep, true, noise)
        labels = {i: int(generator.integers(3)) for i in range(1, 5)}
        other = labels | {1: int(generator.integers(3))}
        images.append(
            (found, _present(other, found), true, _present(labels, true))
        )
    for found_map, found, true_map, true in images:
        quality = PanopticQuality(num_classes=3)
        quality.update(found_map, found, true_map, true)
        wanted = quality.compute()["pq"]
        value = panoptic_quality(found_map, found, true_map, true)
        value = number(value, "The answer should be one number.")
        if abs(value - wanted) > 1e-4:
            raise Wrong(
                f"For found {found_map.flatten().tolist()[:8]}... with "
                f"classes {found} and true "
                f"{true_map.flatten().tolist()[:8]}... with classes {true} "
                f"the PQ is {wanted:.3f}, not {value:.3f}."
            )
    return f"It agrees with the package on {len(images)} images."


def _present(labels: dict[int, int], id_map: Tensor) -> dict[int, int]:
    """Return the labels of the ids that have a pixel."""
    return {i: label for i, label in labels.items() if (id_map == i).any()}


def _map(digits: str) -> Tensor:
    return torch.tensor([[int(d) for d in digits]])


def exercise_5(assign: Callable) -> str:
    """A function that leaves pixels to void that no mask wants."""
    needs_function(assign)
    generator = torch.Generator().manual_seed(0)
    cases = [
        2 * torch.randn(n, 5, 7, generator=generator) for n in (3, 1, 2, 6)
    ]
    for logits in cases:
        value = tensor(assign(logits.clone()), "Return the map as a tensor")
        if value.shape != logits.shape[1:]:
            raise Wrong(
                f"For {len(logits)} masks of {logits.shape[1]} x "
                f"{logits.shape[2]} pixels return {logits.shape[1]} x "
                f"{logits.shape[2]} numbers; yours are "
                f"{' x '.join(map(str, value.shape))}."
            )
        best = logits.argmax(0)
        void = logits.amax(0) <= 0
        wanted = best.masked_fill(void, -1)
        if torch.equal(value.long(), wanted):
            continue
        if torch.equal(value.long(), best):
            raise Wrong(
                "That is the plain argmax: a pixel that no mask wants must "
                "be -1. A probability of 1/2 is a logit of 0."
            )
        if torch.equal(value.long() < 0, void):
            raise Wrong("Void is right, but the other pixels are not.")
        if torch.equal(
            value.long(), best.masked_fill(logits.amax(0) <= 0.5, -1)
        ):
            raise Wrong(
                "You compare a logit with 1/2; a probability of 1/2 is a "
                "logit of 0."
            )
        raise Wrong(
            "A pixel is void where the largest of its logits is at most 0, "
            "and there alone."
        )
    return f"It agrees on {len(cases)} sets of masks."
