"""Answers to the exercises of chapter 1."""

import math

import numpy as np
import torch

from answers import Answers

# 1: the positions of Res5


def by_halving(height, width):
    for _ in range(5):
        height, width = (height + 1) // 2, (width + 1) // 2
    return [height, width]


positions = Answers(
    right=(
        by_halving,
        lambda h, w: torch.tensor(by_halving(h, w)),
        lambda h, w: np.ceil(np.array([h, w]) / 32),
        lambda h, w: torch.empty(h, w)[::32, ::32].shape,
    ),
    wrong=(
        (lambda h, w: (h // 32, w // 32), "round down"),
        (lambda h, w: by_halving(w, h), "h, then w"),
        (lambda h, w: by_halving(h, w)[0], "(h, w)"),
        (lambda h, w: (h / 32, w / 32), "25 rows and 34 columns"),
        (
            lambda h, w: (h // 32 + 1, w // 32 + 1),
            "25 rows and 34 columns for 800 x 1066 pixels, not 26 x 34",
        ),
    ),
    edges=(
        (lambda off: lambda h, w: [s + off for s in by_halving(h, w)], 0, 0.1),
    ),
)

# 2: a norm folded into the convolution before it


def scale_of(norm, eps=1e-5):
    return norm.weight / (norm.running_var + eps).sqrt()


def by_probing(weight, norm):
    """Ask the norm what it makes of 0 and of 1."""
    channels = len(weight)
    shift = norm(torch.zeros(1, channels, 1, 1)).flatten()
    scale = norm(torch.ones(1, channels, 1, 1)).flatten() - shift
    return torch.einsum("cikl,c->cikl", weight, scale), shift


def off_by(off):
    def fold(weight, norm):
        folded, bias = by_probing(weight, norm)
        return folded, bias + off

    return fold


def changes_the_weight(weight, norm):
    bias = by_probing(weight.clone(), norm)[1]
    weight *= scale_of(norm)[:, None, None, None]
    return weight, bias


def along_the_inputs(weight, norm):
    return weight * scale_of(norm)[:3, None, None], norm.bias


fold = Answers(
    right=(
        by_probing,
        lambda w, n: [x.double() for x in by_probing(w, n)],
        lambda w, n: (by_probing(w, n)[0], by_probing(w, n)[1].tolist()),
    ),
    wrong=(
        (lambda w, n: by_probing(w, n)[0], "two tensors"),
        (lambda w, n: (by_probing(w, n)[0], n.bias), "the bias is not"),
        (
            lambda w, n: (by_probing(w, n)[0], n.bias - n.running_mean),
            "the bias is not",
        ),
        (lambda w, n: (w, by_probing(w, n)[1]), "has to take the norm's"),
        (
            lambda w, n: (
                w * scale_of(n, 0)[:, None, None, None],
                by_probing(w, n)[1],
            ),
            "1e-5",
        ),
        (along_the_inputs, "each output channel"),
        (changes_the_weight, "has changed"),
        (lambda w, n: by_probing(w, n)[::-1], "weight comes first"),
        (lambda w, n: (by_probing(w, n)[0], [0.0]), "one a channel"),
        (lambda w, n: (w[0], n.bias), "its shape is"),
    ),
    edges=((off_by, 0.0005, 0.003),),
)

# 3: a code shifted


def by_angles(code, step, temperature):
    """Read the angle off the code, turn it, and write the code anew."""
    channels = len(code)
    turned = []
    for i in range(0, channels, 2):
        angle = math.atan2(code[i], code[i + 1])
        angle += step / temperature ** (i / channels)
        turned += [math.sin(angle), math.cos(angle)]
    return turned


def in_halves(code, step, temperature):
    turned = by_angles(code, step, temperature)
    return turned[0::2] + turned[1::2]


shifted = Answers(
    right=(
        by_angles,
        lambda c, s, t: torch.tensor(by_angles(c, s, t)).double(),
    ),
    wrong=(
        (lambda c, s, t: by_angles(c, -s, t), "wrong way"),
        (lambda c, s, t: c, "as it was"),
        (lambda c, s, t: by_angles(c, s, 1.0), "by one angle"),
        (in_halves, "their order is not"),
        (lambda c, s, t: c + s, "turn pair k"),
        (lambda c, s, t: c[:6], "same length"),
    ),
    edges=(
        (
            lambda off: lambda *args: [x + off for x in by_angles(*args)],
            0.00008,
            0.00015,
        ),
    ),
)

# 4: how far heads look


def by_steps(weights, columns, how):
    y, x = torch.arange(15) // columns, torch.arange(15) % columns
    steps = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    return (weights * how(*steps)).sum(-1).mean(-1)


def by_loops(weights, columns, power=0.5, mean=True):
    reach = []
    for head in weights.tolist():
        total = 0.0
        for i, row in enumerate(head):
            for j, share in enumerate(row):
                dy, dx = i // columns - j // columns, i % columns - j % columns
                total += share * (dy**2 + dx**2) ** power
        reach.append(total / len(head) if mean else total)
    return reach


reach = Answers(
    right=(
        by_loops,
        lambda w, c: np.array(by_loops(w, c)),
        lambda w, c: torch.tensor(by_loops(w, c)).half().float(),
    ),
    wrong=(
        (lambda w, c: by_loops(w, c, power=1), "squared distances"),
        (lambda w, c: by_loops(w, c, mean=False), "sum over the tokens"),
        (lambda w, c: by_steps(w, c, torch.add), "straight line"),
        (lambda w, c: by_steps(w, c, torch.maximum), "straight line"),
        (lambda w, c: by_loops(w, 3), "Rows and columns"),
        (lambda w, c: by_loops(w, 15), "token numbers"),
        (lambda w, c: sum(by_loops(w, c)) / 3, "each head"),
        (lambda w, c: [1.0, 1.0, 1.0], "means are off"),
    ),
    edges=(
        (
            lambda off: lambda w, c: [x + off for x in by_loops(w, c)],
            0.0015,
            0.0025,
        ),
    ),
)

ANSWERS = {1: positions, 2: fold, 3: shifted, 4: reach}
