"""Chapter 5's checkers: right answers of any form, and typical mistakes."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from detr_lite.losses import dice_loss
from detr_lite.teaching.exercises import check

NOTEBOOK = Path(__file__).parents[1] / "book" / "05_training_steps.ipynb"
NAMES = {
    "check": check,
    "dice_loss": dice_loss,
    "torch": torch,
    "seen": SimpleNamespace(mask_logits=torch.ones(2, 4, 4)),
}


@pytest.fixture(scope="module")
def cells():
    """The code of the chapter's cells."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [c.source for c in notebook.cells if c.cell_type == "code"]


@pytest.mark.parametrize("number", ["5.1", "5.2", "5.3", "5.4", "5.5"])
def test_stub_and_solution(cells, capsys, number):
    call = f'check("{number}"'
    stub, solution = (c for c in cells if call in c)
    exec(stub, dict(NAMES))
    said = f"Exercise {number}: not answered yet.\n"
    assert capsys.readouterr().out == said
    assert solution.startswith(f"#@title Solution to exercise {number}\n")
    exec(solution, dict(NAMES))
    assert f"Exercise {number}: right." in capsys.readouterr().out


def says(capsys, number, answer):
    """Return what the checker says of an answer."""
    check(number, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "color", [[112, 17, 1], torch.tensor([112, 17, 1]), np.uint8([112, 17, 1])]
)
def test_a_color_of_any_type(capsys, color):
    assert "right" in says(capsys, "5.1", color)


@pytest.mark.parametrize(
    ("color", "hint"),
    [
        ((1, 17, 112), "wrong order"),
        ((112, 17, 0), "the id 4464"),
        ((70000, 0, 0), "0 to 255"),
        ((112.5, 17, 1), "whole number"),
        (70000, "three numbers"),
        ("red", "three numbers"),
        (("r", "g", "b"), "three numbers"),
    ],
)
def test_wrong_colors(capsys, color, hint):
    answer = says(capsys, "5.1", color)
    assert "not yet" in answer
    assert hint in answer


@pytest.mark.parametrize("loss", [0.4, torch.tensor(0.4), np.float32(0.4)])
def test_a_loss_of_any_type(capsys, loss):
    assert "right" in says(capsys, "5.2", loss)


@pytest.mark.parametrize(
    ("loss", "hint"),
    [
        (0.5, "Without the two ones"),
        (0.6, "1 minus it"),
        (0.25, "sum of p"),
        (float("nan"), "one number"),
        ((0.4, 0.4), "one number"),
        ("2/5", "one number"),
    ],
)
def test_wrong_losses(capsys, loss, hint):
    answer = says(capsys, "5.2", loss)
    assert "not yet" in answer
    assert hint in answer


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


@pytest.mark.parametrize(
    "freeze", [the_model_sees_to_it, part_by_part, before_each_call]
)
def test_other_ways_to_freeze(capsys, freeze):
    assert "right" in says(capsys, "5.3", freeze)


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


@pytest.mark.parametrize(
    ("freeze", "hint"),
    [
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
    ],
)
def test_wrong_ways_to_freeze(capsys, freeze, hint):
    answer = says(capsys, "5.3", freeze)
    assert "not yet" in answer
    assert hint in answer


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


def test_another_way_to_panoptic_quality(capsys):
    assert "right" in says(capsys, "5.4", mean_pq)


@pytest.mark.parametrize(
    "function",
    [
        whole_errors,
        all_classes_together,
        matches_alone,
        half_is_enough,
        any_overlap,
    ],
)
def test_wrong_panoptic_qualities(capsys, function):
    answer = says(capsys, "5.4", function)
    assert "not yet" in answer
    assert "the PQ is" in answer


def test_panoptic_quality_is_one_number(capsys):
    answer = says(capsys, "5.4", lambda *maps: [0.5, 0.5])
    assert "one number" in answer


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


@pytest.mark.parametrize("assign", [by_pixels, by_sigmoid])
def test_other_ways_to_void(capsys, assign):
    assert "right" in says(capsys, "5.5", assign)


def logit_above_half(m):
    return m.argmax(0).masked_fill(m.amax(0) <= 0.5, -1)


def softmax_above_half(m):
    best, index = m.softmax(0).max(0)
    return index.masked_fill(best <= 0.5, -1)


@pytest.mark.parametrize(
    ("assign", "hint"),
    [
        (lambda m: m.argmax(0), "plain argmax"),
        (logit_above_half, "a logit of 0"),
        (softmax_above_half, "largest of its logits"),
        (lambda m: (m.amax(0) > 0).long() - 1, "other pixels are not"),
        (lambda m: m > 0, "return 5 x 7 numbers"),
        (lambda m: "void", "as a tensor"),
        (lambda m: m.max(3), "IndexError"),
    ],
)
def test_wrong_ways_to_void(capsys, assign, hint):
    answer = says(capsys, "5.5", assign)
    assert "not yet" in answer
    assert hint in answer
