"""Boxes: who answers for what, where each query answers, layer by layer."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.data.categories import Categories

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
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
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
            fontsize=9,
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
    axis.set_xticks(range(count), segments, fontsize=9)
    axis.set_yticks(range(queries), range(queries), fontsize=9)
    axis.set_ylabel("query", fontsize=9)
    axis.tick_params(length=0)
    bar = figure.colorbar(drawn, ax=axis)
    bar.set_label("cost", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    return figure


def centers_figure(
    centers: Sequence[Tensor], isthing: Sequence[Tensor], columns: int = 6
) -> Figure:
    """Return where each query's boxes have their centers, a panel a query.

    centers: for each query (n, 2), (cx, cy) from 0 to 1;
    isthing: for each query (n,) bool, things against stuff.
    """
    columns = min(columns, len(centers))
    rows = -(-len(centers) // columns)
    figure = Figure(
        figsize=(7, min(4, 0.5 + rows * 8 / columns)),
        layout="constrained",
        dpi=100,
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(centers) :]:
        axis.set_axis_off()
    kinds = ((True, THING, "o", "thing"), (False, STUFF, "x", "stuff"))
    for query, (axis, points, things) in enumerate(
        zip(axes.flat, centers, isthing, strict=False)
    ):
        for kind, color, marker, _ in kinds:
            x, y = np.asarray(points[things == kind]).T
            axis.scatter(x, y, s=9, c=color, marker=marker, linewidths=0.8)
        axis.set_xlim(0, 1)
        axis.set_ylim(1, 0)  # y grows downwards, as in the picture
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"query {query}", fontsize=9)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for _, color, marker, name in kinds
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        fontsize=9,
        frameon=False,
    )
    return figure


def boxes_figure(
    image: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    categories: Categories,
    titles: Sequence[str],
    queries: Sequence[Tensor | None] | None = None,
) -> Figure:
    """Return one picture several times, each time with other boxes on it.

    image: (3, H, W) uint8; boxes: for each panel (n, 4), (cx, cy, w, h)
    relative to the picture; labels: for each panel (n,), which give the
    boxes their colors; titles: one a panel.
    queries: for each panel (n,) numbers to write on the boxes, or None.
    """
    figure = Figure(
        figsize=(7, 7 / len(boxes) + 0.65), layout="constrained", dpi=100
    )
    axes = figure.subplots(1, len(boxes), squeeze=False)[0]
    pixels = image.permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    outline = [Stroke(linewidth=3.5, foreground="white"), Normal()]
    size = torch.tensor([width, height, width, height])
    for axis, mine, classes, title, numbers in zip(
        axes,
        boxes,
        labels,
        titles,
        queries or [None] * len(boxes),
        strict=True,
    ):
        axis.imshow(pixels, extent=(0, width, height, 0))
        corners = cxcywh_to_xyxy(mine * size)
        for (x0, y0, x1, y1), label in zip(
            corners.tolist(), classes.tolist(), strict=True
        ):
            axis.add_patch(
                Rectangle(
                    (x0, y0),
                    x1 - x0,
                    y1 - y0,
                    fill=False,
                    edgecolor=np.array(categories[label].color) / 255,
                    linewidth=2,
                    path_effects=outline,
                )
            )
        if numbers is not None:
            _write_numbers(axis, corners, numbers.tolist())
        axis.set_xlim(-2, width + 2)
        axis.set_ylim(height + 2, -2)
        axis.set_axis_off()
        axis.set_title(title, fontsize=9)
    seen = sorted({label for panel in labels for label in panel.tolist()})
    handles = [
        Line2D(
            [],
            [],
            color=np.array(categories[label].color) / 255,
            linewidth=3,
            label=categories[label].name,
        )
        for label in seen
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(len(seen), 1),
        fontsize=9,
        frameon=False,
    )
    return figure


def _write_numbers(axis, corners: Tensor, numbers: Sequence[int]) -> None:
    """Write each box's number on a corner; boxes in one place share it."""
    groups: list[tuple[Tensor, list[int]]] = []
    for box, number in zip(corners, numbers, strict=True):
        for first, members in groups:
            if giou(first, box) > 0.5:
                members.append(number)
                break
        else:
            groups.append((box, [number]))
    taken: list[tuple[float, float]] = []
    for box, members in groups:
        x0, y0, x1, y1 = box.tolist()
        corners = [(x, max(y, 4)) for y in (y0, y1) for x in (x0, x1)]
        # The first where no number is yet; if there is none, the first.
        x, y = next(
            (
                (x, y)
                for x, y in corners
                if all(abs(x - a) > 12 or abs(y - b) > 8 for a, b in taken)
            ),
            corners[0],
        )
        taken.append((x, y))
        axis.text(
            x,
            y,
            " + ".join(map(str, members)),
            fontsize=9,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
