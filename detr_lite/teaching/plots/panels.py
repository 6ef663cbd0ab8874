"""Panels of a figure: an image, its segments, a heat map over it.

Each function draws on one axis; `panels_figure` lays axes out and names them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from torch import Tensor

from detr_lite.data.categories import Category
from detr_lite.inference.drawing import anchor
from detr_lite.teaching.plots.style import WIDTH, book_figure

Panel = Callable[[Axes], object]
DIM = 0.45  # of an image's brightness under a heat map


def _heat_colors() -> ListedColormap:
    """Return magma, from clear to opaque: low values show the image."""
    from matplotlib import colormaps

    colors = colormaps["magma"](np.linspace(0.15, 1, 256))
    colors[:, 3] = np.linspace(0, 1, 256) ** 0.5 * 0.92
    return ListedColormap(colors, "heat")


HEAT = _heat_colors()


def panels_figure(
    panels: Sequence[Panel],
    titles: Sequence[str] = (),
    columns: int = 4,
    rows: Sequence[str] = (),
    aspect: float = 1.0,
    bar: tuple[Normalize, str] | None = None,
) -> Figure:
    """Return a figure of panels, row by row.

    titles: one above each panel, or one above each column; rows: one
    beside each row; aspect: height over width of a panel.
    bar: the norm of the panels' heat maps, and what they show.
    """
    columns = min(columns, len(panels))
    count = -(-len(panels) // columns)
    side = (WIDTH - (0.3 if rows else 0)) / columns
    side -= 0 if bar else 0.06  # the gap
    lines = count if len(titles) > columns else 1
    height = count * side * aspect + (0.32 * lines if titles else 0)
    figure = book_figure(height + (0.7 if bar else 0))
    axes = figure.subplots(count, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        panel(axis)
        axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes.flat, titles, strict=False):
        axis.set_title(title)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(name)
    if bar is not None:
        heat_bar(figure, list(axes.flat), *bar)
    return figure


def heat_bar(
    figure: Figure, axes: Sequence[Axes], norm: Normalize, label: str
) -> None:
    """Put the colors of a heat map below the axes, over a dark ground."""
    colors = ScalarMappable(norm, HEAT)
    bar = figure.colorbar(
        colors, ax=axes, location="bottom", aspect=45, fraction=0.05, pad=0.03
    )
    bar.ax.set_facecolor("#222222")
    bar.outline.set_visible(False)
    low, high = (float(norm.inverse(end)) for end in (0, 1))
    round_ = MaxNLocator(5).tick_values(low, high)
    ticks = [tick for tick in round_ if low <= tick <= high]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.set_label(label)


def image_panel(axis: Axes, image: Tensor) -> None:
    """Draw a (3, H, W) uint8 image; pixels have their own coordinates."""
    _, height, width = image.shape
    pixels = np.asarray(image.permute(1, 2, 0))
    axis.imshow(pixels, extent=(0, width, height, 0))


def segments_panel(
    axis: Axes, result, scores: bool = True, names: bool = True
) -> None:
    """Draw segments in the colors of their classes, outlined and named.

    result: has id_map, segments and categories; see Prediction.
    A class has one color everywhere; segments of one class are told apart
    by their outlines.
    """
    ids = np.asarray(result.id_map)
    height, width = ids.shape
    colors = np.zeros((height, width, 3), np.uint8)
    for segment in result.segments:
        color = result.categories[segment.label].color
        colors[ids == segment.id] = color
    axis.imshow(colors, extent=(0, width, height, 0))
    for segment in result.segments:
        outline(axis, ids == segment.id)
        if names:
            name = result.categories[segment.label].name
            score = f" {segment.score:.2f}" if scores else ""
            x, y = anchor(ids, segment.id)
            label(axis, x + 0.5, y + 0.5, name + score)


def heat_panel(
    axis: Axes,
    image: Tensor,
    heat: Tensor,
    norm: Normalize,
    segment: Tensor | None = None,
) -> None:
    """Draw a map over the dimmed image that it belongs to.

    image: (3, H, W) uint8; heat: (h, w); segment: (H, W) bool, outlined.
    """
    _, height, width = image.shape
    extent = (0, width, height, 0)
    gray = np.asarray(image.float().mean(0)) / 255 * DIM
    axis.imshow(gray, "gray", vmin=0, vmax=1, extent=extent)
    axis.imshow(np.asarray(heat.detach()), HEAT, norm=norm, extent=extent)
    if segment is not None:
        outline(axis, np.asarray(segment), width=1.2)


def calm(image: Tensor) -> Tensor:
    """Return an image without its texture: small panels are clearer so."""
    from scipy.ndimage import median_filter

    gray = median_filter(image.float().mean(0).numpy(), 7) // 12 * 12
    return torch.from_numpy(gray).expand(3, -1, -1)


def box(
    axis: Axes, corners: Sequence[float], category: Category, name: str = ""
) -> None:
    """Draw a box, (x0, y0, x1, y1), in its class's color, with its name."""
    x0, y0, x1, y1 = corners
    color = np.array(category.color) / 255
    frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=color, lw=2)
    frame.set_path_effects([Stroke(linewidth=3.5, foreground="w"), Normal()])
    axis.add_patch(frame)
    if name:
        label(axis, x0, y0, name, ha="left")


