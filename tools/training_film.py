"""A film of a training: what the model says of two scenes as it learns.

`make weights` records it with the shipped weights, into data/film.npz: at
each of STEPS and for each of FILMED, the boxes and classes of all queries,
which query is matched with which segment, the attention maps and, in phase
"masks", the masks.  Losses come from the run's log.
"""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.detr import DetrOutput
from detr_lite.inference.model import PanopticModel, evaluating
from detr_lite.matching import HungarianMatcher
from detr_lite.training.runs import Progress

# Validation scenes of seven segments; together they show all eight classes.
FILMED = (6, 20)
# They lie closest where the model changes most.
STEPS = {
    "boxes": (20, 60, 120, 240, 480, 900, 1600, 2800, 4400, 6500),
    "masks": (20, 60, 140, 340, 740, 1500),
}
MASK_SCALE = 8  # a logit of 1 is so many steps of an int8


class Film:
    """Records frames in a folder; its `watch` is given to `train`.

    A frame is a file, so that a run that is killed and resumed has them all.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        split = SceneSplit(VALIDATION_SEED, max(FILMED) + 1)
        self.batch = collate([split[index] for index in FILMED])

    def watch(self, progress: Progress) -> None:
        """Record a frame if the step is one of STEPS."""
        if progress.step not in STEPS.get(progress.phase, ()):
            return
        with_masks = progress.phase == "masks"
        frame = recorded(progress.model, self.batch, with_masks)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{progress.phase}-{progress.step:05d}.npz"
        np.savez(self.folder / name, **frame)


@torch.no_grad()
def recorded(
    model: PanopticModel, batch, with_masks: bool
) -> dict[str, np.ndarray]:
    """Return what a frame holds, for B scenes with T segments in all.

    boxes (B, N, 4) float16 cxcywh; classes (B, N, K + 1) uint8, a 255th of a
    probability; queries (T,) uint8; maps (B, N, M, h, w) uint8, a 255th of
    the query's highest weight; masks (B, N, H/4, W/4) int8 logits, if there
    are any.
    """
    with evaluating(model):
        detection = model.detr(batch.images, batch.padding_mask)
        queries = HungarianMatcher()(
            detection.layer_logits[-1:],
            detection.layer_boxes[-1:],
            batch.targets,
        )[0]
        frame = {
            "boxes": detection.boxes.half(),
            "classes": in_bytes(detection.class_logits.softmax(-1)),
            "queries": queries.to(torch.uint8),
        }
        maps = attention_maps(model, detection, with_masks)
        frame["maps"] = in_bytes(maps / maps.amax((2, 3, 4), keepdim=True))
        if with_masks:
            frame["masks"] = masks(model, detection)
    return {name: value.cpu().numpy() for name, value in frame.items()}


def attention_maps(
    model: PanopticModel, detection: DetrOutput, with_masks: bool
) -> Tensor:
    """Return the maps of all queries, (B, N, M, h, w).

    While the boxes are trained: those that the masks would start from.
    """
    attention = model.bbox_attention
    if not with_masks:
        attention = deepcopy(attention)
        decoder = model.detr.transformer.decoder
        attention.start_from(decoder.layers[-1].multihead_attn)
    return attention(
        detection.box_embeddings, detection.memory, detection.padding_mask
    )


def masks(model: PanopticModel, detection: DetrOutput) -> Tensor:
    """Return the mask logits of all queries, (B, N, H/4, W/4) int8."""
    chosen = torch.ones_like(detection.boxes[..., 0]).nonzero(as_tuple=True)
    logits = model.add_masks(detection, *chosen).mask_logits
    steps = (logits * MASK_SCALE).round().clamp(-127, 127).to(torch.int8)
    return steps.unflatten(0, detection.boxes.shape[:2])


def in_bytes(fractions: Tensor) -> Tensor:
    """Return numbers from 0 to 1 as 0 to 255."""
    return (fractions * 255).round().to(torch.uint8)


def cut(folder: Path, log: Path, out: Path) -> None:
    """Join the frames of a folder and the losses of a log to one file."""
    arrays: dict[str, np.ndarray] = {"scenes": np.array(FILMED, np.int16)}
    for phase, steps in STEPS.items():
        arrays[f"{phase}_steps"] = np.array(steps, np.int16)
        paths = [folder / f"{phase}-{step:05d}.npz" for step in steps]
        frames = [dict(np.load(path)) for path in paths]
        for name in frames[0]:
            stacked = np.stack([frame[name] for frame in frames])
            arrays[f"{phase}_{name}"] = stacked
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        curve = [
            (line["step"], line["loss"])
            for line in lines
            if line["phase"] == phase and "loss" in line
        ]
        arrays[f"{phase}_losses"] = np.array(curve, np.float32)
    np.savez_compressed(out, **arrays)
