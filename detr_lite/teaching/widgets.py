"""Live pictures: their markup, and what stands in for them.

On the book's site a script replaces the markup by a live model.  Where there
is no script, as on Colab, on GitHub or on paper, the markup is a picture and
a sentence.  The script is the site's alone: no notebook holds it.
"""

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, cast

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import (
    BALL,
    CRATE,
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.detr import found
from detr_lite.errors import ConfigError
from detr_lite.inference.drawing import enlarged, overlay, sheet
from detr_lite.inference.loading import load_model

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


@dataclass(frozen=True)
class Kind:
    """What a widget shows: a picture, alt text, a sentence, and its data."""

    picture: Callable[[], Image.Image]
    alt: str
    caption: str
    scene: int = 0
    data: object = None


class Widget:
    """A live picture by name; the last line of a cell shows it.

    name: "beach", "queries", "matching" or "attention".
    """

    def __init__(self, name: str):
        if name not in KINDS:
            raise ConfigError(
                f"There is no widget {name!r}; there are {', '.join(KINDS)}."
            )
        self.name = name

    def __repr__(self) -> str:
        return f"Widget({self.name!r})"

    def _repr_html_(self) -> str:
        kind = KINDS[self.name]
        buffer = io.BytesIO()
        kind.picture().save(buffer, "png", optimize=True)
        source = base64.b64encode(buffer.getvalue()).decode()
        data = json.dumps(kind.data, separators=(",", ":"))
        return (
            f'<div class="dl-widget" data-widget="{self.name}" '
            f'data-scene="{kind.scene}" data-more="{escape(data)}">\n<figure>'
            f'<img alt="{escape(kind.alt)}" '
            f'src="data:image/png;base64,{source}"/>'
            f"<figcaption>On the book's site this picture is alive: "
            f"{escape(kind.caption)}</figcaption></figure>\n</div>"
        )


def _image(scene: int) -> Tensor:
    return SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene].image


def _beach() -> Image.Image:
    """A scene, and beside it what the model finds in it."""
    image = _image(KINDS["beach"].scene)
    prediction = load_model("scenes", device="cpu").predict(image)
    pictures = [enlarged(image, SIDE), overlay(prediction, smallest=SIDE)]
    return sheet(pictures, 2, gap=8)


def _attention() -> Image.Image:
    """Where the starfish and the sea look, over the scene."""
    image = _image(KINDS["attention"].scene)
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
def _queries() -> Image.Image:
    """A scene, and the boxes of what the queries have found in it."""
    image = _image(KINDS["queries"].scene)
    model = load_model("scenes", device="cpu")
    detection = model.detr(*pad_images([image]))
    kept = found(detection.class_logits, model.threshold)[0]
    labels = detection.class_logits[0, kept].argmax(-1).tolist()
    colors = [SCENE_CATEGORIES[label].color for label in labels]
    boxed = enlarged(image, SIDE)
    draw_boxes(boxed, detection.boxes[0, kept], colors)
    return sheet([enlarged(image, SIDE), boxed], 2, gap=8)


def _matching() -> Image.Image:
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


KINDS = {
    "beach": Kind(
        picture=_beach,
        alt="Left, a beach scene of 96 by 96 pixels with a crate, a ball, a "
        "starfish and a tent. Right, what the model finds in it: each thing "
        "and each region filled with the color of its class, outlined in "
        "white and named.",
        caption="move the things, and the model in the page answers at once.",
        scene=344,
    ),
    "queries": Kind(
        picture=_queries,
        alt="Left, a beach scene. Right, the same scene with seven boxes, "
        "one around each thing and each region, each in the color of its "
        "class.",
        caption="follow one of the 12 queries from layer to layer, and see "
        "where it looks while you drag the things.",
        scene=20,
    ),
    "matching": Kind(
        picture=_matching,
        alt="Three segments as colored boxes, two balls side by side and a "
        "crate below, and four predictions as black boxes. A lies between "
        "the balls, B on the left one, C on the crate, D beside all.",
        caption="drag the predicted boxes, pair them yourself, and compare "
        "with the cheapest first and with the best of all.",
        data=GAME,
    ),
    "attention": Kind(
        picture=_attention,
        alt="A beach scene twice under a map of 12 by 12 squares. Left, the "
        "starfish's attention: a few bright squares on it. Right, the sea's: "
        "a band of bright squares over the whole width.",
        caption="choose a segment, a head and a softmax, and drag the things "
        "under the maps.",
        scene=20,
    ),
}
