"""Maps over positions: any numbers that belong to places in an image."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.teaching.plots.panels import HEAT, Panel, panels_figure


def maps_figure(
    maps: Sequence[Tensor],
    titles: Sequence[str],
    columns: int = 4,
    label: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Return maps side by side, on one color scale with one bar.

    maps: (h, w) each, of any sizes; titles: one for each map.
    limits: of the color scale (default: the least and the most of all).
    """
    arrays = [np.asarray(m.detach().float()) for m in maps]
    low, high = limits or (
        min(a.min() for a in arrays),
        max(a.max() for a in arrays),
    )
    norm = Normalize(low, high)
    panels: list[Panel] = [partial(_map, values=a, norm=norm) for a in arrays]
    aspect = max(a.shape[0] / a.shape[1] for a in arrays)
    return panels_figure(
        panels, titles, columns, aspect=aspect, bar=(norm, label)
    )


def _map(axis: Axes, values: np.ndarray, norm: Normalize) -> None:
    axis.set_facecolor("#222222")
    extent = (0, values.shape[1], values.shape[0], 0)
    axis.imshow(values, HEAT, norm=norm, extent=extent)
