"""Attention maps: where each head of a query looks, and which one does."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.plots.maps import maps_figure
from detr_lite.prediction import Prediction


def attention_figure(prediction: Prediction, index: int) -> Figure:
    """Return a segment's attention maps, a panel for each head.

    One color scale for all heads, the segment's outline in each panel, and
    above it the head's share of the attention.
    index: the segment's position in prediction.segments.
    """
    maps = prediction.attention_maps[index]
    return maps_figure(
        list(maps),
        head_titles(maps),
        columns=max(-(-len(maps) // 2), 1),
        label="attention",
        limits=(0, maps.max().item()),
        outline=prediction.id_map == prediction.segments[index].id,
    )


def head_titles(maps: Tensor) -> list[str]:
    """Return "head 0: 12 %", ...: each head's share of the attention.

    maps: (M, h, w).  A share that would be rounded to all or nothing is
    said to be more or less than that.
    """
    shares = maps.sum((-1, -2)) / maps.sum()
    return [f"head {m}: {_percent(s)}" for m, s in enumerate(shares.tolist())]


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def softmax_figure(joint: Tensor, per_head: Tensor, outline: Tensor) -> Figure:
    """Return a query's maps by both softmaxes, a row each.

    Each row has a color scale of its own, from 0 to its largest number.
    joint, per_head: (M, h, w); outline: (H, W) bool, the query's segment.
    """
    figure = Figure(figsize=(7, 2.5), layout="constrained", dpi=100)
    heads = len(joint)
    axes = figure.subplots(2, heads, squeeze=False)
    height, width = outline.shape
    names = "together", "each head"
    for row, maps, name in zip(axes, (joint, per_head), names, strict=True):
        for m, (axis, values) in enumerate(zip(row, maps, strict=True)):
            drawn = axis.imshow(
                np.asarray(values),
                "magma",
                vmin=0,
                vmax=maps.max().item(),
                extent=(0, width, height, 0),
            )
            axis.contour(
                np.arange(width) + 0.5,
                np.arange(height) + 0.5,
                np.asarray(outline),
                levels=[0.5],
                colors="white",
                linewidths=0.8,
            )
            axis.set(xticks=[], yticks=[])
            if row is axes[0]:
                axis.set_title(f"head {m}", fontsize=9)
        row[0].set_ylabel(name, fontsize=9)
        bar = figure.colorbar(drawn, ax=list(row), shrink=0.9)
        bar.ax.tick_params(labelsize=8)
    return figure


def head_use_figure(shares: Tensor, names: Sequence[str]) -> Figure:
    """Return a heat map of how much each class uses each head.

    shares: (K, M), each row sums to 1; names: the K classes.
    Shares of 1 % and more are written into their cells.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained", dpi=100)
    axis = figure.subplots()
    values = np.asarray(shares)
    drawn = axis.imshow(values, "magma", vmin=0, vmax=1, aspect="auto")
    for (k, m), share in np.ndenumerate(values):
        if share >= 0.01:
            axis.text(
                m,
                k,
                f"{100 * share:.0f} %",
                ha="center",
                va="center",
                fontsize=9,
                color="black" if share > 0.6 else "white",
            )
    axis.set_xticks(range(values.shape[1]))
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("head", fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    bar = figure.colorbar(drawn, ax=axis)
    bar.set_label("share of the attention", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
