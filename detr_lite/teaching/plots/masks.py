"""Training and the argmax: what is learned in which phase, and from what."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import make_targets
from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample
from detr_lite.inference.drawing import anchor
from detr_lite.inference.results import Prediction
from detr_lite.losses import focal_loss
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.plots.panels import (
    box,
    heat_panel,
    image_panel,
    label,
    outline,
    panels_figure,
    segments_panel,
)
from detr_lite.teaching.plots.style import INK, book_figure

GRAY = (190, 190, 190)
PROBABILITY = Normalize(0, 1)
LEARNS, FROZEN = "#D55E00", "#0072B2"  # Okabe and Ito's vermilion and blue


def steps_figure(prediction: Prediction, mask_logits: Tensor) -> Figure:
    """Return an image and what each step makes of it, left to right.

    mask_logits: (S, h, w), of the prediction's S segments in their order;
    the mask shown is that of the largest thing.
    """
    categories = prediction.categories
    things = [
        (segment.area, i)
        for i, segment in enumerate(prediction.segments)
        if categories[segment.label].isthing
    ]
    _, chosen = max(things)
    segment = prediction.segments[chosen]

    def boxes(axis: Axes) -> None:
        image_panel(axis, prediction.image)
        height, width = prediction.id_map.shape
        scale = torch.tensor([width, height, width, height])
        for one in prediction.segments:
            corners = cxcywh_to_xyxy(torch.tensor(one.box)) * scale
            inside = corners.clamp(torch.tensor(1.0), scale - 1)
            box(axis, inside.tolist(), categories[one.label])

    name = categories[segment.label].name
    return panels_figure(
        [
            partial(image_panel, image=prediction.image),
            boxes,
            partial(
                heat_panel,
                image=prediction.image,
                heat=mask_logits[chosen].sigmoid(),
                norm=PROBABILITY,
            ),
            partial(segments_panel, result=prediction, names=False),
        ],
        ["image", "1. boxes", f"2. masks ({name})", "3. argmax"],
    )


def _kind(
    axis: Axes, sample: Sample, categories: Categories, isthing: bool
) -> None:
    colors = _colors(sample, categories)
    for number, one in zip(sample.segment_ids, sample.labels, strict=True):
        if categories[one].isthing != isthing:
            colors[(sample.id_map == number).numpy()] = GRAY
    axis.imshow(colors, extent=_extent(sample.id_map))
    targets = make_targets([sample])
    height, width = sample.id_map.shape
    scale = torch.tensor([width, height, width, height])
    corners = cxcywh_to_xyxy(targets.boxes) * scale
    inset = 0.0
    for one, (x0, y0, x1, y1) in zip(
        sample.labels, corners.tolist(), strict=True
    ):
        if categories[one].isthing != isthing:
            continue
        if not isthing:
            inset += 1.5
        axis.add_patch(
            Rectangle(
                (x0 + inset, y0 + inset),
                x1 - x0 - 2 * inset,
                y1 - y0 - 2 * inset,
                fill=False,
                ec="black",
                lw=1.5,
                ls="-" if isthing else "--",
            )
        )
    _names(axis, sample, categories, (isthing,))


def _names(
    axis: Axes, sample: Sample, categories: Categories, kinds: Sequence[bool]
) -> None:
    """Outline and name the segments that are things, stuff, or either."""
    ids = sample.id_map.numpy()
    for number, one in zip(sample.segment_ids, sample.labels, strict=True):
        if categories[one].isthing in kinds:
            outline(axis, ids == int(number))
            x, y = anchor(ids, int(number))
            label(axis, x + 0.5, y + 0.5, categories[one].name)


def _colors(sample: Sample, categories: Categories) -> np.ndarray:
    colors = np.zeros((*sample.id_map.shape, 3), np.uint8)
    for number, one in zip(sample.segment_ids, sample.labels, strict=True):
        colors[(sample.id_map == number).numpy()] = categories[one].color
    return colors


def _extent(ids: Tensor) -> tuple[int, int, int, int]:
    height, width = ids.shape
    return (0, width, height, 0)


def phases_figure() -> Figure:
    """Return the model's parts in both phases: learning, frozen, unused."""
    figure = book_figure(1.25)
    axis = figure.subplots()
    parts = ("ResNet", "encoder", "decoder", "class, box", "maps, CNN")
    phases = {
        "boxes": ["learns"] * 4 + ["not used"],
        "masks": ["frozen"] * 4 + ["learns"],
    }
    for column, part in enumerate(parts):
        axis.text(column + 0.5, -0.75, part, ha="center", va="center")
    for row, (phase, states) in enumerate(phases.items()):
        axis.text(-0.1, row, f"phase {phase}", ha="right", va="center")
        for column, state in enumerate(states):
            color = {"learns": LEARNS, "frozen": FROZEN}.get(state, INK)
            unused = state == "not used"
            axis.add_patch(
                FancyBboxPatch(
                    (column + 0.05, row - 0.36),
                    0.9,
                    0.72,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    fc="none" if unused else color,
                    ec=color,
                    ls="--" if unused else "-",
                )
            )
            axis.text(
                column + 0.5,
                row,
                state,
                ha="center",
                va="center",
                color=INK if unused else "white",
            )
    axis.set(xlim=(-1.1, 5), ylim=(1.45, -1.05))
    axis.set_axis_off()
    return figure


