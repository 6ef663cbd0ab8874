"""Checkers of chapter 2: box embeddings, and who answers for what."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.detr import found
from detr_lite.inference.loading import load_model
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import (
    near,
    needs_function,
    number,
    tensor,
)
from detr_lite.transformer import DecoderLayer


def exercise_1(answer) -> None:
    """Check the weight of "no object" for 20 queries and 5 segments."""
    weight = number(answer, "The answer should be one number.")
    queries, segments = 20, 5
    right = segments / (queries - segments)
    if abs(weight - right) < 0.005:
        return
    if abs(weight - 1 / right) < 0.005:
        raise Wrong(
            "That is the inverse: T must equal w (N - T), and w is then T "
            "over the unmatched."
        )
    if abs(weight - segments / queries) < 0.005:
        raise Wrong(
            "You compare with all queries; only the unmatched ones say "
            '"no object".'
        )
    if weight <= 0:
        raise Wrong(
            "A weight of 0 or less would let every query claim an object."
        )
    p = segments / (segments + weight * (queries - segments))
    raise Wrong(f"With this weight the formula gives p = {p:.2f}, not 1/2.")


def exercise_2(answer: Callable) -> None:
    """Check relative boxes turned into corners in pixels."""
    needs_function(answer)
    boxes = torch.tensor(
        [[0.5, 0.5, 1.0, 1.0], [0.25, 0.75, 0.5, 0.125], [0.5, 0.25, 0.0, 0.5]]
    )
    for some in (boxes, boxes[:1]):
        for height, width in ((80, 160), (96, 32)):
            mine = tensor(
                answer(some.clone(), height, width),
                "Return boxes as a tensor",
            )
            if mine.shape != some.shape:
                raise Wrong(
                    f"{len(some)} boxes make {tuple(some.shape)}; your "
                    f"result has the shape {tuple(mine.shape)}."
                )
            _compare_corners(mine, some.double(), height, width)


def _compare_corners(mine: Tensor, boxes: Tensor, height, width) -> None:
    scale = torch.tensor([width, height, width, height])
    right = cxcywh_to_xyxy(boxes) * scale

    def mine_is(boxes: Tensor) -> bool:
        return near(mine, boxes, 0.01)

    if mine_is(right):
        return
    if mine_is(cxcywh_to_xyxy(boxes) * scale.roll(1)):
        raise Wrong(
            "x goes with the width and y with the height; yours are swapped."
        )
    if mine_is(cxcywh_to_xyxy(boxes)):
        raise Wrong("These are corners, but still relative: 0 to 1.")
    if mine_is(boxes * scale):
        raise Wrong(
            "These are pixels, but still center and size; the corners are "
            "half a width and half a height away from the center."
        )
    if mine_is(torch.cat((right[:, :2], right[:, 2:] - right[:, :2]), 1)):
        raise Wrong(
            "The last two should be a corner, too, not width and height."
        )
    worst = (mine - right).abs().amax(1).argmax()
    raise Wrong(
        f"The box {_row(boxes[worst])} in an image of {height} x {width} "
        f"has the corners {_row(right[worst])}, not {_row(mine[worst])}."
    )


def exercise_3(answer: Callable) -> None:
    """Check the greedy matching, also where there are more queries."""
    needs_function(answer)
    random = torch.Generator().manual_seed(0)
    toy = torch.tensor([[1, 2, 9], [2, 8, 7], [6, 5, 4]])
    cases = [toy] + [
        torch.randperm(n * t, generator=random).view(n, t) - n
        for n, t in ((2, 1), (4, 4), (12, 5), (7, 6))
    ]
    for costs in cases:
        given = costs.float()
        pairs = _pairs(answer(given.clone()), costs)
        if pairs == _greedy(costs):
            continue
        total = sum(costs[q, t].item() for q, t in pairs)
        wanted = sum(costs[q, t].item() for q, t in _greedy(costs))
        if total < wanted:
            raise Wrong(
                f"For {costs.tolist()} your total is {total}, better than "
                f"greedy's {wanted}: take the cheapest pair first, even "
                "where that costs more later."
            )
        first = divmod(costs.argmin().item(), costs.shape[1])
        raise Wrong(
            f"For {costs.tolist()} you pay {total} in all, greedy pays "
            f"{wanted}"
            + (" for other pairs" if total == wanted else "")
            + f"; its first pair is {first}. Which pair is the cheapest of "
            "all that are free?"
        )


def _greedy(costs: Tensor) -> set[tuple[int, int]]:
    order = costs.flatten().argsort().tolist()
    pairs: set[tuple[int, int]] = set()
    for position in order:
        query, segment = divmod(position, costs.shape[1])
        if all(query != q and segment != t for q, t in pairs):
            pairs.add((query, segment))
    return pairs


def _pairs(answer, costs: Tensor) -> set[tuple[int, int]]:
    """Return the answer as a set of pairs, or say why it is none."""
    queries, segments = costs.shape
    try:
        listed = [tuple(int(number) for number in pair) for pair in answer]
    except (TypeError, ValueError):
        listed = [()]
    if any(len(pair) != 2 for pair in listed):
        raise Wrong(
            "Return a list of pairs (query, segment), each of two whole "
            "numbers."
        )
    if len(listed) != segments:
        raise Wrong(
            f"{segments} segments need {segments} pairs; there are "
            f"{len(listed)}."
        )
    if not all(0 <= q < queries and 0 <= t < segments for q, t in listed):
        raise Wrong(
            "A pair names a row or a column that the matrix lacks; the query "
            "comes first, then the segment."
        )
    for place, word in ((0, "query"), (1, "segment")):
        if len({pair[place] for pair in listed}) < segments:
            raise Wrong(f"A {word} is used twice for {costs.tolist()}.")
    return set(listed)


def exercise_4(answer: Callable) -> None:
    """Check what a self-attention over zeros gives to each query."""
    needs_function(answer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer = DecoderLayer(16, 4, 32, 0.0)
    attention = layer.self_attn
    with torch.no_grad():
        for bias in (attention.in_proj_bias, attention.out_proj.bias):
            bias.copy_(torch.linspace(-1, 1, len(bias)).sin() + 0.5)
        right = attention.out_proj(attention.in_proj_bias[-16:])
        queries, keys = attention.in_proj_bias.view(3, 16)[:2]
        wrong = {
            "out_proj also has a bias of its own.": right
            - attention.out_proj.bias,
            "This is the bias of the values; out_proj comes after it.": (
                attention.in_proj_bias[-16:]
            ),
            "That is the bias of the queries, the first third of "
            "in_proj_bias; values have the last.": attention.out_proj(queries),
            "That is the bias of the keys, the second third of "
            "in_proj_bias; values have the last.": attention.out_proj(keys),
            "out_proj.weight is applied the other way round: a linear layer "
            "is W b + bias, or b @ W.T + bias.": (
                attention.in_proj_bias[-16:] @ attention.out_proj.weight
                + attention.out_proj.bias
            ),
        }
        try:
            mine = tensor(answer(layer), "Return numbers as a tensor")
        except Wrong as wrong_kind:
            raise Wrong(
                f"{wrong_kind} (The layer has the width 16.)"
            ) from None
    mine = mine.squeeze()
    if mine.shape != right.shape:
        raise Wrong(
            f"For a layer of width 16 there should be 16 numbers; your result "
            f"has the shape {tuple(mine.shape)}."
        )
    if near(mine, right, 1e-4):
        return
    for sentence, numbers in wrong.items():
        if near(mine, numbers, 1e-4):
            raise Wrong(sentence)
    raise Wrong(
        "For a layer with other weights than the model's, the numbers differ "
        "from what its self-attention gives for zeros."
    )


def exercise_5(answer) -> str:
    """Check which query reports the most things in the lower left."""
    query = number(answer, "The answer should be one number.")
    counts = _things_by_quarter()
    queries = len(counts["lower left"])
    if query != int(query) or not 0 <= query < queries:
        raise Wrong(f"Name a query: a whole number from 0 to {queries - 1}.")
    best = {name: c.argmax().item() for name, c in counts.items()}
    if query == best["lower left"]:
        most = counts["lower left"].max() > counts["lower left"].sum() / 2
        return (
            "It reports more than half of the things there."
            if most
            else "It shares the quarter with other queries."
        )
    for name, other in best.items():
        if query == other:
            raise Wrong(
                f"That query has the most things in the {name}; y grows "
                "downwards, x to the right."
            )
    raise Wrong(
        "Another query reports more things whose centers have cx < 1/2 and "
        "cy > 1/2."
    )


@cache
def _things_by_quarter() -> dict[str, Tensor]:
    """Return how many things each query reports in each quarter, (N,)."""
    model = load_model("scenes", device="cpu")
    scenes = SceneSplit(VALIDATION_SEED, 256)
    isthing = torch.tensor([c.isthing for c in scenes.categories] + [False])
    counts: dict[str, Tensor] = {}
    for start in range(0, len(scenes), 32):
        batch = collate([scenes[i] for i in range(start, start + 32)])
        with torch.no_grad():
            output = model.detr(batch.images, batch.padding_mask)
        kept = found(output.class_logits, model.threshold)
        kept &= isthing[output.class_logits.argmax(-1)]
        right, lower = (output.boxes[..., :2] > 0.5).unbind(-1)
        for name, there in (
            ("lower left", lower & ~right),
            ("lower right", lower & right),
            ("upper left", ~lower & ~right),
            ("upper right", ~lower & right),
        ):
            counts[name] = counts.get(name, 0) + (kept & there).sum(0)
    return counts


def _row(numbers: Tensor) -> str:
    return "(" + ", ".join(f"{x:g}" for x in numbers.tolist()) + ")"
