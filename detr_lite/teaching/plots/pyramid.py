"""The pyramid: what feature maps show, and where masks are wrong."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from detr_lite.data.sample import Sample
from detr_lite.inference.results import Prediction

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


def pyramid_figure(
    image: Tensor, levels: Sequence[Tensor], titles: Sequence[str]
) -> Figure:
    """Return a picture and its feature maps, in three principal components.

    image: (3, H, W) uint8; levels: (C, h, w) each, C at least 3; titles:
    one for the picture and one for each level.
    """
    figure = Figure(figsize=(7, 1.7), layout="constrained", dpi=100)
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

    image: (3, H, W) uint8, drawn in pale gray; id_maps: (H, W) each, whose
    borders are drawn in black; wrong: (H, W) bool each, pixels to paint in
    vermilion; titles: one for each.
    """
    figure = Figure(figsize=(7, 3.7), layout="constrained", dpi=100)
    axes = figure.subplots(1, len(id_maps), squeeze=False)[0]
    gray = image.float().mean(0).numpy() / 255
    for axis, ids, errors, title in zip(
        axes, id_maps, wrong, titles, strict=True
    ):
        picture = np.repeat(0.4 + 0.6 * gray[..., None], 3, axis=-1)
        picture[errors.numpy()] = WRONG
        _panel(axis, picture, title)
        for number in ids.unique()[1:]:  # one region is what the rest leave
            axis.contour(
                np.asarray(ids == number),
                levels=[0.5],
                colors="black",
                linewidths=1.2,
            )
    return figure


def _panel(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


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
