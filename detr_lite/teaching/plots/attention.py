"""Attention maps: where each head of a query looks, and which one does."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.data.categories import Category
from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots.panels import (
    Panel,
    box,
    calm,
    heat_panel,
    image_panel,
    label,
    panels_figure,
    segments_panel,
)
from detr_lite.teaching.plots.style import INK, book_figure

THINGS, STUFF = "#0072B2", "#E69F00"  # safe for color-blind readers


def opening_figure(prediction: Prediction, indices: Sequence[int]) -> Figure:
    """Return, for each segment, its query's box and its maps, added up.

    indices: positions in prediction.segments.
    """
    panels: list[Panel] = []
    for index in indices:
        heat = prediction.attention_maps[index].sum(0)
        panels += [
            partial(_boxed, prediction=prediction, index=index),
            partial(_relative, prediction=prediction, heat=heat, index=index),
        ]
    titles = ["what: its box", "where: its maps"] * len(indices)
    return panels_figure(
        panels, titles, bar=(Normalize(0, 1), "attention / its largest value")
    )


def _boxed(axis: Axes, prediction: Prediction, index: int) -> None:
    """Draw the image and the box that a segment's query predicted."""
    image_panel(axis, prediction.image)
    category = prediction.categories[prediction.segments[index].label]
    x0, y0, x1, y1 = prediction.query_boxes[index].tolist()
    box(axis, (x0, y0, x1, y1), category)
    label(axis, (x0 + x1) / 2, (y0 + y1) / 2, category.name)


def _relative(
    axis: Axes, prediction: Prediction, heat: Tensor, index: int
) -> None:
    """Draw a map relative to its largest value, with its segment."""
    segment = prediction.id_map == prediction.segments[index].id
    norm = Normalize(0, 1)
    heat_panel(axis, prediction.image, heat / heat.max(), norm, segment)


def attention_figure(prediction: Prediction, indices: Sequence[int]) -> Figure:
    """Return the maps of some segments: a row for each, a column for a head.

    A row has one scale, relative to its largest value.  Each panel has the
    segment's outline and, from 1 % on, the head's share of the attention.
    indices: positions in prediction.segments.
    """
    panels: list[Panel] = []
    image, norm = calm(prediction.image), Normalize(0, 1)
    for index in indices:
        maps = prediction.attention_maps[index]
        segment = prediction.id_map == prediction.segments[index].id
        shares = percents(maps.sum((-1, -2)) / maps.sum())
        panels += [
            partial(
                _head,
                image=image,
                heat=heat / maps.max(),
                segment=segment,
                share=share,
                norm=norm,
            )
            for heat, share in zip(maps, shares, strict=True)
        ]
    heads = prediction.attention_maps.shape[1]
    return panels_figure(
        panels,
        [f"head {m}" for m in range(heads)],
        columns=heads,
        rows=[
            prediction.categories[prediction.segments[index].label].name
            for index in indices
        ],
        bar=(Normalize(0, 1), "attention / the segment's largest value"),
    )


