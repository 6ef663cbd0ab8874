"""PyTorch's own tools take the models as they are: export and compile."""

from dataclasses import replace

import pytest
import torch
from support import CONFIG, randomized

from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.inference.model import build_model


@pytest.fixture
def images():
    return torch.randn(2, 3, 96, 80)


def padding(images):
    """Return a mask by which the second image is smaller."""
    mask = torch.zeros_like(images[:, 0], dtype=torch.bool)
    mask[1, 64:] = True
    return mask


def assert_same(mine, wanted, names):
    for name in names:
        a, b = getattr(mine, name), getattr(wanted, name)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


DETECTION = ("class_logits", "boxes", "layer_logits", "layer_boxes", "memory")
MASKS = ("image_index", "query_index", "attention_maps", "mask_logits")


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_the_detector_is_exported(sure_model, images, padded):
    inputs = images, padding(images) if padded else None
    program = torch.export.export(sure_model.detr, inputs)
    found = program.module()(*inputs)
    assert_same(found, sure_model.detr(*inputs), DETECTION)
    other = torch.randn_like(images)
    found = program.module()(other, inputs[1])
    assert_same(found, sure_model.detr(other, inputs[1]), DETECTION)


@torch.no_grad()
def test_the_whole_model_is_exported(sure_model, images):
    """Though how many masks it makes depends on what it sees."""
    others = 2 * torch.randn_like(images) + 1
    output = sure_model(images)
    scores = output.class_logits.softmax(-1).amax(-1)
    sure_model.threshold = scores.median().item()
    program = torch.export.export(sure_model, (images, None))
    counts = set()
    for pictures in (images, others):
        found = program.module()(pictures, None)
        wanted = sure_model(pictures)
        counts.add(len(wanted.mask_logits))
        assert_same(found, wanted, MASKS)
        assert_same(found.detection, wanted.detection, DETECTION)
    assert len(counts) == 2


@torch.no_grad()
def test_a_model_for_boxes_is_exported(images):
    config = replace(CONFIG, masks=False)
    model = randomized(build_model(config, SCENE_CATEGORIES)).eval()
    program = torch.export.export(model, (images,))
    assert_same(program.module()(images), model(images), DETECTION)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_the_detector_is_one_graph(sure_model, images, padded):
    inputs = images, padding(images) if padded else None
    compiled = torch.compile(sure_model.detr, fullgraph=True, backend="eager")
    assert_same(compiled(*inputs), sure_model.detr(*inputs), DETECTION)


def test_the_graph_of_the_detector_has_its_gradients(tiny_model, images):
    """In eval mode: dropout would draw numbers of its own."""
    found = []
    for detr in (
        tiny_model.detr,
        torch.compile(tiny_model.detr, fullgraph=True, backend="eager"),
    ):
        tiny_model.zero_grad()
        output = detr(images)
        loss = output.layer_logits.square().mean()
        (loss + output.layer_boxes.square().mean()).backward()
        weight = tiny_model.detr.backbone[0].body.conv1.weight
        found.append(weight.grad.clone())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
