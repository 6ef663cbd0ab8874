"""A model without masks: the boxes that the panoptic model finds."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from IPython.core.formatters import PNGFormatter
from PIL import Image
from support import CONFIG, on_disk, randomized, same_weights

from detr_lite.cli.main import main
from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError
from detr_lite.inference.drawing import boxes_overlay
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import DetectionModel, build_model
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.weights.writing import save_model


@pytest.fixture
def detector(sure_model):
    """The sure model's detector alone; it answers with every query."""
    config = replace(sure_model.config, masks=False)
    model = build_model(config, SCENE_CATEGORIES)
    model.detr.load_state_dict(sure_model.detr.state_dict())
    return model.eval()


def test_its_tensors_are_the_panoptic_models_without_the_mask_head(
    detector, sure_model
):
    assert isinstance(detector, DetectionModel)
    mine, whole = detector.state_dict(), sure_model.state_dict()
    assert mine.keys() == {n for n in whole if n.startswith("detr.")}


@torch.no_grad()
def test_boxes_are_the_queries_best_classes_surest_first(detector, scenes):
    picture = scenes[0].image
    found = detector.predict(picture)
    output = detector(*pad_images([picture]))
    scores, labels = output.class_logits[0].softmax(-1)[:, :-1].max(-1)
    assert len(found) == len(scores)  # "no object" may be surer: no matter
    order = scores.argsort(descending=True)
    assert torch.equal(found.labels, labels[order])
    torch.testing.assert_close(found.scores, scores[order])
    for box, (cx, cy, w, h) in zip(
        found.boxes, output.boxes[0][order], strict=True
    ):
        wanted = torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
        torch.testing.assert_close(box, 96 * wanted.clamp(0, 1))


@torch.no_grad()
def test_boxes_are_in_pixels_of_the_picture_as_given(detector, scenes):
    last = detector.detr.bbox_embed.layers[-1]
    last.weight.zero_()
    last.bias.copy_(torch.tensor([0.0, 0.0, -1.0986123, 40.0]))
    small = scenes[0].image
    large = small.repeat_interleave(2, 1).repeat_interleave(3, 2)
    boxes = detector.predict(large).boxes
    wanted = torch.tensor([0.375 * 288, 0.0, 0.625 * 288, 192.0])
    torch.testing.assert_close(boxes, wanted.expand_as(boxes))


def test_a_threshold_leaves_the_surer_ones(detector, scenes):
    found = detector.predict(scenes[0].image)
    middle = found.scores[5].item()
    some = detector.predict(scenes[0].image, threshold=middle)
    assert torch.equal(some.scores, found.scores[:5])
    nothing = detector.predict(scenes[0].image, threshold=1.0)
    assert len(nothing) == 0
    assert nothing.overlay().size == found.overlay().size


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_model_as_it_was(detector, scenes, training):
    detector.train(training)
    first, second = (detector.predict(scenes[0].image) for _ in range(2))
    assert torch.equal(first.scores, second.scores)  # no dropout
    assert detector.training is training


def test_detections_show_themselves_in_a_notebook(detector, scenes):
    found = detector.predict(scenes[0].image)
    shown = Image.open(io.BytesIO(PNGFormatter()(found)))
    assert shown.format == "PNG"
    assert shown.size == found.overlay().size == (384, 384)


def test_a_box_is_drawn_in_its_classs_color_where_it_is():
    found = Prediction(
        torch.full((3, 100, 100), 100, dtype=torch.uint8),
        None,
        (Segment(1, 2, 0.9, 0, 0, (0.5, 0.65, 0.6, 0.5)),),
        SCENE_CATEGORIES,
        None,
    )
    drawn = np.asarray(boxes_overlay(found, smallest=100))
    color = SCENE_CATEGORIES[2].color
    assert (drawn[60:80, 20] == color).all()
    assert (drawn[60:80, 79] == color).all()
    assert (drawn[89, 30:70] == color).all()
    assert (drawn[60:80, 30:70] == 100).all()
    assert (drawn[:30] == 100).all()
    large = np.asarray(boxes_overlay(found, smallest=300))
    assert (large[200, 60] == color).all()
    assert (large[200, 50] == 100).all()


def test_evaluating_its_boxes_gives_what_the_panoptic_model_gives(
    detector, sure_model, scenes
):
    boxes = evaluate(detector, scenes, masks=False).metrics
    assert boxes == evaluate(sure_model, scenes, masks=False).metrics
    with pytest.raises(ConfigError, match="masks=False"):
        evaluate(detector, scenes)


def test_a_file_of_it_loads_as_one(detector, tmp_path):
    path = tmp_path / "boxes.safetensors"
    save_model(detector, path)
    model = load_model(path, "cpu")
    assert isinstance(model, DetectionModel)
    assert same_weights(model, detector)


def test_the_command_line_draws_boxes_and_says_that_there_are_no_masks(
    detector, scenes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    save_model(detector, "boxes.safetensors")
    on_disk(Part(scenes, [0, 1]), tmp_path / "data")
    arguments = ["--model", "boxes.safetensors"]
    assert main(["predict", "data/images", "--out", "found", *arguments]) == 0
    assert "no panoptic files" in capsys.readouterr().out
    written = sorted(p.name for p in (tmp_path / "found").rglob("*.*"))
    assert written == [".detr-lite", "000000.png", "000001.png"]
    assert main(["evaluate", "--data", "data", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "box_ap" in printed
    assert "pq" not in printed


def rows(summary: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in summary.splitlines()}


def test_the_summary_says_what_is_trained(tiny_model):
    body = tiny_model.detr.backbone[0].body
    tiny_model.detr.requires_grad_(False)
    body.layer4.requires_grad_(True)
    table = rows(tiny_model.trainable_summary())
    trained = sum(p.numel() for p in body.layer4.parameters())
    heads = sum(
        p.numel()
        for part in (tiny_model.bbox_attention, tiny_model.mask_head)
        for p in part.parameters()
    )
    count = sum(p.numel() for p in tiny_model.parameters())
    assert table["backbone"][1] == f"{trained:,}"
    assert table["decoder"][1] == "frozen"
    assert table["all"] == [f"{count:,}", f"{trained + heads:,}"]
    parts = [row for name, row in table.items() if name not in ("part", "all")]
    assert sum(int(row[0].replace(",", "")) for row in parts) == count


def test_the_summary_of_a_detector_has_no_mask_head():
    model = randomized(
        build_model(replace(CONFIG, masks=False), SCENE_CATEGORIES)
    )
    table = rows(model.trainable_summary())
    assert "decoder" in table
    assert "mask_head" not in table
