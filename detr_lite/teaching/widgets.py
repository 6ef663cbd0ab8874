"""Live pictures: their markup, and what stands in for them.

On the book's site a script replaces the markup by a live model.  Where there
is no script, as on Colab, on GitHub or on paper, the markup is a picture and
a sentence.  The script is the site's alone: no notebook holds it.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from PIL import Image

from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.errors import ConfigError
from detr_lite.inference.drawing import enlarged, overlay, sheet
from detr_lite.inference.loading import load_model


@dataclass(frozen=True)
class Kind:
    """What a widget shows: a scene, its picture, alt text and a sentence."""

    scene: int
    picture: Callable[[int], Image.Image]
    alt: str
    caption: str


def _beach(scene: int) -> Image.Image:
    """A scene, and beside it what the model finds in it."""
    image = SceneSplit(VALIDATION_SEED, scene + 1, cache=False)[scene].image
    prediction = load_model("scenes", device="cpu").predict(image)
    found = overlay(prediction, smallest=384)
    return sheet([enlarged(image, 384), found], 2, gap=12)


KINDS = {
    "beach": Kind(
        scene=344,
        picture=_beach,
        alt="Left, a beach scene of 96 by 96 pixels. Right, what the model "
        "finds in it: each thing and each region filled with the color of "
        "its class, outlined in white and named.",
        caption="On the book's site this picture is alive: move the things, "
        "and the model in the page answers at once.",
    ),
}


class Widget:
    """A live picture by name; the last line of a cell shows it."""

    def __init__(self, name: str):
        if name not in KINDS:
            raise ConfigError(
                f"There is no widget {name!r}; there are {', '.join(KINDS)}."
            )
        self.name = name

    def _repr_html_(self) -> str:
        kind = KINDS[self.name]
        buffer = io.BytesIO()
        kind.picture(kind.scene).save(buffer, "png", optimize=True)
        source = base64.b64encode(buffer.getvalue()).decode()
        return (
            f'<div class="dl-widget" data-widget="{self.name}" '
            f'data-scene="{kind.scene}">\n<figure>'
            f'<img alt="{escape(kind.alt)}" '
            f'src="data:image/png;base64,{source}"/>'
            f"<figcaption>{escape(kind.caption)}</figcaption>"
            "</figure>\n</div>"
        )
