"""Answers to the exercises of chapter 4."""

import torch
import torch.nn.functional as F

from answers import Answers
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.detr import found

RIGHT = 64 * 32 * 9 * 100 * 134

multiply_adds = Answers(
    right=(RIGHT, float(RIGHT), torch.tensor(RIGHT), 246_988_800),
    wrong=(
        (RIGHT // 9, "nine places"),
        (2 * RIGHT, "count as one"),
        (100 * RIGHT, "100 queries"),
        (RIGHT + 32 * 13400, "bias"),
        (64 * 32 * 9 * 50 * 67, "Res4's size"),
        (32 * 16 * 9 * 200 * 267, "stage 5"),
        (12345, "input channels times"),
        ("many", "whole number"),
        ([RIGHT, 0], "whole number"),
    ),
    edges=((lambda off: RIGHT + off, 0, 1),),
)

# 2: nearest upsampling


def nearest_in_two_steps(x, size):
    height, width = x.shape[-2:]
    rows = [i * height // size[0] for i in range(size[0])]
    columns = [i * width // size[1] for i in range(size[1])]
    return x[..., rows, :][..., columns].double()


def copied_twice(x, size):
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def copied_twice_and_cropped(x, size):
    return copied_twice(x, size)[..., : size[0], : size[1]]


def rounded(x, size):
    rows = (torch.linspace(0, x.shape[-2] - 1, size[0])).round().long()
    columns = (torch.linspace(0, x.shape[-1] - 1, size[1])).round().long()
    return x[..., rows[:, None], columns]


enlarge = Answers(
    right=(
        nearest_in_two_steps,
        lambda x, size: F.interpolate(x, size=size, mode="nearest"),
    ),
    wrong=(
        (lambda x, size: F.interpolate(x, size, mode="bilinear"), "new ones"),
        (rounded, "j * w // W"),
        (copied_twice_and_cropped, "(1, 2, 3, 5) to the size (7, 8)"),
        (copied_twice, "(2, 3, 50, 68), not (2, 3, 50, 67)"),
        (lambda x, size: [], "a tensor"),
        (lambda x, size: x[9], "IndexError"),
        (7, "is a function"),
    ),
    edges=(
        (
            lambda off: lambda x, size: nearest_in_two_steps(x, size) + off,
            0.0008,
            0.0013,
        ),
    ),
)

# 3: GroupNorm


def by_loops(x, groups):
    out = torch.empty_like(x, dtype=torch.float64)
    size = x.shape[1] // groups
    for sample in range(len(x)):
        for i in range(groups):
            part = slice(i * size, (i + 1) * size)
            group = x[sample, part].double()
            variance = group.var(correction=0)
            out[sample, part] = (group - group.mean()) / (
                variance + 1e-5
            ).sqrt()
    return out


def normalized(x, groups, correction=0, eps=1e-5, root=True):
    rows = x.reshape(len(x), groups, -1)
    variance = rows.var(-1, correction=correction, keepdim=True) + eps
    divisor = variance.sqrt() if root else variance
    return ((rows - rows.mean(-1, keepdim=True)) / divisor).view(x.shape)


def centered(x, groups):
    rows = x.reshape(len(x), groups, -1)
    return (rows - rows.mean(-1, keepdim=True)).view(x.shape)


def over_the_samples(x, groups):
    return normalized(x.transpose(0, 1)[None], groups)[0].transpose(0, 1)


group_norm = Answers(
    right=(by_loops, lambda x, groups: F.group_norm(x, groups)),
    wrong=(
        (lambda x, g: normalized(x, x.shape[1]), "two channels"),
        (lambda x, g: normalized(x, 1), "one group"),
        (lambda x, g: normalized(x, x.shape[1] // g), "groups of"),
        (lambda x, g: normalized(x, g, correction=1), "one less"),
        (lambda x, g: normalized(x, g, root=False), "root of the variance"),
        (lambda x, g: normalized(x, g, eps=0), "NaN"),
        (centered, "variance isn't 1"),
        (
            lambda x, g: F.batch_norm(x, None, None, training=True),
            "batch norm",
        ),
        (over_the_samples, "over the samples"),
        (lambda x, g: x, "mean 0 and variance 1"),
        (lambda x, g: x.flatten(1), "its shape is (2, 72)"),
    ),
    edges=((lambda off: lambda x, g: by_loops(x, g) + off, 0.0008, 0.0013),),
)

# 4: things only

LABELS = [i for i, c in enumerate(SCENE_CATEGORIES) if c.isthing]


def by_probability(detection):
    scores, labels = detection.class_logits.softmax(-1).max(-1)
    keep = torch.zeros_like(labels, dtype=torch.bool)
    for label in LABELS:
        keep |= labels == label
    return keep & (scores > 0.7)


def best(detection):
    return detection.class_logits.argmax(-1)


def sure(detection):
    return found(detection.class_logits, 0.7)


def no_object_too(detection):
    listed = torch.isin(best(detection), torch.tensor([*LABELS, 8]))
    return listed & (detection.class_logits.softmax(-1).amax(-1) > 0.7)


things_only = Answers(
    right=(by_probability,),
    wrong=(
        (sure, "sure of stuff"),
        (lambda d: torch.isin(best(d), torch.tensor(LABELS)), "isn't sure"),
        (no_object_too, "no object"),
        (lambda d: sure(d) & (best(d) == LABELS[0]), "not kept"),
        (
            lambda d: torch.tensor([c.isthing for c in SCENE_CATEGORIES])[
                best(d)
            ],
            "IndexError",
        ),
        (best, "True and False"),
        (lambda d: sure(d).nonzero() > 0, "(2, 4)"),
        (lambda d: d.boxes[..., 0] > 2, "not kept"),
    ),
)

level = Answers(
    wrong=(
        ("res5", "res4"),
        (3, "res4"),
        ("adapter2", "res4"),
    ),
    choices=("res2", " Res 3 ", "RES4"),
)

ANSWERS = {
    1: multiply_adds,
    2: enlarge,
    3: group_norm,
    4: things_only,
    5: level,
}
