"""Boxes: who answers for what, where each query answers, layer by layer."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from matplotlib.patheffects import Normal, Stroke
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
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
    figure = book_figure(3.1)
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
    figure = book_figure(0.6 + rows * (side + 0.22))
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


def boxes_figure(
    image: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    categories: Categories,
    titles: Sequence[str],
    queries: Sequence[Tensor | None] | None = None,
) -> Figure:
    """Return one image several times, each time with other boxes on it.

    image: (3, H, W) uint8; boxes: for each panel (n, 4), (cx, cy, w, h)
    relative to the image; labels: for each panel (n,), which give the
    boxes their colors; titles: one a panel.
    queries: for each panel (n,) numbers to write on the boxes, or None.
    """
    figure = book_figure(WIDTH / len(boxes) + 0.7)
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
        axis.set_title(title)
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
        spots = [(x, max(y, 4.0)) for y in (y0, y1) for x in (x0, x1)]
        # The first where no number is yet; if there is none, the first.
        x, y = next(
            (
                (x, y)
                for x, y in spots
                if all(abs(x - a) > 12 or abs(y - b) > 8 for a, b in taken)
            ),
            spots[0],
        )
        taken.append((x, y))
        panels.label(axis, x, y, " + ".join(map(str, members)), "left")


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


def matching_figure(
    costs: Tensor,
    pairs: Sequence[tuple[int, int]],
    segments: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
) -> Figure:
    """Return queries and segments as two rows, lines between the matched.

    costs: (N, T); pairs: (query, segment) of each match; segments: T names;
    colors: T, from 0 to 255, those of the segments' classes.
    """
    count, pairs = len(costs), sorted(pairs)  # so that few lines cross
    chosen = [query for query, _ in pairs]
    figure = book_figure(2.2)
    axis = figure.subplots()
    across = count / len(segments)
    for place, (query, segment) in enumerate(pairs):
        x = (query + 0.5, (place + 0.5) * across)
        color = np.array(colors[segment]) / 255
        axis.plot(x, (0.82, 0.18), color=color, lw=2.5)
        axis.text(
            sum(x) / 2, 0.5, f"{costs[query, segment]:.1f}", ha="center",
            va="center", fontsize=8.5, color="white",
            bbox={"facecolor": "black", "edgecolor": color, "pad": 1.5},
        )  # fmt: skip
        axis.text(x[1], 0.08, segments[segment], ha="center", va="center")
    for query in range(count):
        axis.text(
            query + 0.5, 0.9, str(query), ha="center", va="center",
            weight="bold" if query in chosen else "normal",
        )  # fmt: skip
    axis.text(-0.2, 0.9, "query", ha="right", va="center")
    axis.text(-0.2, 0.08, "segment", ha="right", va="center")
    axis.set(xlim=(-1.7, count), ylim=(0, 1))
    axis.set_axis_off()
    return figure


def overlap_figure(moves: Sequence[int]) -> Figure:
    """Return two squares of side 2, one moved to the right, and their hull.

    Each panel gives IoU and GIoU as fractions of areas.
    """
    figure = book_figure(1.45)
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
    figure = book_figure(2.5)
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
    axis.set(xlim=(0, 8.1), ylim=(-0.2, 3.0))
    axis.set_axis_off()
    return figure


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float]
) -> None:
    axis.annotate(
        "", end, start, arrowprops={"arrowstyle": "->", "color": INK}
    )
