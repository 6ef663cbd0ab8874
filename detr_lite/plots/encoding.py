"""The encoded image: positional encodings, and what a position looks at."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

# Okabe and Ito, with a line style each, for readers who see no color.
_WAVES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))
_MARK = "#56B4E9"


def waves_figure(codes: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Return one-dimensional encodings: some of the sines, and all channels.

    codes: (channels, positions) each, sines at the even channels and cosines
    at the odd ones, as a row of SinePositionalEncoding has them.
    """
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
    axes = figure.subplots(2, len(codes), squeeze=False)
    for (above, below), code, title in zip(axes.T, codes, titles, strict=True):
        channels, positions = code.shape
        values, places = np.asarray(code), np.arange(1, positions + 1)
        chosen = (0, channels // 4 // 2 * 2, channels - 2)
        for channel, (color, style) in zip(chosen, _WAVES, strict=True):
            above.plot(
                places,
                values[channel],
                style,
                color=color,
                label=f"channel {channel}",
                marker=".",
            )
        above.set_title(title, fontsize=9)
        above.set_ylim(-1.1, 1.1)
        above.set_xlim(0.5, positions + 0.5)
        drawn = below.imshow(
            values,
            "RdBu_r",
            vmin=-1,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, positions + 0.5, channels - 0.5, -0.5),
        )
        below.set_xlabel("column", fontsize=9)
        for axis in (above, below):
            axis.tick_params(labelsize=8)
        above.legend(fontsize=7, loc="lower left")
    axes[0, 0].set_ylabel("value", fontsize=9)
    axes[1, 0].set_ylabel("channel", fontsize=9)
    bar = figure.colorbar(drawn, ax=axes[1])
    bar.ax.tick_params(labelsize=8)
    return figure


def seen_from_figure(
    image: Tensor,
    outlines: Sequence[Tensor],
    places: Sequence[tuple[int, int]],
    maps: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return for each place a row: the picture, and the place's maps.

    image: (3, H, W) uint8; outlines: (H, W) bool, the segment of each place;
    places: (row, column) in the maps; maps: for each place as many (h, w)
    maps as there are titles.  One color scale for all, `limits` or 0 to the
    most.
    """
    low, high = limits or (0, max(float(m.max()) for row in maps for m in row))
    rows, columns = len(places), 1 + len(titles)
    figure = Figure(
        figsize=(7, min(4, 0.3 + 6 / columns * rows)),
        layout="constrained",
        dpi=100,
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    _, height, width = image.shape
    for axis_row, outline, (y, x), own in zip(
        axes, outlines, places, maps, strict=True
    ):
        axis_row[0].imshow(
            image.permute(1, 2, 0).numpy(), extent=(0, 1, 1, 0)
        )
        for axis, values in zip(axis_row[1:], own, strict=True):
            drawn = axis.imshow(
                np.asarray(values.detach().float()),
                "magma",
                vmin=low,
                vmax=high,
                extent=(0, 1, 1, 0),
                interpolation="nearest",
            )
        h, w = own[0].shape
        for axis in axis_row:
            axis.contour(
                (np.arange(width) + 0.5) / width,
                (np.arange(height) + 0.5) / height,
                outline.numpy(),
                levels=[0.5],
                colors="white",
                linewidths=1,
            )
            axis.plot(
                (x + 0.5) / w, (y + 0.5) / h, "o", mfc="none", mec="black",
                mew=3, ms=8,
            )  # fmt: skip
            axis.plot(
                (x + 0.5) / w, (y + 0.5) / h, "o", mfc="none", mec=_MARK,
                mew=1.5, ms=8,
            )  # fmt: skip
            axis.set_axis_off()
            axis.set_aspect(height / width)
    for axis, title in zip(axes[0], ("picture", *titles), strict=True):
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
