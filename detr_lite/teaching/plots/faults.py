"""Images for the bug museum: pairs with and without a fault, and tables.

What notices a fault is red and has a cross; what doesn't is green and has a
tick.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from detr_lite.inference.drawing import anchor
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.teaching.faults import fault
from detr_lite.teaching.plots.panels import (
    box,
    calm,
    heat_panel,
    image_panel,
    label,
    panels_figure,
    segments_panel,
)
from detr_lite.teaching.plots.style import INK, book_figure

RED, GREEN = "#d1432f", "#2b8a4b"  # 3 : 1 on light pages and on dark ones
FAINT = "#876a66"  # the ground where nearly nothing is lost
PAIR = 0.53  # of the size at which two panels fill the column
CROSS, TICK = "\N{BALLOT X}", "\N{CHECK MARK}"
STYLE = """
.verdict { color: inherit; background: none; margin: 0 }
.verdict :is(b, span) { display: inline-block; margin-right: 1.5rem }
.verdict span {
  padding-left: .6rem; border-left: .35rem solid }
html[data-theme="dark"] body .bd-content div.cell_output
  .text_html:has(> p.verdict) {
  background: none; color: inherit; padding: 0 }
"""

Draw = Callable[[Axes, Prediction], None]


def draw_segments(axis: Axes, prediction: Prediction) -> None:
    """Draw the segments, outlined, the largest of each class named."""
    segments_panel(axis, prediction, names=False)
    largest = {s.label: s for s in sorted(prediction.segments, key=_area)}
    for one in largest.values():
        x, y = anchor(np.asarray(prediction.id_map), one.id)
        name = prediction.categories[one.label].name
        label(axis, x + 0.5, y + 0.5, name)
    for text in axis.texts:
        text.set_fontsize(7)  # in small panels more of them fit
    if not prediction.segments:  # ids that nothing is known of
        image_panel(axis, prediction.image)


def _area(segment: Segment) -> int:
    return segment.area


def draw_boxes(axis: Axes, prediction: Prediction) -> None:
    """Draw the image and the box of each thing, as its query predicted it."""
    image_panel(axis, prediction.image)
    pairs = zip(
        prediction.query_boxes.tolist(), prediction.segments, strict=True
    )
    for (x0, y0, x1, y1), segment in pairs:
        category = prediction.categories[segment.label]
        if category.isthing:
            # Some faults give boxes of negative size.
            (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
            box(axis, (x0, y0, x1, y1), category)
    _, height, width = prediction.image.shape
    axis.set(xlim=(0, width), ylim=(height, 0))


def draw_heads(axis: Axes, prediction: Prediction, name: str) -> None:
    """Draw the maps of the largest segment of a class, one tile a head.

    The colors grow with the square root of the weight, so that faint maps
    show, and end at 1/2.
    """
    axis.set_box_aspect(0.5)
    index = max(
        (
            i
            for i, s in enumerate(prediction.segments)
            if prediction.categories[s.label].name == name
        ),
        key=lambda i: prediction.segments[i].area,
    )
    segment = prediction.id_map == prediction.segments[index].id
    maps = prediction.attention_maps[index]
    image, columns = calm(prediction.image), -(-len(maps) // 2)
    for m, heat in enumerate(maps):
        row, column = divmod(m, columns)
        place = (column / columns, 0.51 - 0.51 * row, 0.96 / columns, 0.48)
        tile = axis.inset_axes(place)
        heat_panel(tile, image, heat, PowerNorm(0.5, 0, 0.5), segment)
        tile.set(xticks=[], yticks=[])
        tile.spines[:].set_visible(False)


def pair_figure(
    draw: Draw, right: Prediction, wrong: Prediction, name: str
) -> Figure:
    """Return the same thing drawn without a fault and with it.

    The second is drawn while the fault is on: corners, for one, are worked
    out when a drawing asks for them.
    """

    def draw_wrong(axis: Axes) -> None:
        with fault(name):
            draw(axis, prediction=wrong)

    _, height, width = right.image.shape
    panels = [partial(draw, prediction=right), draw_wrong]
    titles = ["without", "with the fault"]
    if isinstance(draw, partial):  # tiles, which are small as it is
        return panels_figure(panels, titles, aspect=0.5)
    figure = panels_figure(panels, titles, aspect=PAIR * height / width)
    for axis, side in zip(figure.axes, "EW", strict=True):
        axis.set_anchor(side)  # beside each other
    return figure


def losses_figure(
    losses: Mapping[str, Sequence[float]],
    columns: Sequence[str],
    least: float = 0.001,
) -> Figure:
    """Return a table of what each fault takes from each metric.

    losses: a row for each fault; columns: the metrics; least: a smaller
    loss is none.  The more is lost, the redder the cell.
    """
    cells = [
        [
            (f"{_fallen(x)} {CROSS}", min(0.1 + x / 2, 0.5))
            if x >= least
            else (TICK, 0)
            for x in row
        ]
        for row in losses.values()
    ]
    return _table(list(losses), columns, cells)


def _fallen(loss: float) -> str:
    """Return a loss with its sign, as a metric is written."""
    return f"\N{MINUS SIGN}{loss:.2f}" if loss >= 0.005 else "< 0.01"


def notices_figure(
    notices: Mapping[str, Sequence[bool]], columns: Sequence[str]
) -> Figure:
    """Return a table of which measure notices which fault.

    notices: a row for each fault; columns: the measures.
    """
    cells = [
        [(CROSS, 0.3) if noticed else (TICK, 0) for noticed in row]
        for row in notices.values()
    ]
    return _table(list(notices), columns, cells)


def _table(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[tuple[str, float]]],
) -> Figure:
    """Return cells with a text and a strength each; 0 is green."""
    height = 0.26
    figure = book_figure(height * len(rows) + 0.4)
    axis = figure.subplots()
    for y, row in enumerate(cells):
        for x, (text, strength) in enumerate(row):
            # White on red; a tick needs no ground, light page or dark.
            frame = Rectangle(
                (x - 0.47, y - 0.45),
                0.94,
                0.9,
                facecolor=_red(strength) if strength else "none",
                edgecolor="none",
            )
            axis.add_patch(frame)
            number, _, mark = text.rpartition(" ")
            axis.text(
                x + (0.3 if number else 0),
                y,
                mark,
                color="white" if strength else GREEN,
                ha="center",
                va="center",
                weight="bold",
            )
            if number:
                axis.text(
                    x - 0.06,
                    y,
                    number,
                    color="white",
                    ha="center",
                    va="center",
                )
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.xaxis.tick_top()
    axis.tick_params(length=0, labelcolor=INK)
    axis.spines[:].set_visible(False)
    return figure


def _red(strength: float) -> np.ndarray:
    """Return a cell's ground, from faint to red at a strength of 1/2."""
    share = min(2 * strength, 1)
    return (1 - share) * np.array(to_rgb(FAINT)) + share * np.array(
        to_rgb(RED)
    )


class Verdict:
    """What a check finds without a fault and with it, in words and colors."""

    def __init__(self, name: str, without: bool, within: bool):
        self.name = name.replace("_", " ")
        self.sides = [
            (without, "without the fault"),
            (within, "with the fault"),
        ]

    def __repr__(self) -> str:
        sides = ", ".join(
            f"{TICK if holds else CROSS} {where}"
            for holds, where in self.sides
        )
        return f"{self.name}: {sides}"

    def _repr_html_(self) -> str:
        sides = "".join(
            f'<span style="border-color: {GREEN if holds else RED}">'
            f"{'holds' if holds else 'broken'} {where}</span>"
            for holds, where in self.sides
        )
        return (
            f"<style>{STYLE}</style>"
            f'<p class="verdict"><b>{escape(self.name)}</b> {sides}</p>'
        )


def changed_pixels(right: Prediction, wrong: Prediction) -> int:
    """Count the pixels whose class differs between two predictions."""
    return int((_classes(right) != _classes(wrong)).sum())


def _classes(prediction: Prediction) -> np.ndarray:
    ids = np.asarray(prediction.id_map)
    classes = np.full(ids.shape, -1)
    for segment in prediction.segments:
        classes[ids == segment.id] = segment.label
    return classes
