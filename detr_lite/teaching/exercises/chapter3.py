"""The exercises of chapter 3: attention maps."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from detr_lite.attention_maps import AttentionMaps
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import Wrong


def exercise_1(answer) -> str:
    """The number of parameters of the COCO model's AttentionMaps."""
    number = _number(answer, "The answer is one whole number.")
    right = sum(p.numel() for p in AttentionMaps(256, 8).parameters())
    if number == right:
        return "The number of heads does not appear in it: heads share d."
    if number == right - 2 * 256:
        raise Wrong("Both linear layers have a bias, too.")
    if number in (right / 2, right / 2 - 256):
        raise Wrong("That is one linear layer; queries and keys have each.")
    if number == right * 1.5:
        raise Wrong("That would be with values; there are none here.")
    if number % right == 0 and number > right:
        raise Wrong("The heads split the d numbers; they don't repeat them.")
    raise Wrong("Count a d x d matrix and d biases for each linear layer.")


def exercise_2(answer) -> str:
    """The two maps of an embedding of zeros in the toy."""
    pair = _numbers(answer, 2, "The answer is two numbers, (joint, per head).")
    joint, per_head = pair
    if _near(joint, 1 / 12) and _near(per_head, 1 / 6):
        return "Nothing stands out, so the attention is spread evenly."
    if _near(joint, 1 / 6) and _near(per_head, 1 / 12):
        raise Wrong("The two are swapped: joint comes first.")
    if _near(joint, 0) and _near(per_head, 0):
        raise Wrong("The scores are 0, but a softmax sums to 1: e^0 is not 0.")
    if _near(joint, 1 / 6):
        raise Wrong("The joint softmax runs over two heads of six positions.")
    if _near(joint, 1 / 12):
        raise Wrong("One head alone has six positions.")
    raise Wrong("All scores are equal; how many numbers share the sum of 1?")


def exercise_3(answer: Callable) -> str:
    """Maps of one softmax for each head, from those of the joint softmax."""
    _needs_function(answer)
    generator = torch.Generator().manual_seed(3)
    scores = 2 * torch.randn(5, 4, 3, 6, generator=generator)
    joint = scores.flatten(1).softmax(-1).view_as(scores)
    wanted = scores.flatten(2).softmax(-1).view_as(scores)
    found = _maps(answer(joint.clone()), joint.shape)
    if _close(found, wanted):
        return "What is lost on the way is each head's share."
    if _close(found, joint):
        raise Wrong("These are the joint maps still.")
    if _close(found, joint * 4):
        raise Wrong(
            "Times M makes the heads sum to 1 on average only; each head has "
            "a sum of its own."
        )
    if _close(found, joint / joint.sum(1, keepdim=True)):
        raise Wrong(
            "At each position your heads sum to 1; each head should sum to 1 "
            "over its positions."
        )
    sums = found.sum((-1, -2))
    if _close(sums, torch.ones_like(sums)):
        raise Wrong(
            "Each head sums to 1, but the proportions within it changed: "
            "divide, don't take another softmax."
        )
    raise Wrong("The maps of one head do not sum to 1 over its positions.")


def exercise_4(answer: Callable) -> str:
    """The place (x, y) that maps point at, relative to the picture."""
    _needs_function(answer)
    generator = torch.Generator().manual_seed(4)
    for size in ((12, 12), (3, 5)):
        maps = torch.rand(8, *size, generator=generator) ** 8
        maps /= maps.sum()
        place = _numbers(
            answer(maps.clone()), 2, "Your function returns two numbers, x, y."
        )
        ys, xs = (torch.arange(n) / n for n in size)
        weights = maps.sum(0)
        x, y = (weights.sum(0) * xs).sum(), (weights.sum(1) * ys).sum()
        half_x, half_y = 0.5 / size[1], 0.5 / size[0]
        right = (x + half_x).item(), (y + half_y).item()
        if _all_near(place, right):
            continue
        if _all_near(place, right[::-1]):
            raise Wrong("x and y are swapped: rows are y, columns are x.")
        if _all_near(place, (x.item(), y.item())):
            raise Wrong("A position's center lies half a position further.")
        ends = [torch.linspace(0, 1, n) for n in size]
        across, down = weights.sum(0) @ ends[1], weights.sum(1) @ ends[0]
        if _all_near(place, (across, down)):
            raise Wrong(
                "Your first center is at 0 and your last at 1; those are the "
                "picture's borders, and the centers lie inside."
            )
        scaled = place[0] / size[1], place[1] / size[0]
        if _all_near(scaled, right) or _all_near(scaled, (x, y)):
            raise Wrong("That is in positions; divide by w and by h.")
        brightest = divmod(int(weights.argmax()), size[1])
        peak = [(b + 0.5) / n for b, n in zip(brightest, size, strict=True)]
        if _all_near(place, peak[::-1]):
            raise Wrong("That is the brightest position, not the mean place.")
        raise Wrong(
            f"For maps of {size[0]} x {size[1]} positions, the mean place is "
            f"not ({place[0]:.2f}, {place[1]:.2f}); weigh each center with "
            "the attention of all heads there."
        )
    return "It reads any size of map."


def exercise_5(answer) -> str:
    """The head without which the shipped model loses its things."""
    head = _number(answer, "The answer is the number of one head.")
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


def _number(answer, sentence: str) -> float:
    return _numbers([answer], 1, sentence)[0]


def _numbers(answer, count: int, sentence: str) -> list[float]:
    """Return an answer's numbers; it may hold tensors, or be one."""
    try:
        numbers = [float(a) for a in answer]
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(sentence) from None
    if len(numbers) != count:
        raise Wrong(sentence)
    return numbers


def _needs_function(answer) -> None:
    if not callable(answer):
        raise Wrong("The answer is a function.")


def _maps(answer, shape: torch.Size) -> Tensor:
    if not isinstance(answer, Tensor) or answer.shape != shape:
        raise Wrong(
            f"For maps of the shape {tuple(shape)}, your function returns a "
            "tensor of the same shape."
        )
    return answer.float()


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-4)


def _near(a: float, b: float) -> bool:
    return abs(a - b) < 0.002


def _all_near(a, b) -> bool:
    return all(_near(float(x), float(y)) for x, y in zip(a, b, strict=True))
