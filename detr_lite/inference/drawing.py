"""Drawing by Pillow alone: images, and what was found in them."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detr_lite.data.categories import Category

STRIP = 256  # rows
# Of Linux, Windows and macOS, with many letters or with many languages.
FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "arial.ttf",
    "msgothic.ttc",
    "Arial Unicode.ttf",
)


def enlarged(image: Tensor, smallest: int = 384) -> Image.Image:
    """Return a (3, H, W) uint8 image, small ones in large pixels."""
    factor = _factor(*image.shape[1:], smallest)
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))


def _factor(height: int, width: int, smallest: int) -> int:
    return max(1, round(smallest / max(height, width)))


def overlay(
    prediction,
    opacity: float = 0.55,
    smallest: int = 384,
    scores: bool = True,
) -> Image.Image:
    """Return the image with its segments in color, outlined and named.

    prediction: has image, id_map, segments and categories; see Prediction.

    A class has one color; segments of one class are told apart by their
    outlines.  Small images are enlarged to `smallest` pixels a side, so
    that the names can be read.  scores=False leaves the probabilities out,
    which an annotation does not have.
    """
    _, height, width = prediction.image.shape
    factor = _factor(height, width, smallest)
    pixels = prediction.image.permute(1, 2, 0).numpy().copy()
    ids = prediction.id_map.numpy()
    colors = {
        segment.id: np.array(prediction.categories[segment.label].color)
        for segment in prediction.segments
    }
    for top in range(0, height, STRIP):  # floats of a few rows at a time
        rows = slice(top, top + STRIP)
        strip = pixels[rows].astype(np.float32)
        for number, color in colors.items():
            where = ids[rows] == number
            strip[where] = (1 - opacity) * strip[where] + opacity * color
        pixels[rows] = strip.round()
    if factor > 1:
        pixels = pixels.repeat(factor, 0).repeat(factor, 1)
        ids = ids.repeat(factor, 0).repeat(factor, 1)
    pixels[_borders(ids)] = 255
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for segment in prediction.segments:
        category = prediction.categories[segment.label]
        score = f" {segment.score:.2f}" if scores else ""
        _write(draw, anchor(ids, segment.id), category, score, image.size)
    return image


def boxes_overlay(detections, smallest: int = 384) -> Image.Image:
    """Return the image with its boxes in their classes' colors, named.

    detections: has image, labels, scores, boxes and categories.

    Small images are enlarged to `smallest` pixels a side.
    """
    image = enlarged(detections.image, smallest)
    factor = image.width / detections.image.shape[2]
    draw = ImageDraw.Draw(image)
    width = max(2, min(image.size) // 160)
    rows = [
        (detections.categories[label], score, box)
        for label, score, box in zip(
            detections.labels.tolist(),
            detections.scores.tolist(),
            (detections.boxes * factor).round().int().tolist(),
            strict=True,
        )
    ]
    # The surest box is drawn last, and every name lies over every box.
    for category, _, (x0, y0, x1, y1) in reversed(rows):
        corners = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        draw.rectangle(corners, outline=category.color, width=width)
    for category, score, (x0, y0, x1, _) in reversed(rows):
        middle = (x0 + x1) // 2, max(y0, _letters(image.size) // 2 + 2)
        _write(draw, middle, category, f" {score:.2f}", image.size)
    return image


def _letters(size: tuple[int, int]) -> int:
    """Return how large letters are on an image of (W, H)."""
    return max(11, min(size) // 32)


def _write(
    draw,
    point: tuple[int, int],
    category: Category,
    score: str,
    size: tuple[int, int],
) -> None:
    """Write white on black around a point, inside an image's width."""
    x, y = point
    font = _font_for(category.name, _letters(size))
    name = category.name
    if font is None:  # boxes in place of letters would tell less
        font, name = ImageFont.load_default(_letters(size)), f"{category.id}"
    text = f"{name}{score}"
    box = draw.textbbox((x, y), text, font=font, anchor="mm")
    dx = max(2 - box[0], 0) + min(size[0] - 2 - box[2], 0)
    draw.rectangle(
        (box[0] + dx - 2, box[1] - 1, box[2] + dx + 2, box[3] + 1),
        fill=(0, 0, 0),
    )
    draw.text((x + dx, y), text, (255, 255, 255), font, anchor="mm")


@cache
def _font_for(text: str, size: int):
    """Return a font that has all letters of a text, or None.

    Pillow's own has the Latin ones; others are there if the system has them.
    """
    for name in (None, *FONTS):
        try:
            font = (
                ImageFont.load_default(size)
                if name is None
                else ImageFont.truetype(name, size)
            )
        except OSError:  # not here
            continue
        missing = bytes(font.getmask("\U0010ffff"))
        if all(bytes(font.getmask(c)) != missing for c in text):
            return font
    return None


def _borders(ids: np.ndarray) -> np.ndarray:
    """Return the pixels whose right or lower neighbor has another id."""
    border = np.zeros(ids.shape, bool)
    border[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    border[:-1] |= ids[1:] != ids[:-1]
    return border


def anchor(ids: np.ndarray, number: int) -> tuple[int, int]:
    """Return a point (x, y) well inside a segment, for its name."""
    from scipy.ndimage import distance_transform_edt

    # Of large images every few pixels do.
    step = -(-max(ids.shape) // 1024)
    if not (ids[::step, ::step] == number).any():
        step = 1
    mask = ids[::step, ::step] == number
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), mask.shape)
    return int(x) * step, int(y) * step


def sheet(
    images: Sequence[Image.Image], columns: int, gap: int = 0
) -> Image.Image:
    """Return the images side by side, in rows of `columns`.

    gap: white pixels between neighbors.
    """
    width = max(i.width for i in images) + gap
    height = max(i.height for i in images) + gap
    rows = -(-len(images) // columns)
    size = (width * columns - gap, height * rows - gap)
    page = Image.new("RGB", size, "white")
    for n, image in enumerate(images):
        page.paste(image, (n % columns * width, n // columns * height))
    return page
