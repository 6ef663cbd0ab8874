"""The exercises of chapter 1."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.backbone import FrozenBatchNorm2d
from detr_lite.teaching.exercises import Wrong
from detr_lite.teaching.exercises.forms import near, needs_function, tensor

SIZES = ((800, 1066), (96, 96), (750, 1333), (33, 64), (1, 20))


def exercise_1(answer) -> str:
    """The positions of Res5: answer(height, width) -> (h, w)."""
    needs_function(answer)
    for height, width in SIZES:
        wanted = [-(-height // 32), -(-width // 32)]
        found = tensor(answer(height, width), "Return (h, w)", (2,))
        size = f"for {height} x {width} pixels"
        if found.tolist() == wanted:
            continue
        if found.tolist() == wanted[::-1]:
            raise Wrong(f"Rows come first: h, then w, {size}.")
        if found.tolist() == [height // 32, width // 32]:
            raise Wrong(
                f"You round down {size}; a halving of an odd size rounds up."
            )
        raise Wrong(
            f"There are {wanted[0]} rows and {wanted[1]} columns {size}, not "
            f"{_plain(found)}: follow the size through five halvings."
        )
    return "Each halving rounds up, so the whole division by 32 does."


def exercise_2(answer) -> str:
    """Fold a frozen norm: answer(weight, norm) -> (weight, bias)."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    norm = FrozenBatchNorm2d(5)
    norm.weight.copy_(rand(5) + 0.5)
    norm.bias.copy_(rand(5) - 0.5)
    norm.running_mean.copy_(rand(5) - 0.5)
    # Small variances, beside which 1e-5 is not nothing.
    norm.running_var.copy_((rand(5) + 0.5) * 1e-3)
    weight, x = rand(5, 3, 3, 3) - 0.5, rand(2, 3, 6, 7)
    before = weight.clone(), norm.bias.clone()
    folded = answer(weight, norm)
    if not torch.equal(weight, before[0]) or not torch.equal(
        norm.bias, before[1]
    ):
        raise Wrong("The weight or the norm you were given has changed.")
    if not isinstance(folded, (tuple, list)) or len(folded) != 2:
        raise Wrong("Return two tensors: the weight and the bias.")
    if [tuple(getattr(x, "shape", ())) for x in folded] == [
        (5,),
        tuple(weight.shape),
    ]:
        raise Wrong("The weight comes first, then the bias.")
    new_weight = tensor(folded[0], "The weight is a tensor", weight.shape)
    bias = tensor(folded[1], "The bias is a tensor").flatten()
    new_weight, bias = new_weight.float(), bias.float()
    if bias.shape != (5,):
        raise Wrong(f"The bias has {len(bias)} numbers, not one a channel.")
    wanted = norm(F.conv2d(x, weight))
    if near(F.conv2d(x, new_weight, bias), wanted):
        return "One convolution does the work of the two."
    if near(F.conv2d(x, new_weight), wanted - norm(0 * wanted)):
        raise Wrong(
            "The weight is right, the bias is not: it is what the norm makes "
            "of 0, and the mean is scaled too."
        )
    if torch.equal(new_weight, weight):
        raise Wrong("The weight has to take the norm's scale.")
    scale = norm.weight * norm.running_var.rsqrt()
    if near(new_weight, weight * scale[:, None, None, None]):
        raise Wrong("1e-5 is added to the variance before the root.")
    raise Wrong(
        "The weight is off: each output channel, weight[c], is multiplied by "
        "weight / root(variance + 1e-5) of the norm's channel c."
    )


def exercise_3(answer) -> str:
    """Shift a code: answer(code, step, temperature) -> code."""
    needs_function(answer)
    for temperature in (20.0, 10000.0):
        for place, step in ((0.7, 0.4), (2.0, -1.3), (0.0, 3.0)):
            code = _code(place, temperature)
            found = tensor(
                answer(code.clone(), step, temperature),
                "Return a code of the same length",
                (12,),
            )
            if near(found, _code(place + step, temperature), 1e-4):
                continue
            if near(found, code, 1e-4):
                raise Wrong("The code came back as it was: turn each pair.")
            if near(found, _code(place - step, temperature), 1e-4):
                raise Wrong("It goes the wrong way: look at the signs.")
            sine, cosine = code[0::2], code[1::2]
            turned = torch.stack(
                (
                    sine * math.cos(step) + cosine * math.sin(step),
                    cosine * math.cos(step) - sine * math.sin(step),
                ),
                -1,
            ).flatten()
            if near(found, turned, 1e-4):
                raise Wrong(
                    "All pairs turn by one angle; the slower waves must turn "
                    "less: step / T^(2k/c)."
                )
            halves = torch.cat((found[:6, None], found[6:, None]), 1)
            wanted = _code(place + step, temperature)
            if near(halves.flatten(), wanted, 1e-4):
                raise Wrong(
                    "The numbers are right, their order is not: sines and "
                    "cosines alternate."
                )
            raise Wrong(
                f"At p = {place}, step {step}, T = {temperature:g} the code "
                "is off: turn pair k by step / T^(2k/c)."
            )
    return "You never needed p: a step is the same turn everywhere."


def exercise_4(answer) -> str:
    """Mean distance of what heads look at: answer(weights, columns)."""
    needs_function(answer)
    generator = torch.Generator().manual_seed(2)
    rows, columns = 3, 5
    weights = torch.rand(2, 15, 15, generator=generator) ** 4
    weights = weights / weights.sum(-1, keepdim=True)
    weights = torch.cat((weights, torch.eye(15)[None]))
    found = tensor(
        answer(weights.clone(), columns), "Return a number for each head", (3,)
    )

    def mean_distance(columns, rows=rows, power=1.0, scale=1.0):
        n = torch.arange(15)
        y, x = n // columns, n % columns
        dy, dx = y[:, None] - y, x[:, None] - x
        apart = (dy**2 + dx**2).float().sqrt() ** power * scale
        return (weights * apart).sum(-1).mean(-1)

    if near(found, mean_distance(columns), 2e-3):
        return "A head that looks at itself alone has the reach 0."
    if near(found, mean_distance(columns, power=2.0), 2e-3):
        raise Wrong("These are squared distances; the root is missing.")
    if near(found, mean_distance(columns, scale=15.0), 2e-3):
        raise Wrong("That is the sum over the tokens; take their mean.")
    n = torch.arange(15)
    dy = (n[:, None] // columns - n // columns).abs()
    dx = (n[:, None] % columns - n % columns).abs()
    for apart in (dy + dx, torch.maximum(dy, dx)):
        if near(found, (weights * apart).sum(-1).mean(-1), 2e-3):
            raise Wrong(
                "The distance is meant in a straight line: the root of "
                "dy^2 + dx^2."
            )
    if near(found, mean_distance(rows), 2e-3):
        raise Wrong(
            "Rows and columns are mixed up: token n lies in row n // columns."
        )
    if near(found, mean_distance(15), 2e-3):
        raise Wrong(
            "That is the distance in token numbers; the tokens lie in rows "
            "of `columns`."
        )
    raise Wrong(
        "The means are off: weigh each distance by the attention, sum over "
        "the keys, take the mean over the tokens."
    )


def _code(place: float, temperature: float, channels: int = 12) -> Tensor:
    angle = place / temperature ** (torch.arange(0, channels, 2) / channels)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten()


def _plain(values: Tensor) -> str:
    return " x ".join(f"{v:g}" for v in values.tolist())
