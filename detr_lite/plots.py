"""Pictures of what the model sees; one helper for each kind."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detr_lite.prediction import Prediction

LOSS_COLORS = {  # safe for color-blind readers
    "loss": "#000000",
    "class": "#0072B2",
    "l1": "#D55E00",
    "giou": "#009E73",
    "focal": "#CC79A7",
    "dice": "#E69F00",
}
METRIC_STYLES = {"box_ap": ("#0072B2", "o--"), "pq": ("#D55E00", "s-")}


def enlarged(image: Tensor, smallest: int = 384) -> Image.Image:
    """Return a (3, H, W) uint8 picture, small ones in large pixels."""
    factor = _factor(*image.shape[1:], smallest)
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))


def _factor(height: int, width: int, smallest: int) -> int:
    return max(1, round(smallest / max(height, width)))


def overlay(
    prediction: Prediction, opacity: float = 0.55, smallest: int = 384
) -> Image.Image:
    """Return the picture with its segments in color, outlined and named.

    Classes keep one color everywhere; of two things of one class the second
    is lighter.  Small pictures are enlarged to `smallest` pixels a side, so
    that the names can be read.
    """
    _, height, width = prediction.image.shape
    factor = _factor(height, width, smallest)
    pixels = prediction.image.permute(1, 2, 0).numpy().astype(np.float32)
    ids = prediction.id_map.numpy()
    seen: dict[int, int] = {}
    for segment in prediction.segments:
        nth = seen.get(segment.label, 0)
        seen[segment.label] = nth + 1
        color = np.array(prediction.categories[segment.label].color)
        color = color + (255 - color) * min(0.25 * nth, 0.75)
        where = ids == segment.id
        pixels[where] = (1 - opacity) * pixels[where] + opacity * color
    pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    ids = ids.repeat(factor, 0).repeat(factor, 1)
    pixels[_borders(ids)] = 255
    image = Image.fromarray(pixels.round().astype(np.uint8))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(11, min(image.size) // 32))
    for segment in prediction.segments:
        x, y = _anchor(ids == segment.id)
        name = prediction.categories[segment.label].name
        text = f"{name} {segment.score:.2f}"
        box = draw.textbbox((x, y), text, font=font, anchor="mm")
        dx = max(2 - box[0], 0) + min(image.width - 2 - box[2], 0)
        draw.rectangle(
            (box[0] + dx - 2, box[1] - 1, box[2] + dx + 2, box[3] + 1),
            fill=(0, 0, 0),
        )
        draw.text((x + dx, y), text, (255, 255, 255), font, anchor="mm")
    return image


def _borders(ids: np.ndarray) -> np.ndarray:
    """Return the pixels whose right or lower neighbor has another id."""
    border = np.zeros(ids.shape, bool)
    border[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    border[:-1] |= ids[1:] != ids[:-1]
    return border


def _anchor(mask: np.ndarray) -> tuple[int, int]:
    """Return a point (x, y) well inside the mask, for its name."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), mask.shape)
    return int(x), int(y)


def sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return the pictures side by side, in rows of `columns`."""
    width = max(i.width for i in images)
    height = max(i.height for i in images)
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (width * columns, height * rows), "white")
    for n, image in enumerate(images):
        page.paste(image, (n % columns * width, n // columns * height))
    return page


def attention_figure(prediction: Prediction, index: int) -> Figure:
    """Return a segment's attention maps, a panel for each head.

    One color scale for all heads, and the segment's outline in each panel.
    index: the segment's position in prediction.segments.
    """
    maps = prediction.attention_maps[index].numpy()
    segment = prediction.segments[index]
    columns = max(len(maps) // 2, 1)
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
    axes = figure.subplots(2, columns, squeeze=False)
    _, height, width = prediction.image.shape
    outline = (prediction.id_map == segment.id).numpy()
    for head, (axis, values) in enumerate(zip(axes.flat, maps, strict=False)):
        drawn = axis.imshow(
            values,
            "magma",
            vmin=0,
            vmax=maps.max(),
            extent=(0, width, height, 0),
        )
        axis.contour(
            np.arange(width) + 0.5,
            np.arange(height) + 0.5,
            outline,
            levels=[0.5],
            colors="white",
            linewidths=1,
        )
        axis.set_title(f"head {head}", fontsize=9)
        axis.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("attention", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def read_log(path: str | Path) -> list[dict]:
    """Return the lines of a run's log.jsonl."""
    return [json.loads(x) for x in Path(path).read_text().splitlines()]


def curves_figure(log: Sequence[dict]) -> Figure:
    """Return a run's losses, a panel for each phase, then its AP and PQ.

    log: the lines of log.jsonl, or as many as there are so far.
    """
    phases = list(dict.fromkeys(line["phase"] for line in log))
    figure = Figure(figsize=(7, 3), layout="constrained", dpi=100)
    *panels, last = figure.subplots(1, len(phases) + 1)
    before = 0
    for axis, phase in zip(panels, phases, strict=True):
        lines = [line for line in log if line["phase"] == phase]
        for name, color in LOSS_COLORS.items():
            points = [(x["step"], x[name]) for x in lines if name in x]
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, color=color, label=name)
        axis.set(title=f"phase {phase}", xlabel="step", yscale="log")
        for name, (color, marker) in METRIC_STYLES.items():
            # Before there are masks, PQ says nothing, nor does AP after.
            if (name == "box_ap") != (phase == "boxes"):
                continue
            points = [
                (before + x["step"], x[name]) for x in lines if name in x
            ]
            if points:
                x, y = zip(*points, strict=True)
                last.plot(x, y, marker, color=color, label=name)
        before += lines[-1]["step"]
    last.set(title="AP and PQ", xlabel="step of the run", ylim=(0, 1))
    for axis in (*panels, last):
        axis.title.set_fontsize(9)
        axis.xaxis.label.set_fontsize(9)
        axis.tick_params(which="both", labelsize=8)
        if axis.lines:
            axis.legend(fontsize=8)
    return figure


class LiveCurves:
    """Draws the curves again at each report; for a notebook.

    Give its `watch` to `train`.
    """

    def __init__(self):
        self._lines: list[dict] = []
        self._handle = None

    def watch(self, progress) -> None:
        """Add a report of training to the drawing."""
        from IPython.display import display

        self._lines.append(
            {
                "phase": progress.phase,
                "step": progress.step,
                **(progress.losses or progress.metrics),
            }
        )
        figure = curves_figure(self._lines)
        if self._handle is None:
            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
