"""Chapter 7: cells, what a model found in them, and photographs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from detr_lite.data.batch import pad_images
from detr_lite.data.categories import Categories
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
from detr_lite.teaching.plots.style import INK, WIDTH, book_figure

FOUND, WRONG, MISSED = "#E69F00", "#FF6EC7", "#56B4E9"
STYLES = {FOUND: "-", WRONG: (0, (1.6, 0.8)), MISSED: "--"}
GRAIN, FUR = 150, 110  # dots per inch: detail makes large files
LARGE = 130  # of large micrographs
LEGEND, SECOND_LINE = 0.35, 0.12  # inches
# Of classes that nobody gave a color; safe for color-blind readers.  Those
# of things are seen as outlines on dark images, too.
THINGS = (
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
)
STUFF = (
    (0, 60, 90),
    (150, 150, 150),
    (0, 114, 178),
    (120, 80, 40),
)


def class_colors(isthing: Sequence[bool]) -> list[list[int]]:
    """Return colors for classes; after a few of a kind they come again.

    isthing: of each class whether it is a thing, which has brighter colors.
    """
    colors = {True: cycle(THINGS), False: cycle(STUFF)}
    return [list(next(colors[bool(thing)])) for thing in isthing]


def outlined_panel(
    axis: Axes,
    shown: Sample | Prediction,
    categories: Categories | None = None,
    legend: bool = False,
) -> None:
    """Draw an image with the outlines of its things.

    shown: what people drew in it, or what a model found.
    categories: say which labels are things (default: label 0 alone).
    legend: outline stuff, too, and each segment in its class's color, which
        class_legend tells.
    """
    image_panel(axis, shown.image)
    ids = np.asarray(shown.id_map)
    things: list[tuple[int, int]] = []
    stuff: list[tuple[int, int]] = []
    for number, kind in _segments(shown):
        thing = kind == 0 if categories is None else categories[kind].isthing
        (things if thing else stuff).append((number, kind))
    if categories is None or not legend:
        for number, _ in things:
            outline(axis, ids == number, FOUND, 1.1)
        return
    for number, kind in stuff + things:
        color = "#{:02X}{:02X}{:02X}".format(*categories[kind].color)
        outline(axis, ids == number, "white", 2.2)  # colors stand out on it
        outline(axis, ids == number, color, 1.2)


def class_legend(
    figure: Figure,
    shown: Sequence[Sample | Prediction],
    categories: Categories,
) -> None:
    """Say below a figure which color is which of the classes in it."""
    there = {kind for one in shown for _, kind in _segments(one)}
    columns = 4
    figure.set_figheight(
        figure.get_figheight() + LEGEND * -(-len(there) // columns)
    )
    figure.legend(
        handles=[
            Patch(
                fc=[c / 255 for c in categories[kind].color],
                label=categories[kind].name,
            )
            for kind in sorted(there)
        ],
        loc="outside lower center",
        ncols=columns,
    )


def _segments(shown: Sample | Prediction) -> Iterator[tuple[int, int]]:
    """Yield the id and the label of each segment that has a pixel."""
    if isinstance(shown, Prediction):
        pairs = [(s.id, s.label) for s in shown.segments]
    else:
        pairs = list(
            zip(shown.segment_ids.tolist(), shown.labels.tolist(), strict=True)
        )
    there = set(np.unique(np.asarray(shown.id_map)).tolist())
    yield from (pair for pair in pairs if pair[0] in there)


def outlined_figure(
    shown: Sequence[Sample | Prediction],
    categories: Categories,
    legend: bool = False,
) -> Figure:
    """Return images side by side, with the outlines of their things.

    For the rest see outlined_panel.
    """
    _, height, width = shown[0].image.shape
    figure = panels_figure(
        [
            lambda a, s=one: outlined_panel(a, s, categories, legend)
            for one in shown
        ],
        columns=len(shown),
        aspect=height / width,
    )
    figure.set_dpi(LARGE if width > 256 else GRAIN)
    if legend:
        class_legend(figure, shown, categories)
    return figure


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
    figure.set_dpi(LARGE)
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


def _things(sample: Sample, categories: Categories) -> list[int]:
    """Return the ids of a sample's things."""
    pairs = zip(
        sample.segment_ids.tolist(), sample.labels.tolist(), strict=True
    )
    return [number for number, kind in pairs if categories[kind].isthing]