def _head(
    axis: Axes,
    image: Tensor,
    heat: Tensor,
    segment: Tensor,
    share: str,
    norm: Normalize,
) -> None:
    heat_panel(axis, image, heat, norm, segment)
    if share:
        height, width = segment.shape
        # Above or below, wherever less of the segment is hidden.
        above = segment[: height // 4].sum() < segment[-height // 4 :].sum()
        y = 0.13 if above else 0.88
        label(axis, width * 0.98, height * y, share, ha="right")


def percents(shares: Tensor) -> list[str]:
    """Return "12 %", ... for shares of 1 % and more, "" for smaller ones.

    A share that would be rounded to all is said to be more than 99 %.
    """
    return [
        "" if s < 0.01 else "> 99 %" if 0.99 < s < 1 else f"{100 * s:.0f} %"
        for s in shares.tolist()
    ]


def softmax_figure(
    prediction: Prediction, joint: Tensor, per_head: Tensor, index: int
) -> Figure:
    """Return a segment's maps by both softmaxes, a row each.

    One color scale for all; it grows with the square root, so that weak
    attention can be seen beside strong.
    joint, per_head: (M, h, w); index: position in prediction.segments.
    """
    segment = prediction.id_map == prediction.segments[index].id
    most = max(joint.max().item(), per_head.max().item())
    norm, image = PowerNorm(0.5, 0, most), calm(prediction.image)
    panels: list[Panel] = [
        partial(heat_panel, image=image, heat=heat, norm=norm, segment=segment)
        for heat in (*joint, *per_head)
    ]
    return panels_figure(
        panels,
        [f"head {m}" for m in range(len(joint))],
        columns=len(joint),
        rows=["joint", "per head"],
        bar=(norm, "attention (the colors grow with its square root)"),
    )


def extent_figure(
    rows: Mapping[str, Sequence[float]], categories: Sequence[Category]
) -> Figure:
    """Return, for each class, two counts of positions on a line.

    rows: for each class, on how many positions most of its attention lies,
    how many positions it touches, and the share of the attention on these;
    categories: the classes, in the same order.
    """
    figure = book_figure(0.23 * len(rows) + 0.6)
    axis = figure.subplots()
    few, touched, on = np.array(list(rows.values())).T
    places = np.arange(len(rows))
    axis.hlines(places, few, touched, color=INK, linewidth=1.2, zorder=1)
    colors = [np.array(c.color) / 255 for c in categories]
    axis.scatter(
        touched, places, 60, facecolor="none", edgecolor=INK, linewidth=1.2
    )
    axis.scatter(few, places, 60, color=colors, edgecolor=INK, linewidth=0.6)
    axis.set_yticks(places, rows)
    axis.invert_yaxis()
    axis.set(xlim=(0, None), xlabel="positions, of all h x w")
    right = axis.secondary_yaxis("right")
    right.set_yticks(places, percents(torch.from_numpy(on)))
    right.set_ylabel("attention on its own segment")
    for side in (axis, right):
        side.tick_params(axis="y", length=0)
        side.spines[:].set_visible(False)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    return figure


def head_use_figure(shares: Tensor, categories: Sequence[Category]) -> Figure:
    """Return a table of how much each class uses each head.

    A disk's area is the share, and from 1 % on it is written beside it.
    shares: (K, M), each row sums to 1; categories: the K classes.
    """
    figure = book_figure(0.23 * len(categories) + 0.3)
    axis = figure.subplots()
    for row, (category, own) in enumerate(
        zip(categories, shares, strict=True)
    ):
        color = np.array(category.color) / 255
        areas = 120 * np.asarray(own)
        heads = np.arange(len(own))
        axis.scatter(heads, np.full(len(own), row), areas, color=color)
        axis.scatter(heads, np.full(len(own), row), 4, color=INK, zorder=0)
        for head, text in enumerate(percents(own)):
            number = text.removesuffix(" %")
            axis.text(head + 0.2, row, number, va="center")
    axis.set_xticks(heads, [f"head {m}" for m in heads])
    axis.set_yticks(range(len(categories)), [c.name for c in categories])
    axis.set(xlim=(-0.5, len(heads) - 0.4), ylim=(len(categories) - 0.5, -0.5))
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def own_share_figure(shares: Mapping[str, Sequence[float]]) -> Figure:
    """Return two bars for each kind of maps: for things, and for stuff.

    shares: for each kind the two mean shares of attention, 0 to 1, that
    fall on the query's own segment; the first kind is drawn at the top.
    """
    figure = book_figure(0.26 * len(shares) + 0.5)
    axis = figure.subplots()
    rows = np.arange(len(shares))
    for i, (name, color) in enumerate((("things", THINGS), ("stuff", STUFF))):
        values = [100 * pair[i] for pair in shares.values()]
        axis.barh(rows + 0.4 * i - 0.2, values, 0.36, color=color)
        axis.containers[i].set_label(name)
    axis.set_yticks(rows, shares)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xticks=range(0, 101, 20))
    axis.set_xlabel("attention on its own segment, in %")
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.legend(loc="upper right")
    return figure


def broken_figure(predictions: Sequence[Prediction], titles) -> Figure:
    """Return segmentations side by side.

    titles: one for each prediction.
    """
    panels: list[Panel] = [
        partial(segments_panel, result=p, scores=False) for p in predictions
    ]
    return panels_figure(panels, titles)
