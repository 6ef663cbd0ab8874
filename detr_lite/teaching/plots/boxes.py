"""Boxes: who answers for what, where each query answers, layer by layer."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.categories import Categories
from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots import panels
from detr_lite.teaching.plots.style import INK, WIDTH, book_figure

THING, STUFF = "#D55E00", "#0072B2"  # Okabe and Ito's vermilion and blue


def costs_figure(
    costs: Tensor,
    segments: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> Figure:
    """Return a cost matrix as a table, the matched pairs framed.

    costs: (N, T); segments: T names, one a column;
    pairs: (query, segment) of each match.
    """
    values = np.asarray(costs.detach().float())
    queries, count = values.shape
    figure = book_figure(2.6)
    axis = figure.subplots()
    drawn = axis.imshow(values, "cividis_r", aspect="auto")
    middle = (values.min() + values.max()) / 2
    for (row, column), value in np.ndenumerate(values):
        axis.text(
            column,
            row,
            f"{value:.1f}",
            ha="center",
            va="center",
            color="white" if value > middle else "black",
        )
    for row, column in pairs:
        for color, width in (("white", 4), (THING, 2.5)):
            axis.add_patch(
                Rectangle(
                    (column - 0.47, row - 0.45),
                    0.94,
                    0.9,
                    fill=False,
                    edgecolor=color,
                    linewidth=width,
                )
            )
    axis.set_xticks(range(count), segments)
    axis.set_yticks(range(queries), range(queries))
    axis.set_ylabel("query")
    axis.tick_params(length=0)
    bar = figure.colorbar(drawn, ax=axis)
    bar.set_label("cost")
    return figure


def centers_figure(
    centers: Sequence[Tensor],
    labels: Sequence[Tensor],
    categories: Categories,
    columns: int = 4,
) -> Figure:
    """Return where each query's boxes have their centers, a panel a query.

    centers: for each query (n, 2), (cx, cy) from 0 to 1;
    labels: for each query (n,), the classes, which give the colors: a disk
    for a thing, a cross for stuff; several stuffs stand side by side.
    """
    side, columns = WIDTH / columns, min(columns, len(centers))
    rows = -(-len(centers) // columns)
    figure = book_figure(0.45 + rows * (side + 0.22))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(centers) :]:
        axis.set_axis_off()
    seen = sorted({label for own in labels for label in own.tolist()})
    looks = {
        label: {
            "color": np.array(categories[label].color) / 255,
            "marker": "o" if categories[label].isthing else "x",
            "linewidths": 0 if categories[label].isthing else 1,
        }
        for label in seen
    }
    for query, (axis, points, own) in enumerate(
        zip(axes.flat, centers, labels, strict=False)
    ):
        present = sorted(set(own.tolist()))
        stuffs = [label for label in present if not categories[label].isthing]
        for label in present:
            x, y = np.asarray(points[own == label]).T
            if label in stuffs:
                x = x + 0.06 * (stuffs.index(label) - (len(stuffs) - 1) / 2)
            axis.scatter(x, y, s=11, **looks[label])
        axis.set_xlim(0, 1)
        axis.set_ylim(1, 0)  # y grows downwards, as in the image
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"query {query}")
        axis.spines[:].set_visible(True)
    handles = [
        Line2D(
            [],
            [],
            color=looks[label]["color"],
            marker=looks[label]["marker"],
            linestyle="",
            label=categories[label].name,
        )
        for label in seen
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        handletextpad=0.2,
        columnspacing=1.5,
    )
    return figure


def opening_figure(prediction: Prediction, output_boxes: Tensor) -> Figure:
    """Return an image, all N boxes that the queries say, and those found.

    output_boxes: (N, 4), (cx, cy, w, h) relative to the image.
    """
    height, width = prediction.id_map.shape
    size = torch.tensor([width, height, width, height])

    def every(axis: Axes) -> None:
        panels.image_panel(axis, prediction.image)
        for x0, y0, x1, y1 in (cxcywh_to_xyxy(output_boxes) * size).tolist():
            axis.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="white")
            )

    def kept(axis: Axes) -> None:
        panels.image_panel(axis, prediction.image)
        for segment in prediction.segments:
            corners = cxcywh_to_xyxy(torch.tensor(segment.box)) * size
            inside = corners.clamp(torch.tensor(1.0), size - 1).tolist()
            panels.box(axis, inside, prediction.categories[segment.label])
        for segment in prediction.segments:
            category = prediction.categories[segment.label]
            corners = cxcywh_to_xyxy(torch.tensor(segment.box)) * size
            x0, y0, x1, y1 = corners.tolist()
            if category.isthing:  # in the middle, inside the image
                x = min(max((x0 + x1) / 2, 0.17 * width), 0.83 * width)
                panels.label(axis, x, (y0 + y1) / 2, category.name)
            else:  # in the corner, where things are seldom
                y = y0 + 0.06 * height
                panels.label(axis, 0.03 * width, y, category.name, "left")

    return panels.panels_figure(
        [partial(panels.image_panel, image=prediction.image), every, kept],
        ["image", f"{len(output_boxes)} boxes", "found"],
    )


def overlap_figure(moves: Sequence[int]) -> Figure:
    """Return two squares of side 2, one moved to the right, and their hull.

    Each panel gives IoU and GIoU as fractions of areas.
    """
    figure = book_figure(1.2)
    shares = [move + 2.4 for move in moves]
    axes = figure.subplots(1, len(moves), width_ratios=shares)
    for axis, move in zip(np.atleast_1d(axes), moves, strict=True):
        shared, hull = max(2 - move, 0) * 2, (2 + move) * 2
        union = 8 - shared
        for x, color in ((0, STUFF), (move, THING)):
            axis.add_patch(Rectangle((x, 0), 2, 2, fc=color, alpha=0.6))
        if hull > union:
            axis.add_patch(
                Rectangle(
                    (2, 0), move - 2, 2, fc="none", ec=INK, hatch="///", lw=0
                )
            )
        axis.add_patch(
            Rectangle((0, 0), move + 2, 2, fill=False, ec=INK, ls="--", lw=1.5)
        )
        axis.set(xlim=(-0.2, move + 2.2), ylim=(-0.2, 2.2))
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_title(
            f"IoU {shared}/{union}\n"
            f"GIoU {shared}/{union} \N{MINUS SIGN} {hull - union}/{hull}"
        )
    return figure


def found_figure(
    predictions: Sequence[Prediction], titles: Sequence[str]
) -> Figure:
    """Return the boxes of the things that each prediction has found.

    titles: one a prediction; they may be of one image or of several.
    """

    def things(axis: Axes, prediction: Prediction) -> None:
        panels.image_panel(axis, prediction.image)
        _, height, width = prediction.image.shape
        size = torch.tensor([width, height, width, height])
        for segment in prediction.segments:
            category = prediction.categories[segment.label]
            if category.isthing:
                corners = cxcywh_to_xyxy(torch.tensor(segment.box)) * size
                inside = corners.clamp(torch.tensor(1.0), size - 1).tolist()
                panels.box(axis, inside, category)
                x = min(max(inside[0], 1), 0.7 * width)
                panels.label(axis, x, inside[1] + 4, category.name, "left")
        axis.set(xlim=(0, width), ylim=(height, 0))

    return panels.panels_figure(
        [partial(things, prediction=p) for p in predictions], titles
    )


def layer_figure() -> Figure:
    """Return a decoder layer: what enters where, and what each step does."""
    figure = book_figure(2.1)
    axis = figure.subplots()
    steps = (
        ("self-\nattention", "queries look at\neach other"),
        ("cross-\nattention", "queries look at\nthe image"),
        ("feed-\nforward", "each query\nby itself"),
    )
    for number, (name, about) in enumerate(steps):
        x = 0.75 + number * 2.45
        axis.add_patch(
            FancyBboxPatch(
                (x, 0.9), 1.3, 0.8, fc=STUFF, ec="none",
                boxstyle="round,pad=0,rounding_size=0.1",
            )
        )  # fmt: skip
        axis.text(
            x + 0.65, 1.3, name, ha="center", va="center", color="white",
            fontsize=9,
        )  # fmt: skip
        axis.text(x + 0.65, 0.1, about, ha="center", va="center")
        _arrow(axis, (x - 0.5, 1.3), (x, 1.3))
        _arrow(axis, (x + 1.3, 1.3), (x + 1.58, 1.3))
        # The residual connection goes around the step, below it.
        around = (x - 0.3, x - 0.3, x + 1.75), (1.3, 0.62, 0.62)
        axis.plot(*around, color=INK, lw=1)
        _arrow(axis, (x + 1.75, 0.62), (x + 1.75, 1.13))
        axis.add_patch(Circle((x + 1.75, 1.3), 0.17, fc="none", ec=INK))
        axis.text(x + 1.75, 1.29, "+", ha="center", va="center")
    _arrow(axis, (7.57, 1.3), (7.85, 1.3))
    axis.text(0.12, 1.3, "x", ha="center", va="center", style="italic")
    axis.text(8.0, 1.3, "x", ha="center", va="center", style="italic")
    for start, end, words, what in (
        (1.4, 1.4, "query_pos", "q, k"),
        (2.85, 3.4, "query_pos", "q"),
        (3.95, 3.85, "memory\n+ pos", "k"),
        (5.0, 4.3, "memory", "v"),
    ):
        axis.text(start, 2.4, words, ha="center", va="bottom", fontsize=9)
        _arrow(axis, (start, 2.35), (end, 1.72))
        middle = (start + end) / 2 + 0.12
        axis.text(middle, 2.05, what, ha="left", va="center", fontsize=9)
    axis.set(xlim=(0, 8.1), ylim=(-0.15, 2.85))
    axis.set_axis_off()
    return figure


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float]
) -> None:
    axis.annotate(
        "", end, start, arrowprops={"arrowstyle": "->", "color": INK}
    )