def outcomes_figure(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> Figure:
    """Return what people drew in each image, and what a model found.

    A column for each image; the model's outlines say by color and line which
    are right, and people's which were missed.
    """
    panels = []
    results = [
        outcomes(p, s) for p, s in zip(predictions, samples, strict=True)
    ]
    categories = predictions[0].categories
    for sample, (_, _, missed) in zip(samples, results, strict=True):
        things = _things(sample, categories)
        groups = {
            FOUND: [n for n in things if n not in missed],
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
        panels, columns=len(samples), rows=["people", "model"]
    )
    figure.set_figheight(figure.get_figheight() + LEGEND)
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
                linewidths=1.7 if color == WRONG else 1.2,
                linestyles=[STYLES[color]],
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
        ["box", "attention (largest = 1)", "mask probability"],
        columns=3,
        rows=names,
        bar=(norm, ""),
    )
    if len(rows) == 1:  # whose bar is thinner
        figure.set_figheight(figure.get_figheight() - 0.3)
    figure.set_dpi(GRAIN)
    return figure


def ranges_figure(
    points: Mapping[str, Sequence[float]],
    bands: Mapping[str, Sequence[float]],
    xlabel: str = "PQ of nuclei",
) -> Figure:
    """Return results as dots and bands, a row each.

    points: by name results, a dot each; bands: by name a result, a dot, and
    the lowest and the highest that it may be by chance, the ends of a line.
    """
    names = [*points, *bands]
    figure = book_figure(0.5 + 0.36 * len(names))
    axis = figure.subplots()
    for place, values in enumerate(points.values()):
        axis.plot(values, [place] * len(values), "o", color="#0072B2", ms=6)
    for place, (middle, *ends) in enumerate(bands.values(), len(points)):
        axis.plot(ends, [place] * 2, "|-", color=INK, lw=1.2, ms=10, mew=1.4)
        axis.plot([middle], [place], "o", color="#0072B2", ms=6)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.set_xlabel(xlabel)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    return figure


def changes_figure(
    images: Mapping[str, Tensor], values: Mapping[str, float]
) -> Figure:
    """Return images as a model got them, and the metric that followed.

    values: PQ by the same names.
    """
    figure = panels_figure(
        [lambda a, i=image: image_panel(a, i) for image in images.values()],
        [f"{name}\nPQ {values[name]:.2f}" for name in images],
        columns=len(images),
    )
    figure.set_figheight(figure.get_figheight() + SECOND_LINE)
    return figure


def found_figure(
    predictions: Sequence[Prediction],
    samples: Sequence[Sample] = (),
    names: bool = True,
    legend: bool = False,
) -> Figure:
    """Return images, and below each what a model found in it.

    samples: with these, the images show what people drew in them.
    names: write the classes and their probabilities on the segments.
    legend: tell the classes below, by their colors.
    """
    _, height, width = predictions[0].image.shape
    categories = predictions[0].categories
    panels = [lambda a, p=p: image_panel(a, p.image) for p in predictions]
    if samples:
        panels = [
            lambda a, s=s: outlined_panel(a, s, categories, legend)
            for s in samples
        ]
    figure = panels_figure(
        panels
        + [
            lambda a, p=p: segments_panel(a, p, names=names)
            for p in predictions
        ],
        columns=len(predictions),
        rows=["people", "model"] if samples else (),
        aspect=height / width,
    )
    if legend:
        class_legend(figure, [*samples, *predictions], categories)
    return figure


def batch_figure(*batches: Mapping[str, Tensor]) -> Figure:
    """Return images of several sizes as batches, padding hatched.

    Each batch, of as many images by name as the others, is a row, padded to
    the largest height and width in it.  All rows have one scale.
    """
    sizes = [
        tuple(pad_images(list(batch.values()))[0].shape[2:])
        for batch in batches
    ]
    widest, columns = max(width for _, width in sizes), len(batches[0])
    scale = WIDTH / columns / widest
    heights = [scale * height + 0.27 for height, _ in sizes]
    figure = book_figure(sum(heights))
    axes = figure.subplots(
        len(batches), columns, height_ratios=heights, squeeze=False
    )
    for row, batch, (height, width) in zip(axes, batches, sizes, strict=True):
        for axis, (name, image) in zip(row, batch.items(), strict=True):
            frame = Rectangle(
                (0, 0), width, height, fc="none", ec=INK, hatch="//", lw=0,
                zorder=-1,
            )  # under the image  # fmt: skip
            axis.add_patch(frame)
            image_panel(axis, image)
            axis.set(xlim=(0, widest), ylim=(height, 0), xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_title(f"{name}, {image.shape[1]} x {image.shape[2]}")
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
