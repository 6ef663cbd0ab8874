"""The pyramid: what the backbone's feature maps show, and where masks err."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

WRONG = (213 / 255, 94 / 255, 0.0)  # vermilion, safe for color-blind readers


def principal_colors(features: Tensor) -> Tensor:
    """Return the first three principal components of features as colors.

    (C, h, w) -> (h, w, 3), each component stretched to 0 ... 1.  Positions
    with one color have much the same features; the hue itself means nothing.
    """
    channels = features.detach().double().flatten(1)
    centered = channels - channels.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh(centered @ centered.T)
    axes = axes[:, -3:].flip(1)
    # An axis and its negative serve as well: the largest entry is positive.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    parts = (axes * largest.sign()).T @ centered
    low = parts.quantile(0.01, dim=1, keepdim=True)
    high = parts.quantile(0.99, dim=1, keepdim=True)
    colors = ((parts - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return colors.unflatten(1, features.shape[1:]).permute(1, 2, 0).float()


def pyramid_figure(
    image: Tensor, levels: Sequence[Tensor], titles: Sequence[str]
) -> Figure:
    """Return a picture and its feature maps, in three principal components.

    image: (3, H, W) uint8; levels: (C, h, w) each; titles: one for the
    picture and one for each level.
    """
    figure = Figure(figsize=(7, 1.9), layout="constrained", dpi=100)
    axes = figure.subplots(1, len(levels) + 1)
    shown = [image.permute(1, 2, 0), *map(principal_colors, levels)]
    for axis, picture, title in zip(axes, shown, titles, strict=True):
        _panel(axis, np.asarray(picture), title)
    return figure


def errors_figure(
    image: Tensor,
    id_maps: Sequence[Tensor],
    wrong: Sequence[Tensor],
    titles: Sequence[str],
) -> Figure:
    """Return segmentations of a picture side by side, with their errors.

    image: (3, H, W) uint8; id_maps: (H, W) each, outlined in white;
    wrong: (H, W) bool each, pixels to paint over; titles: one for each.
    """
    figure = Figure(figsize=(7, 7 / len(id_maps) + 0.3), dpi=100)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, len(id_maps), squeeze=False)[0]
    for axis, ids, errors, title in zip(
        axes, id_maps, wrong, titles, strict=True
    ):
        picture = image.permute(1, 2, 0).numpy() / 255
        picture[errors.numpy()] = WRONG
        _panel(axis, picture, title)
        for number in ids.unique():
            axis.contour(
                np.asarray(ids == number),
                levels=[0.5],
                colors="white",
                linewidths=1,
            )
    return figure


def _panel(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()
