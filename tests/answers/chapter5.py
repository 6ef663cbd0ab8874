"""Answers to the exercises of chapter 5."""

import numpy as np
import torch
from torch import nn

from answers import Answers

color = Answers(
    right=([112, 17, 1], torch.tensor([112, 17, 1]), np.uint8([112, 17, 1])),
    wrong=(
        ((1, 17, 112), "wrong order"),
        ((112, 17, 0), "the id 4464"),
        ((70000, 0, 0), "0 to 255"),
        ((112.5, 17, 1), "whole number"),
        (70000, "three numbers"),
        ("red", "three numbers"),
        (("r", "g", "b"), "three numbers"),
    ),
    edges=((lambda off: (112 + off, 17, 1), 0, 1),),
)

loss = Answers(
    right=(0.4, torch.tensor(0.4), np.float32(0.4)),
    wrong=(
        (0.5, "Without the two ones"),
        (0.6, "1 minus it"),
        (0.25, "sum of p"),
        (float("nan"), "one number"),
        ((0.4, 0.4), "one number"),
        ("2/5", "one number"),
    ),
    edges=((lambda off: 0.4 + off, 0.004, 0.006),),
)

# 3: a detector frozen for good


def heads(model):
    """Return what is left to train."""
    return [*model.bbox_attention.parameters(), *model.mask_head.parameters()]


def the_model_sees_to_it(model):
    """Leave the detector as it is; wrap the whole model's own train."""
    model.detr.eval().requires_grad_(False)
    train = model.train

    def stay(mode=True):
        train(mode)
        model.detr.eval()
        return model

    model.train = stay
    return iter(heads(model))


def part_by_part(model):
    for parameter in model.detr.parameters():
        parameter.requires_grad = False
    for module in model.detr.modules():
        module.training = False
        module.train = lambda mode=True, module=module: module
    return tuple(heads(model)[::-1])


def before_each_call(model):
    model.detr.requires_grad_(False)
    model.detr.register_forward_pre_hook(lambda m, inputs: m.eval() and None)
    return heads(model)


def gradients_alone(model):
    model.detr.requires_grad_(False)
    return heads(model)


def mode_alone(model):
    model.eval()
    return heads(model)


def dropout_alone(model):
    model.detr.requires_grad_(False)
    for module in model.detr.modules():
        if not isinstance(module, nn.BatchNorm2d):
            module.training = False
    return heads(model)


def norms_alone(model):
    model.detr.requires_grad_(False)
    for module in model.detr.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return heads(model)


def until_train(model):
    model.detr.requires_grad_(False).eval()
    return heads(model)


def nothing_ever_trains(model):
    model.detr.requires_grad_(False)
    model.eval()
    model.train = lambda mode=True: model
    return heads(model)


def all_of_it(model):
    model.requires_grad_(False).eval()
    return heads(model)


def half_of_the_heads(model):
    model.detr.requires_grad_(False).eval()
    return list(model.mask_head.parameters())


def everything_returned(model):
    model.detr.requires_grad_(False).eval()
    return list(model.parameters())


def a_number(model):
    model.detr.requires_grad_(False).eval()
    return 1


def broken(model):
    return model.detector


freeze = Answers(
    right=(the_model_sees_to_it, part_by_part, before_each_call),
    wrong=(
        (gradients_alone, "buffers"),
        (mode_alone, "ask for gradients"),
        (dropout_alone, "buffers"),
        (norms_alone, "dropout is on"),
        (until_train, "After model.train() a forward pass"),
        (nothing_ever_trains, "still reach the mask head"),
        (all_of_it, "cannot learn"),
        (half_of_the_heads, "all of them"),
        (everything_returned, "no others"),
        (a_number, "as a list"),
        (broken, "AttributeError"),
    ),
)

# 4: panoptic quality of one image


def counted(found_map, found, true_map, true, least=0.5, reachable=False):
    """Return (sum of IoUs, TP, FP, FN) for each class; another algorithm."""
    counts = {label: [0.0, 0, 0, 0] for label in (*found.values(),)}
    counts |= {label: [0.0, 0, 0, 0] for label in true.values()}
    open_found, open_true = dict(found), dict(true)
    for i, label in found.items():
        for t, other in true.items():
            a, b = (found_map == i).numpy(), (true_map == t).numpy()
            iou = np.logical_and(a, b).sum() / np.logical_or(a, b).sum()
            good = iou >= least if reachable else iou > least
            if label == other and good:
                counts[label][0] += iou
                counts[label][1] += 1
                open_found.pop(i, None)
                open_true.pop(t, None)
    for label in open_found.values():
        counts[label][2] += 1
    for label in open_true.values():
        counts[label][3] += 1
    return counts.values()


def mean_pq(*maps, **options):
    rows = counted(*maps, **options)
    rates = [iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in rows]
    return torch.tensor(sum(rates) / len(rates))


def whole_errors(*maps):
    rows = counted(*maps)
    rates = [iou / (tp + fp + fn) for iou, tp, fp, fn in rows]
    return sum(rates) / len(rates)


def all_classes_together(*maps):
    iou, tp, fp, fn = map(sum, zip(*counted(*maps), strict=True))
    return iou / (tp + fp / 2 + fn / 2)


def matches_alone(*maps):
    rates = [iou / tp for iou, tp, _, _ in counted(*maps) if tp]
    return sum(rates) / max(len(rates), 1)


def half_is_enough(*maps):
    return mean_pq(*maps, reachable=True)


def any_overlap(*maps):
    return mean_pq(*maps, least=0.0)


image_pq = Answers(
    right=(mean_pq,),
    wrong=(
        (whole_errors, "the PQ is"),
        (all_classes_together, "the PQ is"),
        (matches_alone, "the PQ is"),
        (half_is_enough, "the PQ is"),
        (any_overlap, "the PQ is"),
        (lambda *maps: [0.5, 0.5], "one number"),
    ),
    edges=(
        (lambda off: lambda *maps: mean_pq(*maps) + off, 0.00008, 0.00013),
    ),
)

# 5: void


def by_pixels(mask_logits):
    """Return a list of rows, made pixel by pixel."""
    _, height, width = mask_logits.shape
    rows = []
    for y in range(height):
        scores = [mask_logits[:, y, x].tolist() for x in range(width)]
        rows.append([s.index(max(s)) if max(s) > 0 else -1 for s in scores])
    return rows


def by_sigmoid(mask_logits):
    best, index = mask_logits.sigmoid().max(0)
    index[best <= 0.5] = -1
    return index.to(torch.int32)


def logit_above_half(m):
    return m.argmax(0).masked_fill(m.amax(0) <= 0.5, -1)


def softmax_above_half(m):
    best, index = m.softmax(0).max(0)
    return index.masked_fill(best <= 0.5, -1)


with_void = Answers(
    right=(by_pixels, by_sigmoid),
    wrong=(
        (lambda m: m.argmax(0), "plain argmax"),
        (logit_above_half, "a logit of 0"),
        (softmax_above_half, "largest of its logits"),
        (lambda m: (m.amax(0) > 0).long() - 1, "other pixels are not"),
        (lambda m: m > 0, "return 5 x 7 numbers"),
        (lambda m: "void", "as a tensor"),
        (lambda m: m.max(3), "IndexError"),
    ),
)

ANSWERS = {1: color, 2: loss, 3: freeze, 4: image_pq, 5: with_void}
