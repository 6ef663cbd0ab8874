"""The pictures that stand in for live ones, where there is no script.

Each is a function of the number of a validation scene; the shipped model
says what is found in it.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import pad_images
from detr_lite.data.sample import Sample
from detr_lite.data.scenes import (
    BALL,
    CRATE,
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.detr import found
from detr_lite.inference.drawing import enlarged, overlay, sheet
from detr_lite.inference.loading import load_model
from detr_lite.teaching import faults
from detr_lite.weights.catalog import shipped_file

SIDE = 288  # pixels of one picture

# The boxes of the matching game.  The nearest pair of all is a trap: whoever
# takes it first pays for it later.
GAME: dict[str, list[dict[str, Any]]] = {
    "segments": [  # label, (cx, cy, w, h)
        {"label": BALL, "box": [0.26, 0.3, 0.3, 0.3]},
        {"label": BALL, "box": [0.64, 0.34, 0.3, 0.3]},
        {"label": CRATE, "box": [0.52, 0.77, 0.36, 0.28]},
    ],
    "predictions": [  # probabilities of ball, crate and tent
        {
            "name": "A",
            "box": [0.42, 0.31, 0.3, 0.3],
            "probabilities": [0.9, 0.02, 0.02],
        },
        {
            "name": "B",
            "box": [0.2, 0.26, 0.22, 0.26],
            "probabilities": [0.7, 0.1, 0.05],
        },
        {
            "name": "C",
            "box": [0.6, 0.8, 0.3, 0.22],
            "probabilities": [0.05, 0.6, 0.2],
        },
        {
            "name": "D",
            "box": [0.83, 0.64, 0.2, 0.3],
            "probabilities": [0.1, 0.3, 0.5],
        },
    ],
}


def image_of(scene: int) -> Tensor:
    """Return a validation scene."""
    return SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene].image


def beach(scene: int) -> Image.Image:
    """A scene, and beside it what the model finds in it."""
    image = image_of(scene)
    prediction = load_model("scenes", device="cpu").predict(image)
    pictures = [enlarged(image, SIDE), overlay(prediction, smallest=SIDE)]
    return sheet(pictures, 2, gap=8)


def attention(scene: int) -> Image.Image:
    """Where the starfish and the sea look, over the scene."""
    image = image_of(scene)
    prediction = load_model("scenes", device="cpu").predict(image)
    maps = cast(Tensor, prediction.attention_maps)
    names = [SCENE_CATEGORIES[s.label].name for s in prediction.segments]
    pictures = [
        heated(image, maps[names.index(name)].sum(0))
        for name in ("starfish", "sea")
    ]
    return sheet(pictures, 2, gap=8)


def heated(image: Tensor, weights: Tensor) -> Image.Image:
    """Return a picture under a map, (h, w), faint weights lifted."""
    bright = (weights / weights.max()).sqrt().detach().numpy()
    colors = Image.fromarray((colormaps["magma"](bright) * 255).astype("u1"))
    large = colors.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return Image.blend(enlarged(image, SIDE), large, 0.72)


@torch.no_grad()
def queries(scene: int) -> Image.Image:
    """A scene, and the boxes of what the queries have found in it."""
    image = image_of(scene)
    model = load_model("scenes", device="cpu")
    detection = model.detr(*pad_images([image]))
    kept = found(detection.class_logits, model.threshold)[0]
    labels = detection.class_logits[0, kept].argmax(-1).tolist()
    colors = [SCENE_CATEGORIES[label].color for label in labels]
    boxed = enlarged(image, SIDE)
    draw_boxes(boxed, detection.boxes[0, kept], colors)
    return sheet([enlarged(image, SIDE), boxed], 2, gap=8)


def matching(scene: int) -> Image.Image:
    """Segments in the colors of their classes, predictions in black."""
    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
    segments, predictions = GAME["segments"], GAME["predictions"]
    colors = [SCENE_CATEGORIES[s["label"]].color for s in segments]
    draw_boxes(picture, torch.tensor([s["box"] for s in segments]), colors, 6)
    boxes = torch.tensor([p["box"] for p in predictions])
    draw_boxes(picture, boxes, ["black"] * len(boxes), 3)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(24)
    corners = (cxcywh_to_xyxy(boxes)[:, :2] * 2 * SIDE).tolist()
    for prediction, (x, y) in zip(predictions, corners, strict=True):
        draw.text((x + 8, y + 4), prediction["name"], "black", font)
    return picture


def draw_boxes(
    picture: Image.Image, boxes: Tensor, colors: Sequence, width: int = 3
) -> None:
    """Draw (n, 4) center-size boxes, each in its color."""
    draw = ImageDraw.Draw(picture)
    scaled = (cxcywh_to_xyxy(boxes) * picture.width).round()
    inside = np.clip(scaled.numpy(), 0, picture.width - 1)
    for box, color in zip(inside.tolist(), colors, strict=True):
        draw.rectangle(box, outline=color, width=width)


@torch.no_grad()
def encoding(scene: int) -> Image.Image:
    """What the first thing's center resembles, before and after the encoder.

    The third picture is where it looks in the encoder's last layer.
    """
    model, weights = load_model("scenes", device="cpu"), []
    last = model.detr.transformer.encoder.layers[-1].self_attn
    hook = last.register_forward_pre_hook(
        lambda module, args: weights.append(module.weights(*args[:2]))
    )
    sample = SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene]
    detection = model.detr(*pad_images([sample.image]))
    hook.remove()
    side = detection.memory.shape[-1]
    row, column = (center_of_first_thing(sample) * side).long().tolist()
    one = row * side + column
    looks = weights[0][0].sum(0)[one].view(side, side)
    pictures = [
        heated(sample.image, similarity(x[0], one).clamp(min=0) ** 2)
        for x in (detection.src_proj, detection.memory)
    ]
    pictures.append(heated(sample.image, looks))
    width = SIDE // side
    for picture in pictures:
        x, y = column * width, row * width
        ImageDraw.Draw(picture).rectangle(
            (x, y, x + width - 1, y + width - 1), outline="white", width=3
        )
    return sheet(pictures, 3, gap=8)


def center_of_first_thing(sample: Sample) -> Tensor:
    """Return the mean row and column of its pixels, from 0 to 1."""
    isthing = [SCENE_CATEGORIES[label].isthing for label in sample.labels]
    pixels = sample.id_map == sample.segment_ids[isthing.index(True)]
    return pixels.nonzero().float().mean(0) / len(pixels)


def similarity(features: Tensor, one: int) -> Tensor:
    """Return cosines with one position, (h, w); features: (d, h, w).

    The mean that all positions share is taken off first.
    """
    x = features.flatten(1) - features.mean((1, 2))[:, None]
    cosines = torch.cosine_similarity(x, x[:, one, None], dim=0)
    return cosines.view(features.shape[1:])


@torch.no_grad()
def stages(scene: int) -> Image.Image:
    """The most certain thing's maps, three stages of its mask, its mask."""
    image = image_of(scene)
    model, seen = load_model("scenes", device="cpu"), []
    hooks = [
        getattr(model.mask_head, f"gn{number}").register_forward_hook(
            lambda module, args, output: seen.append(output.relu())
        )
        for number in (2, 4, 5)
    ]
    output = model(*pad_images([image]))
    for hook in hooks:
        hook.remove()
    scores, labels = (
        output.class_logits[0, output.query_index].softmax(-1).max(-1)
    )
    things = torch.tensor([c.isthing for c in SCENE_CATEGORIES])[labels]
    chosen = (scores * things).argmax()
    steps = [(x - x.mean(0))[chosen].pow(2).sum(0) for x in seen]
    mask = output.mask_logits[chosen].sigmoid() ** 2
    maps = [output.attention_maps[chosen].sum(0), *steps, mask]
    return sheet([heated(image, x) for x in maps], 5, gap=8)


