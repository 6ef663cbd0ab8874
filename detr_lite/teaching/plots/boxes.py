"""Boxes: who answers for what, where each query answers, layer by layer."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
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
    figure = book_figure(3.6)
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
    centers: Sequence[Tensor], isthing: Sequence[Tensor], columns: int = 4
) -> Figure:
    """Return where each query's boxes have their centers, a panel a query.

    centers: for each query (n, 2), (cx, cy) from 0 to 1;
    isthing: for each query (n,) bool, things against stuff.
    """
    side, columns = WIDTH / columns, min(columns, len(centers))
    rows = -(-len(centers) // columns)
    figure = book_figure(0.4 + rows * (side + 0.25))
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
        axis.set_ylim(1, 0)  # y grows downwards, as in the image
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"query {query}")
        axis.spines[:].set_visible(True)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for _, color, marker, name in kinds
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
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
            color="black",
            fontsize=9,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


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
            x, y, *_ = (torch.tensor(segment.box) * size).tolist()
            name = prediction.categories[segment.label].name
            panels.label(axis, x, y, name)

    return panels.panels_figure(
        [partial(panels.image_panel, image=prediction.image), every, kept],
        ["image", f"{len(output_boxes)} boxes", "found"],
    )


def matching_figure(
    costs: Tensor, pairs: Sequence[tuple[int, int]], segments: Sequence[str]
) -> Figure:
    """Return queries and segments as two rows, lines between the matched.

    costs: (N, T); pairs: (query, segment) of each match.
    """
    count, pairs = len(costs), sorted(pairs)  # so that few lines cross
    chosen = [query for query, _ in pairs]
    figure = book_figure(2.2)
    axis = figure.subplots()
    across = count / len(segments)
    for place, (query, segment) in enumerate(pairs):
        x = (query + 0.5, (place + 0.5) * across)
        axis.plot(x, (0.82, 0.18), color=THING, lw=2)
        axis.text(
            sum(x) / 2, 0.5, f"{costs[query, segment]:.1f}", ha="center",
            va="center", fontsize=8.5, color="white",
            bbox={"facecolor": THING, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        axis.text(x[1], 0.08, segments[segment], ha="center", va="center")
    for query in range(count):
        axis.text(
            query + 0.5, 0.9, str(query), ha="center", va="center",
            color=THING if query in chosen else INK,
            weight="bold" if query in chosen else "normal",
        )  # fmt: skip
    axis.text(-0.2, 0.9, "query", ha="right", va="center")
    axis.text(-0.2, 0.08, "segment", ha="right", va="center")
    axis.set(xlim=(-1.7, count), ylim=(0, 1))
    axis.set_axis_off()
    return figure


def overlap_figure(moves: Sequence[float]) -> Figure:
    """Return two squares of side 2, one moved to the right, and their hull.

    Each panel gives IoU and GIoU.
    """
    figure = book_figure(1.5)
    shares = [move + 2.4 for move in moves]
    axes = figure.subplots(1, len(moves), width_ratios=shares)
    fixed = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    for axis, move in zip(axes, moves, strict=True):
        moved = fixed + torch.tensor([move, 0.0, move, 0.0])
        shared = max(2 - move, 0) * 2
        iou = shared / (8 - shared)
        for x, color in ((0, STUFF), (move, THING)):
            axis.add_patch(Rectangle((x, 0), 2, 2, fc=color, alpha=0.6))
        axis.add_patch(
            Rectangle((0, 0), move + 2, 2, fill=False, ec=INK, ls="--", lw=1.5)
        )
        axis.set(xlim=(-0.2, move + 2.2), ylim=(-0.2, 2.2))
        axis.set_aspect("equal")
        axis.set_axis_off()
        overlap = giou(moved, fixed).item()
        axis.set_title(f"IoU {iou:.2f}\nGIoU {overlap:.2f}")
    return figure


def layer_figure() -> Figure:
    """Return a decoder layer: what enters where, and what each step does."""
    figure = book_figure(2.5)
    axis = figure.subplots()
    steps = (
        ("self-attention", "queries look at\neach other"),
        ("cross-attention", "queries look at\nthe image"),
        ("feed-forward", "each query\nby itself"),
    )
    for number, (name, about) in enumerate(steps):
        x = 1.15 + number * 2.1
        axis.add_patch(
            FancyBboxPatch(
                (x, 0.9), 1.6, 0.7, fc=STUFF, ec="none",
                boxstyle="round,pad=0,rounding_size=0.1",
            )
        )  # fmt: skip
        axis.text(
            x + 0.8, 1.25, name, ha="center", va="center", color="white",
            fontsize=8.5,
        )  # fmt: skip
        axis.text(x + 0.8, 0.45, about, ha="center", va="center", fontsize=9)
        _arrow(axis, (x - 0.5, 1.25), (x, 1.25))
    _arrow(axis, (6.95, 1.25), (7.4, 1.25))
    axis.text(0.3, 1.25, "x", ha="center", va="center")
    axis.text(7.6, 1.25, "x", ha="center", va="center")
    for x, words in (
        (1.95, "query_pos to\nqueries and keys"),
        (4.05, "query_pos to queries;\nmemory, pos to its keys"),
    ):
        axis.text(x, 2.25, words, ha="center", va="center", fontsize=9)
        _arrow(axis, (x, 1.98), (x, 1.6))
    axis.set(xlim=(0, 7.8), ylim=(0.1, 2.6))
    axis.set_axis_off()
    return figure


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float]
) -> None:
    axis.annotate(
        "", end, start, arrowprops={"arrowstyle": "->", "color": INK}
    )
