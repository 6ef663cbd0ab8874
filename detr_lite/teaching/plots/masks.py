"""Masks in training: what a loss asks for, and which mask gets a pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import make_targets
from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample
from detr_lite.losses import focal_loss


def target_figure(sample: Sample, categories: Categories) -> Figure:
    """Return a picture, and beside it its segments with their boxes.

    Each segment is filled with its class's color; boxes of things are drawn
    in full lines, those of stuff in dashes and a little smaller, so that
    edges they share stay apart.
    """
    target = make_targets([sample])
    _, height, width = sample.image.shape
    figure = Figure(figsize=(7, 3.3), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2)
    left.imshow(sample.image.permute(1, 2, 0).numpy())
    left.set_title("picture", fontsize=9)
    colors = np.full((height, width, 3), 255, np.uint8)
    masks = target.masks(torch.arange(len(target.labels)))
    for mask, label in zip(masks, target.labels, strict=True):
        colors[mask.numpy()] = categories[label].color
    right.imshow(colors, alpha=0.6, extent=(0, width, height, 0))
    right.set_title("segments and their boxes", fontsize=9)
    corners = cxcywh_to_xyxy(target.boxes) * torch.tensor(
        [width, height, width, height]
    )
    order = {"thing": [], "stuff": []}
    for label, box in zip(target.labels, corners.tolist(), strict=True):
        category = categories[label]
        kind = "thing" if category.isthing else "stuff"
        order[kind].append((category, box))
    for n, (category, (x0, y0, x1, y1)) in enumerate(order["stuff"]):
        inset = 1.5 * (n + 1)
        _box(right, (x0 + inset, y0 + inset, x1 - inset, y1 - inset), "--")
        _name(right, x0 + inset + 2, (y0 + y1) / 2, category.name)
    for category, (x0, y0, x1, y1) in order["thing"]:
        _box(right, (x0, y0, x1, y1), "-")
        _name(right, x0 + 2, y0 + 4, category.name)
    for axis in (left, right):
        axis.set_axis_off()
    return figure


def _box(axis, corners: Sequence[float], style: str) -> None:
    x0, y0, x1, y1 = corners
    axis.add_patch(
        Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, ec="black", lw=1.5,
            ls=style, clip_on=False,
        )
    )  # fmt: skip


def _name(axis, x: float, y: float, name: str) -> None:
    axis.text(
        x, y, name, fontsize=8, va="center", color="white",
        bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def focal_figure() -> Figure:
    """Return cross-entropy and focal loss over the truth's probability."""
    right = torch.linspace(0.01, 0.99, 99)
    logits = right.logit()[:, None]
    wanted = torch.ones_like(logits)
    figure = Figure(figsize=(6, 3.2), layout="constrained", dpi=100)
    axis = figure.subplots()
    lines = {
        "cross-entropy": (-right.log(), "#000000", "--"),
        "focal, pixel of the background": (
            _each(-logits, 0 * wanted), "#0072B2", "-.",
        ),
        "focal, pixel of the segment": (
            _each(logits, wanted), "#D55E00", "-",
        ),
    }  # fmt: skip
    for name, (loss, color, style) in lines.items():
        axis.plot(right, loss, style, color=color, lw=2, label=name)
    axis.set_yscale("log")
    axis.set_ylim(1e-6, 10)
    axis.set_xlabel("probability given to the truth", fontsize=9)
    axis.set_ylabel("loss of a pixel", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower left")
    return figure


def _each(logits: Tensor, wanted: Tensor) -> list[float]:
    """Return the focal loss of each pixel alone."""
    return [
        focal_loss(a[None], b[None], 1).item()
        for a, b in zip(logits, wanted, strict=True)
    ]


def stages_figure(
    stages: Mapping[str, Tensor],
    names: Sequence[str],
    outlines: Tensor | None = None,
) -> Figure:
    """Return masks as probabilities: a row for each stage of training.

    stages: (S, h, w) mask logits by name; names: of the S segments;
    outlines: (S, H, W) bool, the true segments, drawn in blue.
    """
    count = len(names)
    figure = Figure(
        figsize=(7, min(4, 0.4 + 6.6 / count * len(stages))),
        layout="constrained",
        dpi=100,
    )
    axes = figure.subplots(len(stages), count, squeeze=False)
    for row, (stage, logits) in zip(axes, stages.items(), strict=True):
        for i, (axis, mask) in enumerate(zip(row, logits, strict=True)):
            drawn = axis.imshow(
                mask.detach().float().sigmoid().numpy(),
                "gray",
                vmin=0,
                vmax=1,
                extent=(0, 1, 1, 0),
            )
            if outlines is not None:
                _outline(axis, outlines[i], "#56B4E9")
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(stage, fontsize=9)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.9)
    bar.set_label("probability", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _outline(axis, mask: Tensor, color: str) -> None:
    """Draw the border of a segment; the axis spans 0 to 1 both ways."""
    padded = np.pad(mask.numpy(), 1)
    height, width = mask.shape
    axis.contour(
        (np.arange(width + 2) - 0.5) / width,
        (np.arange(height + 2) - 0.5) / height,
        padded,
        levels=[0.5],
        colors=color,
        linewidths=1,
    )
    axis.set_xlim(0, 1)
    axis.set_ylim(1, 0)


def argmax_figure(
    mask_logits: Tensor,
    labels: Sequence[int],
    queries: Sequence[int],
    categories: Categories,
    size: tuple[int, int],
    limit: float = 20.0,
) -> Figure:
    """Return each query's mask logits, and last which query gets a pixel.

    mask_logits: (S, h, w); labels, queries: of the S masks; size: (H, W) of
    the picture; limit: logits beyond it have the last color.
    """
    logits = F.interpolate(
        mask_logits[None].detach().float(), size, mode="bilinear"
    )[0]
    winner = logits.argmax(0)
    panels = len(logits) + 1
    columns = -(-panels // 2)
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
    axes = figure.subplots(2, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    norm = TwoSlopeNorm(0, -limit, limit)
    for axis, values, label, query in zip(
        axes.flat, logits, labels, queries, strict=False
    ):
        drawn = axis.imshow(values.numpy(), "PuOr_r", norm=norm)
        axis.set_title(f"query {query}: {categories[label].name}", fontsize=9)
    axis = axes.flat[panels - 1]
    colors = np.array([categories[label].color for label in labels], float)
    seen: dict[int, int] = {}
    for i, label in enumerate(labels):  # the second of a class is lighter
        seen[label] = seen.get(label, -1) + 1
        colors[i] += (255 - colors[i]) * min(0.25 * seen[label], 0.75)
    axis.imshow(colors[winner.numpy()].astype(np.uint8))
    axis.set_title("who wins", fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, extend="both")
    bar.set_label("mask logit", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
