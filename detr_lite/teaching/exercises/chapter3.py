"""The exercises of chapter 3: attention maps."""

from collections.abc import Callable
from functools import cache

import torch

from detr_lite.attention_maps import AttentionMaps
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import (
    near,
    needs_function,
    number,
    numbers,
    tensor,
)


def exercise_1(answer) -> str:
    """The number of parameters of the COCO model's AttentionMaps."""
    count = number(answer, "The answer is one whole number.")
    right = sum(p.numel() for p in AttentionMaps(256, 8).parameters())
    if count == right:
        return "The number of heads does not appear in it: heads share d."
    if count == right - 2 * 256:
        raise Wrong("Both linear layers have a bias, too.")
    if count in (right / 2, right / 2 - 256):
        raise Wrong("That is one linear layer; queries and keys have each.")
    if count == right * 1.5:
        raise Wrong("That would be with values; there are none here.")
    if count % right == 0 and count > right:
        raise Wrong("The heads split the d numbers; they don't repeat them.")
    raise Wrong("Count a d x d matrix and d biases for each linear layer.")


def exercise_2(answer) -> str:
    """The two maps of an embedding of zeros in the toy."""
    pair = numbers(answer, 2, "The answer is two numbers, (joint, per head).")
    joint, per_head = pair
    if near(joint, 1 / 12, 0.002) and near(per_head, 1 / 6, 0.002):
        return "Nothing stands out, so the attention is spread evenly."
    if near(joint, 1 / 6, 0.002) and near(per_head, 1 / 12, 0.002):
        raise Wrong("The two are swapped: joint comes first.")
    if near(joint, 0, 0.002) and near(per_head, 0, 0.002):
        raise Wrong("The scores are 0, but a softmax sums to 1: e^0 is not 0.")
    if near(joint, 1 / 6, 0.002):
        raise Wrong("The joint softmax runs over two heads of six positions.")
    if near(joint, 1 / 12, 0.002):
        raise Wrong("One head alone has six positions.")
    raise Wrong("All scores are equal; how many numbers share the sum of 1?")


def exercise_3(answer: Callable) -> str:
    """Maps of one softmax for each head, from those of the joint softmax."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(3)
    scores = 2 * torch.randn(5, 4, 3, 6, generator=generator)
    joint = scores.flatten(1).softmax(-1).view_as(scores)
    wanted = scores.flatten(2).softmax(-1).view_as(scores)
    found = tensor(
        answer(joint.clone()), "Return maps as you get them", joint.shape
    )
    if near(found, wanted, 1e-4):
        return "What is lost on the way is each head's share."
    if near(found, joint, 1e-4):
        raise Wrong("These are the joint maps still.")
    if near(found, joint * 4, 1e-4):
        raise Wrong(
            "Times M makes the heads sum to 1 on average only; each head has "
            "a sum of its own."
        )
    if near(found, joint / joint.sum(1, keepdim=True), 1e-4):
        raise Wrong(
            "At each position your heads sum to 1; each head should sum to 1 "
            "over its positions."
        )
    sums = found.sum((-1, -2))
    if near(sums, torch.ones_like(sums), 1e-4):
        raise Wrong(
            "Each head sums to 1, but the proportions within it changed: "
            "divide, don't take another softmax."
        )
    raise Wrong("The maps of one head do not sum to 1 over its positions.")


def exercise_4(answer: Callable) -> str:
    """The place (x, y) that maps point at, relative to the image."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(4)
    for size in ((12, 12), (3, 5)):
        maps = torch.rand(8, *size, generator=generator) ** 8
        maps /= maps.sum()
        place = numbers(
            answer(maps.clone()), 2, "Your function returns two numbers, x, y."
        )
        ys, xs = (torch.arange(n) / n for n in size)
        weights = maps.sum(0)
        x, y = (weights.sum(0) * xs).sum(), (weights.sum(1) * ys).sum()
        half_x, half_y = 0.5 / size[1], 0.5 / size[0]
        right = (x + half_x).item(), (y + half_y).item()
        if near(place, right, 0.002):
            continue
        if near(place, right[::-1], 0.002):
            raise Wrong("x and y are swapped: rows are y, columns are x.")
        if near(place, (x.item(), y.item()), 0.002):
            raise Wrong("A position's center lies half a position further.")
        ends = [torch.linspace(0, 1, n) for n in size]
        across, down = weights.sum(0) @ ends[1], weights.sum(1) @ ends[0]
        if near(place, (across, down), 0.002):
            raise Wrong(
                "Your first center is at 0 and your last at 1; those are the "
                "image's borders, and the centers lie inside."
            )
        scaled = place[0] / size[1], place[1] / size[0]
        if near(scaled, right, 0.002) or near(scaled, (x, y), 0.002):
            raise Wrong("That is in positions; divide by w and by h.")
        brightest = divmod(int(weights.argmax()), size[1])
        peak = [(b + 0.5) / n for b, n in zip(brightest, size, strict=True)]
        if near(place, peak[::-1], 0.002):
            raise Wrong("That is the brightest position, not the mean place.")
        raise Wrong(
            f"For maps of {size[0]} x {size[1]} positions, the mean place is "
            f"not ({place[0]:.2f}, {place[1]:.2f}); weigh each center with "
            "the attention of all heads there."
        )
    return "It reads any size of map."


def exercise_5(answer) -> str:
    """The head without which the shipped model loses its things."""
    head = number(answer, "The answer is the number of one head.")
    quality = _things_without_each_head()
    if head not in range(len(quality)):
        raise Wrong(f"The heads are numbered 0 to {len(quality) - 1}.")
    if quality[int(head)] > min(quality) + 0.02:
        raise Wrong(
            "Without this head, more things are left than without another."
        )
    return "The things' masks hang on it."


@cache
def _things_without_each_head() -> list[float]:
    """Return the PQ of things on 16 scenes, for each head set to 0."""
    model = load_model("scenes", device="cpu")
    scenes = SceneSplit(VALIDATION_SEED, 16)
    quality = []
    for head in range(model.config.heads):

        def without(module, inputs, maps, head=head):
            maps = maps.clone()
            maps[:, :, head] = 0
            return maps

        hook = model.bbox_attention.register_forward_hook(without)
        quality.append(evaluate(model, scenes).metrics["pq_things"])
        hook.remove()
    return quality
