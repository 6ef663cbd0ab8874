"""The encoded image: positional encodings, and what a position looks at."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.data.sample import Sample
from detr_lite.teaching.plots.panels import (
    heat_panel,
    image_panel,
    outline,
    panels_figure,
)
from detr_lite.teaching.plots.style import GRID, book_figure

# Okabe and Ito, with a line style each, for readers who see no color.
_WAVES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))
_MARK = "#56B4E9"


def waves_figure(codes: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Return the sines of one-dimensional encodings, as waves and as colors.

    codes: (channels, positions) each, sines at the even channels and cosines
    at the odd ones, as a row of SinePositionalEncoding has them.
    """
    figure = book_figure(3.3)
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
        above.set_title(title)
        above.set_ylim(-1.1, 1.1)
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
        below.set_xlabel("column")
        above.set_xticks([])
        above.spines["bottom"].set_visible(False)
        above.axhline(0, color=GRID, lw=0.8, zorder=0)
        above.legend(
            loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3,
            fontsize=9, columnspacing=0.6, handlelength=1.2,
            handletextpad=0.3,
        )  # fmt: skip
    axes[0, 0].set_ylabel("value")
    axes[1, 0].set_ylabel("number of the sine")
    figure.colorbar(drawn, ax=axes[1])
    return figure


def seen_from_figure(
    sample: Sample,
    places: Sequence[tuple[int, int]],
    maps: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return for each place a row: the image, and the place's maps over it.

    The segment that a place lies on is outlined.

    places: (row, column) in the maps; maps: for each place as many (h, w)
    maps as there are titles.  One color scale for all, `limits` or 0 to the
    most.
    """
    low, high = limits or (0, max(float(m.max()) for row in maps for m in row))
    norm = Normalize(low, high, clip=True)
    panels = []
    for place, own in zip(places, maps, strict=True):
        panels.append(partial(_seen_from, sample, place, own[0].shape))
        for values in own:
            panels.append(
                partial(
                    _seen_from, sample, place, values.shape,
                    heat=values, norm=norm,
                )
            )  # fmt: skip
    names = ["image", *titles]
    return panels_figure(panels, names, len(names), bar=(norm, label))


def _seen_from(
    sample: Sample,
    place: tuple[int, int],
    shape: tuple[int, int],
    axis: Axes,
    heat: Tensor | None = None,
    norm: Normalize | None = None,
) -> None:
    """Draw the image, or a map over it, with the place and its segment."""
    if heat is None or norm is None:
        image_panel(axis, sample.image)
    else:
        heat_panel(axis, sample.image, heat, norm)
    height, width = sample.id_map.shape
    (y, x), (h, w) = place, shape
    center = (x + 0.5) / w * width, (y + 0.5) / h * height
    number = sample.id_map[int(center[1]), int(center[0])]
    outline(axis, (sample.id_map == number).numpy())
    for color, edge in (("black", 3), (_MARK, 1.5)):
        axis.plot(*center, "o", mfc="none", mec=color, mew=edge, ms=6)


def bars_figure(shares: Mapping[str, float], label: str) -> Figure:
    """Return a bar for each share, longest last, with its number beside it.

    shares: from 0 to 1, by name; label: what they are shares of.
    """
    order = sorted(shares, key=shares.__getitem__)
    figure = book_figure(0.55 + 0.27 * len(order))
    axis = figure.subplots()
    values = [shares[name] for name in order]
    bars = axis.barh(order[::-1], values[::-1], color=_WAVES[0][0], height=0.7)
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set(xlim=(0, 1), xlabel=label)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    return figure