def focal_figure() -> Figure:
    """Return cross-entropy and focal loss over the truth's probability."""
    right = torch.linspace(0.01, 0.99, 99)
    logits = right.logit()[:, None]
    wanted = torch.ones_like(logits)
    figure = book_figure(2.1)
    axis = figure.subplots()
    lines = {
        "cross-entropy": (-right.log(), INK, "--"),
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
    axis.set_xlabel("probability given to the truth")
    axis.set_ylabel("loss of a pixel")
    axis.grid(visible=True)
    axis.legend(loc="lower left")
    return figure


def _each(logits: Tensor, wanted: Tensor) -> list[float]:
    """Return the focal loss of each pixel alone."""
    return [
        focal_loss(a[None], b[None], 1).item()
        for a, b in zip(logits, wanted, strict=True)
    ]


def stages_figure(
    image: Tensor,
    stages: Mapping[str, Tensor],
    names: Sequence[str],
    truths: Tensor,
) -> Figure:
    """Return masks over the dimmed image, a row for each stage of training.

    image: (3, H, W) uint8; stages: (S, h, w) mask logits by name; names: of
    the S segments; truths: (S, H, W) bool, the true segments, outlined.
    """
    panels = [
        partial(
            heat_panel,
            image=image,
            heat=mask.detach().sigmoid(),
            norm=PROBABILITY,
            segment=truth,
        )
        for logits in stages.values()
        for mask, truth in zip(logits, truths, strict=True)
    ]
    return panels_figure(
        panels,
        names,
        columns=len(names),
        rows=list(stages),
        bar=(PROBABILITY, "probability"),
    )


def quality_figure(
    true: Tensor,
    found: Tensor,
    answers: Sequence[Sequence[int]],
    names: Sequence[str],
    categories: Categories,
) -> Figure:
    """Return a small truth and answers to it: what is a TP, an FP, an FN.

    true, found: (H, W) positions of segments; a true one is of the class
    with its position among the names.  answers: for each answer the
    position of the class of each found segment.
    """
    color_of = {c.name: np.array(c.color) / 255 for c in categories}
    colors = np.array([color_of[name] for name in names])
    figure = book_figure(1.9)
    first, *others = figure.subplots(1, 1 + len(answers))
    _squares(first, true, colors)
    first.set_title("truth")
    for number, name in enumerate(names):
        _write(first, true == number, name)
    for axis, labels in zip(others, answers, strict=True):
        _squares(axis, found, colors[list(labels)])
        missed = dict(enumerate(names))
        for number, called in enumerate(labels):
            mine, theirs = found == number, true == called
            iou = ((mine & theirs).sum() / (mine | theirs).sum()).item()
            _write(axis, mine, f"TP {iou:.2f}" if iou > 0.5 else "FP")
            if iou > 0.5:
                missed.pop(called)
        quality = PanopticQuality(len(names))
        segments = {i + 1: label for i, label in enumerate(labels)}
        truth = {i + 1: i for i in range(len(names))}
        quality.update(found + 1, segments, true + 1, truth)
        axis.set_title(f"PQ {quality.compute()['pq']:.3f}")
        axis.set_xlabel("".join(f"FN: {name}" for name in missed.values()))
    return figure


def _squares(axis: Axes, segments: Tensor, colors: np.ndarray) -> None:
    """Draw pixels as squares, and white lines between segments."""
    ids = segments.numpy()
    height, width = ids.shape
    axis.imshow(colors[ids], extent=(0, width, height, 0))
    rows, columns = np.nonzero(ids[:, 1:] != ids[:, :-1])
    axis.vlines(columns + 1, rows, rows + 1, colors="white", lw=2)
    rows, columns = np.nonzero(ids[1:] != ids[:-1])
    axis.hlines(rows + 1, columns, columns + 1, colors="white", lw=2)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _write(axis: Axes, mask: Tensor, text: str) -> None:
    """Write a word in the middle of a segment's lowest row of pixels."""
    row = int(mask.any(1).nonzero().max())
    columns = mask[row].nonzero().float()
    label(axis, columns.mean().item() + 0.5, row + 0.5, text)
