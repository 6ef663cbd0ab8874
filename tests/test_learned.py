"""What the shipped model has learned, as chapters 1 and 2 say it."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from detr_lite import evaluate, load_model
from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.detr import found


@pytest.fixture(scope="module")
def scenes():
    return SceneSplit(VALIDATION_SEED, 64)


@pytest.fixture
def model():
    return load_model("scenes", "cpu").requires_grad_(False)


@pytest.fixture
def changed():
    """Let a function change what a module returns, until the test ends."""
    handles = []
    yield lambda module, change: handles.append(
        module.register_forward_hook(change)
    )
    for handle in handles:
        handle.remove()


def say(model, scenes):
    """Return what DETR says of all scenes at once."""
    return model.detr(collate([scenes[i] for i in range(len(scenes))]).images)


def same_thing_wins(features, scenes):
    """Return how often a position is more similar to one on the same thing
    than to one on another thing of the same class."""
    x = features.flatten(2).transpose(1, 2)
    x = F.normalize(x - x.mean(1, keepdim=True), dim=-1)
    rates = []
    for vectors, scene in zip(x, scenes, strict=True):
        ids = scene.id_map[4::8, 4::8].flatten().long()
        labels = scene.labels[ids - 1]
        alike = vectors @ vectors.T
        for p in range(len(ids)):
            if not scenes.categories[labels[p]].isthing:
                continue
            own = ids == ids[p]
            own[p] = False
            rival = (labels == labels[p]) & (ids != ids[p])
            if own.any() and rival.any():
                wins = alike[p, own][:, None] > alike[p, rival]
                rates.append(wins.float().mean())
    return torch.stack(rates).mean().item()


def test_memory_holds_a_thing_together_and_src_proj_does_not(model, scenes):
    output = say(model, scenes)
    assert same_thing_wins(output.src_proj, scenes) < 0.7
    assert same_thing_wins(output.memory, scenes) > 0.85


def test_boxes_are_read_off_the_positional_encodings(model, scenes, changed):
    some = Part(scenes, range(32))
    before = evaluate(model, some).metrics
    position = model.detr.backbone[1]
    changed(position, lambda module, inputs, code: code.flip(-1))
    mirrored = evaluate(model, some).metrics

    def mirror_boxes(module, inputs, detection):
        cx, others = detection.layer_boxes.split((1, 3), -1)
        return replace(detection, layer_boxes=torch.cat((1 - cx, others), -1))

    changed(model.detr, mirror_boxes)
    back = evaluate(model, some).metrics
    changed(position, lambda module, inputs, code: 0 * code)
    without = evaluate(model, some).metrics
    assert without["box_ap"] < before["box_ap"] / 2
    assert without["pq"] < before["pq"] / 2
    assert mirrored["box_ap"] < back["box_ap"] < before["box_ap"]
    # The masks need no ruler.
    assert mirrored["pq"] > 0.8 * before["pq"]


def duplicates(model, output):
    """Return the number of duplicates in each layer of all scenes."""
    counts = []
    for logits, boxes in zip(
        output.layer_logits, output.layer_boxes, strict=True
    ):
        kept, labels = found(logits, model.threshold), logits.argmax(-1)
        corners = cxcywh_to_xyxy(boxes)
        overlap = torch.stack([box_iou(c, c) for c in corners]) > 0.5
        overlap &= labels[:, :, None] == labels[:, None]
        overlap &= kept[:, :, None] & kept[:, None]
        counts.append(overlap.triu(1).sum().item())
    return counts


def test_queries_settle_by_talking_who_reports_what(model, scenes, changed):
    first, *_, last = duplicates(model, say(model, scenes))
    assert last < first / 2

    def hear_themselves(module, inputs, mixed):
        _, _, value = inputs
        _, _, weight = module.in_proj_weight.chunk(3)
        return module.out_proj(
            F.linear(value, weight, module.in_proj_bias.chunk(3)[2])
        )

    for layer in model.detr.transformer.decoder.layers:
        changed(layer.self_attn, hear_themselves)
    deaf, *_, late = duplicates(model, say(model, scenes))
    # The self-attention of the first layer is a constant anyway.
    assert abs(deaf - first) <= 2
    assert late > 3 * first


def test_a_query_has_a_place_and_one_kind_of_segment(model, scenes):
    output = say(model, scenes)
    kept = found(output.class_logits, model.threshold)
    labels = output.class_logits.argmax(-1)
    isthing = torch.tensor([c.isthing for c in scenes.categories] + [False])
    apart = 0
    for query in range(kept.shape[1]):
        mine = labels[kept[:, query], query]
        if len(mine) < 10:
            continue
        things = isthing[mine].float().mean().item()
        assert max(things, 1 - things) > 0.9
        centers = output.boxes[kept[:, query], query, :2]
        if things > 0.5:
            most = mine.bincount().max().item() / len(mine)
            assert most < 0.6
            assert centers.std(0).max() < 0.2  # of the image's side
        apart += 1
    assert apart > 5
