"""The pyramid: what feature maps show, how the mask head uses them."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from detr_lite.data.categories import Category
from detr_lite.data.sample import Sample
from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots.panels import (
    DIM,
    Panel,
    box,
    heat_panel,
    image_panel,
    outline,
    panels_figure,
)
from detr_lite.teaching.plots.style import book_figure

WRONG = np.array([213, 94, 0]) / 255  # vermilion, safe for color-blind readers


def principal_colors(features: Tensor) -> Tensor:
    """Return the first three principal components of features as colors.

    (C, h, w) -> (h, w, 3), each component stretched to 0 ... 1.  Positions
    with one color have similar features; the hue itself means nothing.
    """
    channels = features.detach().double().flatten(1)
    centered = channels - channels.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh(centered @ centered.T)
    axes = axes[:, -3:].flip(1)
    # An axis and its negative serve as well: the largest entry is positive.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    parts = (axes * largest.sign()).T @ centered
    # A few extreme positions must not take up the whole range.
    low = parts.quantile(0.01, dim=1, keepdim=True)
    high = parts.quantile(0.99, dim=1, keepdim=True)
    colors = ((parts - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return colors.unflatten(1, features.shape[1:]).permute(1, 2, 0).float()


def opening_figure(
    image: Tensor,
    maps: Tensor,
    levels: Sequence[Tensor],
    mask_logits: Tensor,
    names: Sequence[str],
) -> Figure:
    """Return what the mask head gets for one query, and what it makes of it.

    image: (3, H, W) uint8; maps: (M, h, w) attention maps; levels: (C, h, w)
    each, feature maps; mask_logits: (h, w); names: one for each level.
    """
    where = maps.sum(0) / maps.sum(0).max()
    norm = Normalize(0, 1)
    panels: list[Panel] = [
        partial(heat_panel, image=image, heat=where, norm=norm),
        *(partial(_features, level=level) for level in levels),
        partial(
            heat_panel, image=image, heat=mask_logits.sigmoid(), norm=norm
        ),
    ]
    titles = ["its maps", *names, "its mask"]
    return panels_figure(panels, titles, columns=len(panels))


def _features(axis: Axes, level: Tensor) -> None:
    """Draw features as colors, position by position."""
    colors = principal_colors(level).numpy()
    axis.imshow(colors, interpolation="nearest")


def stages_figure(
    image: Tensor,
    category: Category,
    corners: Sequence[float],
    heats: Mapping[str, Tensor],
    segment: Tensor,
) -> Figure:
    """Return a query's way through the mask head, over the dimmed image.

    image: (3, H, W) uint8; corners: of the query's box; heats: (h, w) each,
    relative to the largest, by stage; segment: (H, W) bool, outlined.
    """
    norm = Normalize(0, 1)
    panels: list[Panel] = [partial(_boxed, image, category, corners)]
    panels += [
        partial(heat_panel, image=image, heat=heat, norm=norm, segment=segment)
        for heat in heats.values()
    ]
    bar = norm, "the query's own part / its largest value"
    return panels_figure(panels, ["its box", *heats], bar=bar)


def _boxed(
    image: Tensor, category: Category, corners: Sequence[float], axis: Axes
) -> None:
    image_panel(axis, image)
    box(axis, corners, category, category.name)


def errors_figure(
    image: Tensor,
    id_maps: Sequence[Tensor],
    wrong: Sequence[Tensor],
    titles: Sequence[str],
) -> Figure:
    """Return segmentations of an image side by side, with their errors.

    image: (3, H, W) uint8, drawn dimmed; id_maps: (H, W) each, whose borders
    are drawn; wrong: (H, W) bool each, pixels to paint in vermilion; titles:
    one for each.
    """
    panels: list[Panel] = [
        partial(_errors, image=image, ids=ids, wrong=errors)
        for ids, errors in zip(id_maps, wrong, strict=True)
    ]
    return panels_figure(panels, titles)


def _errors(axis: Axes, image: Tensor, ids: Tensor, wrong: Tensor) -> None:
    height, width = ids.shape
    gray = np.asarray(image.float().mean(0)) / 255 * DIM
    pixels = np.repeat(gray[..., None], 3, axis=-1)
    pixels[np.asarray(wrong)] = WRONG
    axis.imshow(pixels, interpolation="nearest", extent=(0, width, height, 0))
    for number in ids.unique():
        outline(axis, np.asarray(ids == number), width=1)


LEVEL, OWN = "#0072B2", "#D55E00"  # of the ResNet, and of one query


def way_up_figure(channels: Sequence[int], stages: Sequence[int]) -> Figure:
    """Return a drawing of the mask head, from the coarsest level up.

    channels: of Res2, Res3, Res4 and of the projected Res5; stages: the
    channels that the five stages give.
    """
    figure = book_figure(4.8)
    axis = figure.subplots()
    axis.set(xlim=(0, 5.4), ylim=(-0.1, 4.65), aspect="equal")
    axis.set_axis_off()
    rows = (0.75, 1.95, 2.75, 3.55)  # of Res5, Res4, Res3, Res2
    left = ("Res5, projected", "Res4", "Res3", "Res2")
    sizes = ("H/32 x W/32", "H/16 x W/16", "H/8 x W/8", "H/4 x W/4")
    for i, (y, name, size) in enumerate(zip(rows, left, sizes, strict=True)):
        _block(axis, 0.95, y, f"{name}\n{channels[3 - i]} x {size}", LEVEL)
        if i:
            _arrow(axis, (1.86, y), (2.62, y), LEVEL, "1x1 conv")
            axis.text(2.75, y, "+", ha="center", va="center", fontsize=15)
    for below, above in pairwise(rows):
        # The ResNet goes down, from Res2 to Res5.
        _arrow(axis, (0.95, above - 0.26), (0.95, below + 0.26), LEVEL)
    _block(axis, 4.35, 0.2, "attention maps\nM x H/32 x W/32", OWN)
    _block(axis, 4.35, 0.95, f"stages 1 and 2\n{stages[1]} channels", OWN)
    _arrow(axis, (4.35, 0.46), (4.35, 0.69), OWN)
    _arrow(axis, (1.86, 0.75), (3.42, 0.87), LEVEL, "beside each other")
    beneath = 0.95
    for i, y in enumerate(rows[1:], 3):
        name = f"stage {i}\n{stages[i - 1]} channels"
        _block(axis, 4.35, y, name, OWN)
        # Up to the plus, enlarged, and on into the stage.
        _bend(axis, beneath, y)
        _arrow(axis, (2.9, y), (3.42, y), OWN)
        beneath = y
    _arrow(axis, (4.35, 3.81), (4.35, 4.08), OWN)
    _block(axis, 4.35, 4.34, "mask logits\n1 x H/4 x W/4", OWN)
    return figure


def _bend(axis: Axes, low: float, high: float) -> None:
    """Draw the way from a stage to the next plus, where it is enlarged."""
    middle = low + 0.26 + (high - low - 0.26) * 0.45
    axis.plot((4.35, 4.35), (low + 0.26, middle), color=OWN, linewidth=1.4)
    axis.plot((4.35, 2.75), (middle, middle), color=OWN, linewidth=1.4)
    _arrow(axis, (2.75, middle), (2.75, high - 0.1), OWN)
    axis.text(2.68, high - 0.14, "enlarged", ha="right", va="top")


def _block(axis: Axes, x: float, y: float, text: str, color: str) -> None:
    frame = FancyBboxPatch(
        (x - 0.86, y - 0.2),
        1.72,
        0.4,
        boxstyle="round,pad=0.05",
        facecolor="none",
        edgecolor=color,
        linewidth=1.4,
    )
    axis.add_patch(frame)
    axis.text(x, y, text, ha="center", va="center", linespacing=1.15)


def _arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    text: str = "",
) -> None:
    line = {"arrowstyle": "-|>", "color": color, "linewidth": 1.4}
    line |= {"shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=line)
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        axis.text(x, y + 0.05, text, ha="center", va="bottom")


def bill_figure(costs: Mapping[str, float]) -> Figure:
    """Return bars of costs with their numbers, the first at the top.

    costs: in billions of multiply-adds, by what they are for.
    """
    figure = book_figure(0.36 * len(costs) + 0.55)
    axis = figure.subplots()
    rows = np.arange(len(costs))
    colors = [LEVEL, *[OWN] * (len(costs) - 1)]
    bars = axis.barh(rows, list(costs.values()), 0.6, color=colors)
    axis.bar_label(bars, fmt="%.1f", padding=4)
    axis.set_yticks(rows, costs)
    axis.invert_yaxis()
    axis.set_xlabel("billion multiply-adds")
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0.1)
    return figure


def near_border(id_map: Tensor, distance: int) -> Tensor:
    """Return which pixels have another segment near, (H, W) bool.

    distance: how many pixels away it may be, counted as the king walks on
    a chessboard.
    """
    size = 2 * distance + 1
    ids = id_map[None, None].double()
    highest = F.max_pool2d(ids, size, 1, distance)
    lowest = -F.max_pool2d(-ids, size, 1, distance)
    return (highest != lowest)[0, 0]


def wrong_class(prediction: Prediction, sample: Sample) -> Tensor:
    """Return which pixels got another class than the annotation's.

    (H, W) bool; a pixel without a segment is wrong.
    """
    found = torch.full_like(prediction.id_map, -1)
    for segment in prediction.segments:
        found[prediction.id_map == segment.id] = segment.label
    true = torch.full_like(prediction.id_map, -1)
    for number, label in zip(sample.segment_ids, sample.labels, strict=True):
        true[sample.id_map == number] = int(label)
    return (found != true) | (found < 0)