@torch.no_grad()
def panoptic(scene: int) -> Image.Image:
    """A scene, the masks of a thing and of a stuff, and all segments."""
    image = image_of(scene)
    model = load_model("scenes", device="cpu")
    output = model(*pad_images([image]))
    labels = output.class_logits[0, output.query_index].argmax(-1)
    isthing = torch.tensor([c.isthing for c in SCENE_CATEGORIES])[labels]
    areas = (output.mask_logits > 0).sum((1, 2))
    # The largest of each kind: the most to see.
    chosen = (areas * isthing).argmax(), (areas * ~isthing).argmax()
    masks = [heated(image, output.mask_logits[i].sigmoid()) for i in chosen]
    segments = overlay(model.predict(image), smallest=SIDE)
    return sheet([enlarged(image, SIDE), *masks, segments], 4, gap=8)


def quality(scene: int) -> Image.Image:
    """The truth, and beside it the truth with its last thing moved."""
    sample = SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene]
    moved = sample.id_map.clone()
    thing = sample.id_map == sample.segment_ids[-1]
    columns = thing.any(0).nonzero().flatten()
    shift = int(columns[-1] - columns[0]) // 2
    # Away from the nearer edge, so that it stays in the scene.
    if columns.float().mean() > thing.shape[1] / 2:
        shift = -shift
    moved[thing] = moved[~thing].mode().values
    moved[thing.roll(shift, 1)] = sample.segment_ids[-1]
    return sheet(
        [painted(sample, sample.id_map), painted(sample, moved)], 2, 8
    )


def painted(sample: Sample, id_map: Tensor) -> Image.Image:
    """Return a map of segments in the colors of their classes."""
    colors = torch.tensor([c.color for c in SCENE_CATEGORIES])
    labels = dict(
        zip(sample.segment_ids.tolist(), sample.labels.tolist(), strict=True)
    )
    image = torch.zeros(3, *id_map.shape, dtype=torch.uint8)
    for number, label in labels.items():
        image[:, id_map == number] = colors[label].to(torch.uint8)[:, None]
    return enlarged(image, SIDE)


def film(scene: int) -> Image.Image:
    """The boxes of the matched queries at four steps of the training."""
    sample = SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene]
    colors = [SCENE_CATEGORIES[label].color for label in sample.labels]
    with np.load(shipped_file("film.npz")) as frames:
        place = frames["scenes"].tolist().index(scene)
        count = len(frames["boxes_boxes"])
        pictures = []
        for frame in np.linspace(0, count - 1, 4).round().astype(int):
            queries = frames["boxes_queries"][frame]
            queries = queries.reshape(len(frames["scenes"]), -1)[place]
            boxes = frames["boxes_boxes"][frame, place][queries]
            boxed = enlarged(sample.image, SIDE)
            draw_boxes(boxed, torch.from_numpy(boxes).float(), colors)
            pictures.append(boxed)
    return sheet(pictures, 4, gap=8)


def fault(scene: int) -> Image.Image:
    """What the model sees, and what it sees with two tensors swapped."""
    image = image_of(scene)
    model = load_model("scenes", device="cpu")
    right = overlay(model.predict(image), smallest=SIDE)
    with faults.fault("memory_swapped"):
        wrong = overlay(model.predict(image), smallest=SIDE)
    return sheet([right, wrong], 2, gap=8)
