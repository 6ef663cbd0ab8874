"""The film of a training: its frames are what the model says at each step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import training_film
from support import logged

from detr_lite.data.batch import collate
from detr_lite.data.scenes import SceneSplit
from detr_lite.inference.loading import load_model
from detr_lite.panoptic_detr import all_queries
from detr_lite.training.recipes import preset
from detr_lite.training.train import train

STEPS = {"boxes": (2, 4), "masks": (2,)}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A tiny training with its film; the folder of both."""
    folder = tmp_path_factory.mktemp("filmed")
    full = preset("full")
    counts = (1, 4, 2)
    phases = [
        replace(phase, steps=steps, batch_size=2)
        for phase, steps in zip(full.phases, counts, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_film, "STEPS", STEPS)
        film = training_film.Film(folder / "frames")
        train(
            replace(full, phases=tuple(phases)),
            SceneSplit(1, 4),
            SceneSplit(2, 2),
            folder / "run",
            watch=film.watch,
            log_every=2,
        )
        log = folder / "run" / "log.jsonl"
        training_film.cut(folder / "frames", log, folder / "film.npz")
    return folder


def test_the_last_frame_is_what_the_trained_model_says(filmed):
    model = load_model(filmed / "run" / "model.safetensors", "cpu")
    film = np.load(filmed / "film.npz")
    split = SceneSplit(2, max(training_film.FILMED) + 1)
    for row, index in enumerate(film["scenes"]):
        batch = collate([split[index]])
        with torch.inference_mode():
            output = model(batch.images, keep=all_queries)
        boxes = film["masks_boxes"][-1, row]
        assert boxes == pytest.approx(output.boxes[0].numpy(), abs=1e-3)
        classes = film["masks_classes"][-1, row] / 255
        expected = output.class_logits[0].softmax(-1).numpy()
        assert classes == pytest.approx(expected, abs=0.5 / 255 + 1e-4)
        drawn = film["masks_masks"][-1, row] / training_film.MASK_SCALE
        expected = output.mask_logits.clamp(-15.875, 15.875).numpy()
        half = 0.5 / training_film.MASK_SCALE
        assert drawn == pytest.approx(expected, abs=half + 1e-3)


def test_matching_gives_each_segment_a_query_of_its_own(filmed):
    film = np.load(filmed / "film.npz")
    split = SceneSplit(2, max(training_film.FILMED) + 1)
    first, second = (len(split[i].labels) for i in film["scenes"])
    for queries in (*film["boxes_queries"], *film["masks_queries"]):
        assert len(queries) == first + second
        assert len(set(queries[:first].tolist())) == first
        assert len(set(queries[first:].tolist())) == second


def test_losses_are_those_of_the_log(filmed):
    film = np.load(filmed / "film.npz")
    for phase in STEPS:
        expected = [
            (line["step"], line["loss"])
            for line in logged(filmed / "run")
            if line["phase"] == phase and "loss" in line
        ]
        assert np.allclose(film[f"{phase}_losses"], expected)
