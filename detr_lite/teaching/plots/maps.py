"""Maps over positions: any numbers that belong to places in a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor


def maps_figure(
    maps: Sequence[Tensor],
    titles: Sequence[str],
    columns: int = 4,
    label: str = "",
    limits: tuple[float, float] | None = None,
    outline: Tensor | None = None,
) -> Figure:
    """Return maps side by side, on one color scale with one bar.

    maps: (h, w) each, of any sizes; titles: one for each map.
    limits: of the color scale (default: the least and the most of all).
    outline: (H, W) bool, a segment to draw in white over each map.
    """
    arrays = [np.asarray(m.detach().float()) for m in maps]
    low, high = limits or (
        min(a.min() for a in arrays),
        max(a.max() for a in arrays),
    )
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = Figure(
        figsize=(7, min(4, 0.4 + 6 / columns * rows)),
        layout="constrained",
        dpi=100,
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, values, title in zip(axes.flat, arrays, titles, strict=False):
        drawn = axis.imshow(
            values, "magma", vmin=low, vmax=high, extent=(0, 1, 1, 0)
        )
        axis.set_aspect(values.shape[0] / values.shape[1])
        axis.set_title(title, fontsize=9)
        if outline is not None:
            height, width = outline.shape
            axis.contour(
                (np.arange(width) + 0.5) / width,
                (np.arange(height) + 0.5) / height,
                np.asarray(outline),
                levels=[0.5],
                colors="white",
                linewidths=1,
            )
    bar = figure.colorbar(drawn, ax=axes, shrink=0.9)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
