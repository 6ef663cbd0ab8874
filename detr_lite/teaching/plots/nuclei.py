"""Chapter 7: cells, what a model found in them, and photographs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from detr_lite.data.batch import pad_images
from detr_lite.data.sample import Sample
from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots.panels import (
    box,
    heat_panel,
    image_panel,
    outline,
    panels_figure,
    segments_panel,
)
from detr_lite.teaching.plots.style import INK, book_figure

FOUND, WRONG, MISSED = "#E69F00", "#CC79A7", "#56B4E9"
STYLES = {FOUND: "-", WRONG: ":", MISSED: "--"}
GRAIN, FUR = 135, 110  # dots per inch: detail makes large files
# Of classes that nobody gave a color; safe for color-blind readers.
COLORS = (
    (213, 94, 0),
    (0, 60, 90),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (0, 114, 178),
    (240, 228, 66),
)


def class_colors(count: int) -> list[list[int]]:
    """Return colors for so many classes; after eight they come again."""
    return [list(COLORS[i % len(COLORS)]) for i in range(count)]


def outlined_panel(axis: Axes, sample: Sample, color: str = FOUND) -> None:
    """Draw an image with the outlines of its things."""
    image_panel(axis, sample.image)
    for number in _things(sample):
        outline(axis, (sample.id_map == number).numpy(), color)


def opening_figure(sample: Sample, edge: int) -> Figure:
    """Return a large image, and beside it the outlines of its things.

    edge: the column from which on the image is kept for measuring.
    """

    def marked(draw):
        def panel(axis: Axes) -> None:
            draw(axis)
            axis.axvline(edge, color="white", lw=1, ls="--")

        return panel

    figure = panels_figure(
        [
            marked(lambda axis: image_panel(axis, sample.image)),
            marked(lambda axis: outlined_panel(axis, sample)),
        ],
        ["the image", "what people drew in it"],
        columns=2,
    )
    figure.set_dpi(GRAIN)
    return figure


def outcomes(
    found: Prediction, sample: Sample
) -> tuple[list[int], list[int], list[int]]:
    """Return which things were found, which are wrong, which were missed.

    The ids of found segments that match a true one of their class by an IoU
    above 1/2, of those that don't, and of true segments without a match.
    """
    categories = found.categories
    ids, predicted = sample.id_map, found.id_map
    missed, right = _things(sample, categories), []
    labels = dict(
        zip(sample.segment_ids.tolist(), sample.labels.tolist(), strict=True)
    )
    things = [s for s in found.segments if categories[s.label].isthing]
    for segment in things:
        mask = predicted == segment.id
        for number in missed:
            true = ids == number
            shared = (mask & true).sum()
            same = labels[number] == segment.label
            if same and 2 * shared > (mask | true).sum():
                right.append(segment.id)
                missed.remove(number)
                break
    wrong = [s.id for s in things if s.id not in right]
    return right, wrong, missed


def _things(sample: Sample, categories=None) -> list[int]:
    """Return the ids of a sample's things; without categories, label 0's."""
    pairs = zip(
        sample.segment_ids.tolist(), sample.labels.tolist(), strict=True
    )
    return [
        number
        for number, label in pairs
        if (label == 0 if categories is None else categories[label].isthing)
    ]


def outcomes_figure(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> Figure:
    """Return each image, what people drew in it, and what a model found.

    A column for each image; the model's outlines say by color and line which
    are right, and people's which were missed.
    """
    panels = [lambda a, s=s: image_panel(a, s.image) for s in samples]
    results = [
        outcomes(p, s) for p, s in zip(predictions, samples, strict=True)
    ]
    for sample, (_, _, missed) in zip(samples, results, strict=True):
        groups = {
            FOUND: [n for n in _things(sample) if n not in missed],
            MISSED: missed,
        }
        panels.append(
            lambda a, s=sample, g=groups: _drawn(a, s.image, s.id_map, g)
        )
    for prediction, (right, wrong, _) in zip(
        predictions, results, strict=True
    ):
        groups = {FOUND: right, WRONG: wrong}
        panels.append(
            lambda a, p=prediction, g=groups: _drawn(a, p.image, p.id_map, g)
        )
    figure = panels_figure(
        panels, columns=len(samples), rows=["image", "people", "model"]
    )
    figure.set_dpi(GRAIN)
    names = {FOUND: "found", MISSED: "missed", WRONG: "wrong"}
    figure.legend(
        handles=[
            Line2D([], [], color=color, ls=STYLES[color], label=name)
            for color, name in names.items()
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _drawn(axis: Axes, image: Tensor, id_map: Tensor, groups: Mapping) -> None:
    """Draw an image and the outlines of its segments, a color each group."""
    image_panel(axis, image)
    height, width = id_map.shape
    for color, numbers in groups.items():
        for number in numbers:
            axis.contour(
                np.arange(-1, width + 1) + 0.5,
                np.arange(-1, height + 1) + 0.5,
                np.pad((id_map == number).numpy(), 1).astype(float),
                levels=[0.5],
                colors=color,
                linewidths=1.1,
                linestyles=STYLES[color],
            )
    axis.set(xlim=(0, width), ylim=(height, 0))


def inside_figure(
    prediction: Prediction, rows: Sequence[int], masks: Tensor
) -> Figure:
    """Return box, attention and mask of some segments, a row for each.

    rows: of the segments in the prediction; masks: (n, h, w) their masks'
    probabilities.  Attention is summed over the heads, and each map is shown
    relative to its largest value.
    """
    image, norm = prediction.image, Normalize(0, 1)
    panels, names = [], []
    for row, mask in zip(rows, masks, strict=True):
        segment = prediction.segments[row]
        category = prediction.categories[segment.label]
        names.append(f"{category.name} {segment.score:.2f}")
        looks = prediction.attention_maps[row].sum(0)

        def boxed(axis: Axes, row=row, category=category) -> None:
            image_panel(axis, image)
            box(axis, prediction.query_boxes[row].tolist(), category)

        panels.append(boxed)
        panels += [
            lambda a, m=heat: heat_panel(a, image, m, norm)
            for heat in (looks / looks.max(), mask)
        ]
    figure = panels_figure(
        panels,
        ["box", "attention, of its largest", "mask, probability"],
        columns=3,
        rows=names,
        bar=(norm, ""),
    )
    figure.set_dpi(GRAIN)
    return figure


def ranges_figure(
    rows: Mapping[str, Sequence[float]],
    own: Mapping[str, float] | None = None,
    label: str = "PQ of nuclei",
) -> Figure:
    """Return the results of several runs as dots, a row for each recipe.

    rows: the results by what was trained; own: of some rows a further
    result, drawn as a diamond.
    """
    figure = book_figure(0.5 + 0.36 * len(rows))
    axis = figure.subplots()
    for place, (name, values) in enumerate(rows.items()):
        if len(values) > 1:
            axis.plot([min(values), max(values)], [place] * 2, color=INK, lw=1)
        axis.plot(values, [place] * len(values), "o", color="#0072B2", ms=6)
        if own and name in own:
            axis.plot(own[name], place, "D", color="#D55E00", ms=7)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.set_xlabel(label)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    return figure


def changes_figure(
    images: Mapping[str, Tensor], values: Mapping[str, float]
) -> Figure:
    """Return images as a model got them, and the metric that followed.

    values: PQ by the same names.
    """
    return panels_figure(
        [lambda a, i=image: image_panel(a, i) for image in images.values()],
        [f"{name}\nPQ {values[name]:.2f}" for name in images],
        columns=len(images),
    )


def found_figure(
    predictions: Sequence[Prediction], names: bool = True
) -> Figure:
    """Return images, and below each what a model found in it.

    names: write the classes and their probabilities on the segments.
    """
    _, height, width = predictions[0].image.shape
    return panels_figure(
        [lambda a, p=p: image_panel(a, p.image) for p in predictions]
        + [
            lambda a, p=p: segments_panel(a, p, names=names)
            for p in predictions
        ],
        columns=len(predictions),
        aspect=height / width,
    )


def batch_figure(images: Mapping[str, Tensor]) -> Figure:
    """Return images of several sizes as one batch, padding hatched."""
    height, width = pad_images(list(images.values()))[0].shape[2:]

    def panel(image: Tensor):
        def draw(axis: Axes) -> None:
            axis.add_patch(
                Rectangle(
                    (0, 0),
                    width,
                    height,
                    fc="none",
                    ec=INK,
                    hatch="//",
                    lw=0,
                    zorder=-1,
                )  # under the image
            )
            image_panel(axis, image)
            axis.set(xlim=(0, width), ylim=(height, 0))

        return draw

    figure = panels_figure(
        [panel(image) for image in images.values()],
        [f"{n}, {i.shape[1]} x {i.shape[2]}" for n, i in images.items()],
        columns=3,
        aspect=height / width,
    )
    figure.set_dpi(FUR)
    return figure


def as_sample(image: Tensor) -> Sample:
    """Return an image without annotation: one segment, all of it."""
    one = torch.ones(1, dtype=torch.int64)
    return Sample(
        image=image,
        id_map=torch.ones(image.shape[1:], dtype=torch.int32),
        segment_ids=one,
        labels=one - 1,
        crowd=torch.zeros(1, dtype=torch.bool),
        image_id=1,
        name="photograph",
    )