class _Label(Text):
    """A text that stays within its panel and off the labels before it."""

    def draw(self, renderer: RendererBase) -> None:
        if isinstance(self.axes, Axes):
            panel = self.axes.bbox
            text = self.get_window_extent(renderer).padded(2)  # pixels
            right = max(panel.x0 - text.x0, 0) + min(panel.x1 - text.x1, 0)
            up = max(panel.y0 - text.y0, 0) + min(panel.y1 - text.y1, 0)
            up += self._way_out(
                self.axes, renderer, text.translated(right, up)
            )
            to_pixels = self.axes.transData
            x, y = to_pixels.transform(self.get_position())
            x, y = to_pixels.inverted().transform((x + right, y + up))
            self.set_position((x, y))
        super().draw(renderer)

    def _way_out(
        self, axes: Axes, renderer: RendererBase, text: Bbox
    ) -> float:
        """Return how many pixels up, or down, no earlier label is."""
        frames = 0.3 * text.height  # of both labels
        labels = [one for one in axes.texts if isinstance(one, _Label)]
        taken = [
            one.get_window_extent(renderer).padded(frames)
            for one in labels[: labels.index(self)]
        ]
        panel = axes.bbox
        steps = (text.height / 4 * n for i in range(13) for n in (i, -i))
        free = (
            up
            for up in steps
            if panel.y0 <= text.y0 + up
            and text.y1 + up <= panel.y1
            and not text.translated(0, up).count_overlaps(taken)
        )
        return next(free, 0.0)  # too many for the panel


def label(
    axis: Axes, x: float, y: float, text: str, ha: str = "center"
) -> None:
    """Write white on black at a point of an image, inside the panel."""
    axis.add_artist(
        _Label(
            x,
            y,
            text,
            transform=axis.transData,
            ha=ha,
            va="center",
            color="white",
            fontsize=8.5,
            clip_on=True,
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.2},
        )
    )


def outline(
    axis: Axes, mask: np.ndarray, color: str = "white", width: float = 0.8
) -> None:
    """Draw the border of a (H, W) bool mask."""
    padded = np.pad(mask, 1).astype(float)
    height, columns = mask.shape
    axis.contour(
        np.arange(-1, columns + 1) + 0.5,
        np.arange(-1, height + 1) + 0.5,
        padded,
        levels=[0.5],
        colors=color,
        linewidths=width,
    )
    axis.set(xlim=(0, columns), ylim=(height, 0))
