"""The encoded image: positional encodings, and what a position looks at."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.data.sample import Sample
from detr_lite.teaching.plots.panels import (
    heat_panel,
    image_panel,
    outline,
    panels_figure,
)
from detr_lite.teaching.plots.style import book_figure

# Okabe and Ito, with a line style each, for readers who see no color.
_WAVES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))
_MARK = "#56B4E9"


def waves_figure(codes: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Return the sines of one-dimensional encodings, as waves and as colors.

    codes: (channels, positions) each, sines at the even channels and cosines
    at the odd ones, as a row of SinePositionalEncoding has them.
    """
    figure = book_figure(4.2)
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
                label=f"{number}",
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
        above.legend(
            loc="lower center", bbox_to_anchor=(0.5, -0.55), ncols=3,
            columnspacing=1, handlelength=1.5, title="sine",
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
    gamma: float = 1.0,
) -> Figure:
    """Return for each place a row: the image, and the place's maps over it.

    The segment that a place lies on is outlined.

    places: (row, column) in the maps; maps: for each place as many (h, w)
    maps as there are titles.  One color scale for all, `limits` or 0 to the
    most; a gamma below 1 spreads its dark end.
    """
    low, high = limits or (0, max(float(m.max()) for row in maps for m in row))
    norm = PowerNorm(gamma, low, high, clip=True)
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
    norm: PowerNorm | None = None,
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
