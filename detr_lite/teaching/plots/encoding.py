"""The encoded image: positional encodings, and what a position looks at."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.data.sample import Sample

# Okabe and Ito, with a line style each, for readers who see no color.
_WAVES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))
_MARK = "#56B4E9"


def waves_figure(codes: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Return the sines of one-dimensional encodings, as waves and as colors.

    codes: (channels, positions) each, sines at the even channels and cosines
    at the odd ones, as a row of SinePositionalEncoding has them.
    """
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
    axes = figure.subplots(2, len(codes), squeeze=False)
    for (above, below), code, title in zip(axes.T, codes, titles, strict=True):
        values = np.asarray(code)[0::2]
        count, positions = values.shape
        chosen = (0, count // 4, count - 1)
        for number, (color, style) in zip(chosen, _WAVES, strict=True):
            above.plot(
                np.arange(1, positions + 1),
                values[number],
                style,
                color=color,
                label=f"sine {number}",
                marker=".",
            )
        above.set_title(title, fontsize=9)
        above.set_ylim(-1.8, 1.1)
        above.set_yticks((-1, 0, 1))
        above.set_xlim(0.5, positions + 0.5)
        drawn = below.imshow(
            values,
            "RdBu_r",
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, positions + 0.5, count - 0.5, -0.5),
        )
        below.set_xlabel("column", fontsize=9)
        for axis in (above, below):
            axis.tick_params(labelsize=8)
        above.legend(fontsize=8, loc="lower center", ncols=3, frameon=False)
    axes[0, 0].set_ylabel("value", fontsize=9)
    axes[1, 0].set_ylabel("number of the sine", fontsize=9)
    bar = figure.colorbar(drawn, ax=axes[1])
    bar.ax.tick_params(labelsize=8)
    return figure


def seen_from_figure(
    sample: Sample,
    places: Sequence[tuple[int, int]],
    maps: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] | None = None,
    gamma: float = 1.0,
) -> Figure:
    """Return for each place a row: the picture, and the place's maps.

    The segment that a place lies on is outlined.

    places: (row, column) in the maps; maps: for each place as many (h, w)
    maps as there are titles.  One color scale for all, `limits` or 0 to the
    most; a gamma below 1 spreads its dark end.
    """
    low, high = limits or (0, max(float(m.max()) for row in maps for m in row))
    scale = PowerNorm(gamma, low, high)
    rows, columns = len(places), 1 + len(titles)
    figure = Figure(
        figsize=(7, min(4, 0.3 + 6 / columns * rows)),
        layout="constrained",
        dpi=100,
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    height, width = sample.id_map.shape
    for axis_row, (y, x), own in zip(axes, places, maps, strict=True):
        h, w = own[0].shape
        center = (x + 0.5) / w, (y + 0.5) / h
        at = int(center[1] * height), int(center[0] * width)
        outline = sample.id_map == sample.id_map[at]
        axis_row[0].imshow(
            sample.image.permute(1, 2, 0).numpy(), extent=(0, 1, 1, 0)
        )
        for axis, values in zip(axis_row[1:], own, strict=True):
            drawn = axis.imshow(
                np.asarray(values.detach().float()),
                "magma",
                norm=scale,
                extent=(0, 1, 1, 0),
                interpolation="nearest",
            )
        for axis in axis_row:
            axis.contour(
                (np.arange(width) + 0.5) / width,
                (np.arange(height) + 0.5) / height,
                outline.numpy(),
                levels=[0.5],
                colors="white",
                linewidths=1,
            )
            for color, edge in (("black", 3), (_MARK, 1.5)):
                axis.plot(*center, "o", mfc="none", mec=color, mew=edge, ms=6)
            axis.set_axis_off()
            axis.set_aspect(height / width)
    for axis, title in zip(axes[0], ("picture", *titles), strict=True):
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
