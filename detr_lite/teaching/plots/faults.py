"""Pictures for the bug museum: with and without a fault, side by side."""

import base64
import io
from collections.abc import Mapping
from html import escape

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from detr_lite.inference.drawing import enlarged, sheet
from detr_lite.inference.results import Prediction

# Light in both themes, as the pictures are; names on the page stay readable.
STYLE = """
.museum { color-scheme: light; color: #111; background: #fff;
  padding: .6rem; border-radius: 4px }
.museum fieldset { border: 1px solid #666; margin: 0 0 .6rem;
  padding: .4rem .6rem; columns: 12.5rem }
.museum legend { color: #111; font-size: 1rem; width: auto; float: none }
.museum label { display: block; min-height: 1.75rem; cursor: pointer }
.museum input:focus-visible { outline: 3px solid #0b5cad }
.museum .exhibit { display: none }
.museum .exhibit p { color: #111; margin: 0 0 .4rem }
.museum .pair { display: flex; flex-wrap: wrap; gap: .6rem }
.museum .pair figure { margin: 0; padding: 0; width: 288px; max-width: 100% }
.museum figcaption { color: #111; font-weight: bold; text-align: left }
.museum .pair img { width: 100%; height: auto; margin: 0; padding: 0;
  image-rendering: pixelated }
"""


def boxed(prediction: Prediction, smallest: int = 288) -> Image.Image:
    """Return the picture with the box of each thing in its class's color.

    The boxes are the queries' own, corners in whole pixels.
    """
    image = enlarged(prediction.image, smallest)
    factor = image.width / prediction.image.shape[2]
    draw = ImageDraw.Draw(image)
    corners = prediction.query_boxes.round().int().tolist()
    for box, segment in zip(corners, prediction.segments, strict=True):
        category = prediction.categories[segment.label]
        if not category.isthing:
            continue
        x0, y0, x1, y1 = (side * factor for side in box)
        # Some faults give boxes of negative size.
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        color = category.color
        draw.rectangle((x0, y0, x1, y1), outline="white", width=4)
        draw.rectangle(
            (x0 + 1, y0 + 1, x1 - 1, y1 - 1), outline=color, width=2
        )
    return image


def heads_picture(prediction: Prediction, index: int) -> Image.Image:
    """Return the attention maps of a segment, one tile a head, in two rows.

    Brightness is the square root of the weight, so that faint maps show.
    The scale is the same for all heads and pictures: 0 is black, and 1, more
    than which no weight can be, the lightest color.
    index: the segment's position in prediction.segments.
    """
    maps = prediction.attention_maps[index].numpy()
    colors = matplotlib.colormaps["magma"](maps**0.5, bytes=True)
    tiles = [
        Image.fromarray(tile[..., :3].copy()).resize((68, 68), 0)
        for tile in colors
    ]
    gap = 4
    framed = [
        Image.new("RGB", (tile.width + gap, tile.height + gap), "white")
        for tile in tiles
    ]
    for frame, tile in zip(framed, tiles, strict=True):
        frame.paste(tile, (gap // 2, gap // 2))
    return sheet(framed, columns=max(len(framed) // 2, 1))


def pair_picture(right: Image.Image, wrong: Image.Image) -> Image.Image:
    """Return the two side by side, under the words that tell them apart."""
    strip, gap = 22, 12
    page = Image.new(
        "RGB",
        (
            right.width + gap + wrong.width,
            max(right.height, wrong.height) + strip,
        ),
        "white",
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for image, word, x in (
        (right, "without", 0),
        (wrong, "with the fault", right.width + gap),
    ):
        draw.text((x + 2, 2), word, "black", font)
        page.paste(image, (x, strip))
    return page


def switchboard(
    pairs: Mapping[str, tuple[Image.Image, Image.Image]],
    descriptions: Mapping[str, str],
    effects: Mapping[str, str],
) -> str:
    """Return HTML in which a reader chooses a fault and sees its pair.

    For each fault: pairs, the picture without and with it; descriptions,
    what goes wrong; effects, what the second picture shows.  No script:
    radio buttons and a style sheet do it, so arrow keys work too.
    """
    choices, exhibits, rules = [], [], []
    for number, (name, (right, wrong)) in enumerate(pairs.items()):
        key = f"fault-{name}"
        checked = "" if number else " checked"
        choices.append(
            f'<label><input type="radio" name="fault" id="{key}"{checked}> '
            f"{escape(name)}</label>"
        )
        rules.append(
            f".museum:has(#{key}:checked) .{key} {{ display: block }}"
        )
        exhibits.append(
            f'<div class="exhibit {key}"><p>{escape(descriptions[name])}</p>'
            '<div class="pair">'
            + _figure(right, "without", "as it should be")
            + _figure(wrong, "with the fault", effects[name])
            + "</div></div>"
        )
    return (
        f"<style>{STYLE}{chr(10).join(rules)}</style>"
        '<div class="museum"><fieldset><legend>Switch a fault on</legend>'
        f'{"".join(choices)}</fieldset><div aria-live="polite">'
        f"{''.join(exhibits)}</div></div>"
    )


def _figure(image: Image.Image, word: str, shows: str) -> str:
    return (
        f"<figure><figcaption>{word}</figcaption>"
        f'<img alt="{word}: {escape(shows)}" src="{_data_address(image)}">'
        "</figure>"
    )


def _data_address(image: Image.Image) -> str:
    """Return a picture as an address: a PNG of at most 256 colors."""
    # This method keeps the colors of small segments; the default does not.
    small = image.quantize(256, Image.Quantize.MAXCOVERAGE)
    buffer = io.BytesIO()
    small.save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(
        buffer.getvalue()
    ).decode("ascii")
