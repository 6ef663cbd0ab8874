"""A sample on its way into the model."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import collate
from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample


def sample_figure(
    sample: Sample,
    transform: Callable[[Sample, torch.Generator], Sample],
    categories: Categories,
    seeds: tuple[int, int] = (0, 1),
) -> Figure:
    """Return a picture, its id map, and the padded batch of two changes.

    transform: of a training picture, like TrainTransform; it is called once
    with a generator of each seed.  Boxes have the colors of their classes,
    void is black, padding is hatched.
    """
    changed = [
        transform(sample, torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    batch = collate(changed)
    height, width = batch.images.shape[2:]
    targets = batch.targets
    figure = Figure(figsize=(7, 5.5), layout="constrained", dpi=100)
    axes = figure.subplots(2, 2).flat
    axes[0].imshow(sample.image.permute(1, 2, 0).numpy())
    axes[0].set_title("picture", fontsize=9)
    axes[1].imshow(_in_colors(sample, categories))
    axes[1].set_title("id map", fontsize=9)
    for number, (axis, one) in enumerate(zip(axes[2:], changed, strict=True)):
        own = targets.image == number
        h, w = one.id_map.shape
        axis.add_patch(
            Rectangle(
                (0, 0),
                width,
                height,
                fc="0.9",
                ec="0.6",
                hatch="//",
                zorder=-1,  # under the picture
            )
        )
        axis.imshow(one.image.permute(1, 2, 0).numpy(), extent=(0, w, h, 0))
        corners = cxcywh_to_xyxy(targets.boxes[own]) * torch.tensor(
            [w, h, w, h]
        )
        for (x0, y0, x1, y1), label in zip(
            corners.tolist(), targets.labels[own].tolist(), strict=True
        ):
            color = np.array(categories[label].color) / 255
            axis.add_patch(
                Rectangle(
                    (x0, y0), x1 - x0, y1 - y0, fill=False, ec=color, lw=2
                )
            )
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
        title = f"in the batch, {h} x {w} of {height} x {width}"
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    return figure


def _in_colors(sample: Sample, categories: Categories) -> np.ndarray:
    """Return the id map in the colors of the classes, void black."""
    colors = np.zeros((*sample.id_map.shape, 3), np.uint8)
    for number, label in zip(sample.segment_ids, sample.labels, strict=True):
        colors[(sample.id_map == number).numpy()] = categories[label].color
    return colors
