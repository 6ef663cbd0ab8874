"""Live pictures: their markup, and what stands in for them.

On the book's site a script replaces the markup by a live model.  Where there
is no script, as on Colab, on GitHub or on paper, the markup is a picture and
a sentence.  The script is the site's alone: no notebook holds it.
"""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from PIL import Image

from detr_lite.errors import ConfigError
from detr_lite.teaching import stills
from detr_lite.teaching.faults import FAULTS


@dataclass(frozen=True)
class Kind:
    """What a widget shows: a picture, alt text, a sentence, and its data."""

    picture: Callable[[int], Image.Image]
    alt: str
    caption: str
    scene: int = 0
    data: object = None


class Widget:
    """A live picture by name; the last line of a cell shows it.

    name: one of KINDS.
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
        kind.picture(kind.scene).save(buffer, "png", optimize=True)
        source = base64.b64encode(buffer.getvalue()).decode()
        data = json.dumps(kind.data, separators=(",", ":"))
        return (
            f'<div class="dl-widget" data-widget="{self.name}" '
            f'data-scene="{kind.scene}" data-more="{escape(data)}">\n<figure>'
            f'<img alt="{escape(kind.alt)}" '
            f'src="data:image/png;base64,{source}"/>'
            f"<figcaption>On the book's site this is live: "
            f"{escape(kind.caption)}</figcaption></figure>\n</div>"
        )


KINDS = {
    "beach": Kind(
        picture=stills.beach,
        alt="Left, a beach scene of 96 by 96 pixels with a crate, a ball, a "
        "starfish and a tent. Right, what the model finds in it: each thing "
        "and each region filled with the color of its class, outlined in "
        "white and named.",
        caption="move the things, and the model in the page answers at once.",
        scene=344,
    ),
    "encoding": Kind(
        picture=stills.encoding,
        alt="The same beach scene under three maps of 12 by 12 squares, with "
        "a white frame around one square on a ball. Left, before the "
        "encoder, squares on other balls are as bright as those on the same "
        "ball. In the middle, after the encoder, the same ball is brightest. "
        "Right, where the square looks: at a few squares near it.",
        caption="point at any position, see what it resembles and where it "
        "looks, and switch the positional encodings off.",
        scene=35,
    ),
    "queries": Kind(
        picture=stills.queries,
        alt="Left, a beach scene. Right, the same scene with seven boxes, "
        "one around each thing and each region, each in the color of its "
        "class.",
        caption="follow one of the 12 queries from layer to layer, and see "
        "where it looks while you drag the things.",
        scene=20,
    ),
    "matching": Kind(
        picture=stills.matching,
        alt="Three segments as colored boxes, two balls side by side and a "
        "crate below, and four predictions as black boxes. A lies between "
        "the balls, B on the left one, C on the crate, D beside all.",
        caption="drag the predicted boxes, pair them yourself, and compare "
        "with the cheapest first and with the best of all.",
        data=stills.GAME,
    ),
    "attention": Kind(
        picture=stills.attention,
        alt="A beach scene twice under a map of 12 by 12 squares. Left, the "
        "starfish's attention: a few bright squares on it. Right, the sea's: "
        "a band of bright squares over the whole width.",
        caption="choose a segment, a head and a softmax, and drag the things "
        "under the maps.",
        scene=20,
    ),
    "stages": Kind(
        picture=stills.stages,
        alt="The same beach scene five times, for one thing in it. First the "
        "attention maps: a few bright squares on the thing. Then three "
        "stages of the mask head, in which the bright part becomes finer and "
        "takes the thing's shape. Last the mask, which has its outline.",
        caption="take a mask through the stages, and switch Res2, Res3 and "
        "Res4 off.",
        scene=20,
    ),
    "panoptic": Kind(
        picture=stills.panoptic,
        alt="Left, a beach scene. In the middle, two of its masks as bright "
        "areas, one of a thing and one of the ground around it. Right, the "
        "panoptic segmentation: each pixel has the color of the class whose "
        "mask wants it most.",
        caption="move the threshold, the smallest area and the way in which "
        "stuff is merged, and ask any pixel who wants it.",
        scene=149,
    ),
    "quality": Kind(
        picture=stills.quality,
        alt="Left, the true segments of a beach scene in the colors of their "
        "classes. Right, what somebody found: the same segments, but one "
        "thing has moved to the side, so far that it shares less than half "
        "of its pixels with the true one.",
        caption="drag, paint, cut and rename segments, and see what counts as "
        "TP, FP and FN, and what PQ makes of it.",
        scene=20,
    ),
    "film": Kind(
        picture=stills.film,
        alt="The same beach scene at four steps of the training, with the "
        "boxes of the queries that are matched with its segments. At first "
        "all boxes are large and lie in the middle; step by step they move "
        "to their segments and fit them.",
        caption="play the training of the shipped model, stop at any step, "
        "and compare two of them.",
        scene=20,
    ),
    "fault": Kind(
        picture=stills.fault,
        alt="The same beach scene twice, each segment in the color of its "
        "class and named. Left, without a fault, the outlines fit. Right, "
        "with two tensors of one shape swapped, the names are the same, and "
        "the outlines have left the things.",
        caption="switch each fault on in the live model, drag the line "
        "between right and wrong, and guess which one you see.",
        scene=20,
        data=[
            {
                "name": name,
                "title": one.title,
                "description": one.description,
                "source": one.source,
            }
            for name, one in FAULTS.items()
        ],
    ),
}
