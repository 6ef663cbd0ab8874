"""Attention maps: where each head of a query looks, and which one does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots.maps import maps_figure
from detr_lite.teaching.plots.training import BAR_COLORS


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

    One color scale for all; it grows with the square root, so that weak
    attention can be seen beside strong.
    joint, per_head: (M, h, w); outline: (H, W) bool, the query's segment.
    """
    figure = Figure(figsize=(7, 2.9), layout="constrained", dpi=100)
    axes = figure.subplots(2, len(joint), squeeze=False)
    height, width = outline.shape
    norm = PowerNorm(0.5, 0, max(joint.max().item(), per_head.max().item()))
    for m, axis in enumerate(axes[0]):
        axis.set_title(f"head {m}", fontsize=9)
    for axis, values in zip(axes.flat, [*joint, *per_head], strict=True):
        drawn = axis.imshow(
            np.asarray(values),
            "magma",
            norm=norm,
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
    axes[0, 0].set_ylabel("together", fontsize=9)
    axes[1, 0].set_ylabel("each alone", fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", aspect=50)
    bar.set_label("attention", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def head_use_figure(shares: Tensor, names: Sequence[str]) -> Figure:
    """Return a heat map of how much each class uses each head.

    Shares of 1 % and more are written into their cells.
    shares: (K, M), each row sums to 1; names: the K classes.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained", dpi=100)
    axis = figure.subplots()
    values = np.asarray(shares)
    drawn = axis.imshow(values, "magma", vmin=0, vmax=1, aspect="auto")
    for (k, m), share in np.ndenumerate(values):
        if share >= 0.01:
            color = "black" if share > 0.6 else "white"
            axis.text(
                m,
                k,
                _percent(share),
                ha="center",
                va="center",
                color=color,
                fontsize=9,
            )
    axis.set_xticks(range(values.shape[1]))
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("head", fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    # Thin lines between the cells, so that empty ones can be counted.
    axis.set_xticks(np.arange(0.5, values.shape[1] - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(names) - 1), minor=True)
    axis.grid(which="minor", color="0.4", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    bar = figure.colorbar(drawn, ax=axis)
    bar.set_label("share of the attention", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def own_share_figure(shares: Mapping[str, Sequence[float]]) -> Figure:
    """Return two bars for each kind of maps: for things, and for stuff.

    shares: for each kind the two mean shares of attention, 0 to 1, that
    fall on the query's own segment; the first kind is drawn at the top.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained", dpi=100)
    axis = figure.subplots()
    rows = np.arange(len(shares))
    for i, name in enumerate(("things", "stuff")):
        values = [100 * pair[i] for pair in shares.values()]
        axis.barh(rows + 0.4 * i - 0.2, values, 0.36, color=BAR_COLORS[i])
        axis.containers[i].set_label(name)
    axis.set_yticks(rows, shares)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xticks=range(0, 101, 10))
    axis.set_xlabel("attention on its own segment, in %", fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(axis="x", color="0.8", linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(
        handles=axis.containers,
        loc="outside upper right",
        ncols=2,
        fontsize=9,
        frameon=False,
    )
    return figure
