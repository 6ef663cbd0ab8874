"""Training: the curves of a run, and what its model gets wrong."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from detr_lite.inference.results import Prediction
from detr_lite.teaching.plots.panels import (
    image_panel,
    panels_figure,
    segments_panel,
)
from detr_lite.teaching.plots.style import INK, book_figure

LOSS_COLORS = {  # safe for color-blind readers
    "loss": INK,
    "class": "#0072B2",
    "l1": "#D55E00",
    "giou": "#009E73",
    "focal": "#CC79A7",
    "dice": "#E69F00",
}
BAR_COLORS = ("#0072B2", "#E69F00", "#009E73")
_LEGEND = {"loc": "upper center", "columnspacing": 1, "handlelength": 1.3}
_CENTERED = {"ha": "center", "va": "center", "fontsize": 8.5}
METRIC_STYLES = {"box_ap": ("#0072B2", "o--"), "pq": ("#D55E00", "s-")}


def read_log(path: str | Path) -> list[dict]:
    """Return the lines of a run's log.jsonl."""
    return [json.loads(x) for x in Path(path).read_text().splitlines()]


def curves_figure(log: Sequence[dict]) -> Figure:
    """Return a run's losses, a panel for each phase, then its AP and PQ.

    log: the lines of log.jsonl, or as many as there are so far.
    """
    phases = list(dict.fromkeys(line["phase"] for line in log))
    figure = book_figure(3.2)
    *panels, last = figure.subplots(1, len(phases) + 1)
    before = 0
    for axis, phase in zip(panels, phases, strict=True):
        lines = [line for line in log if line["phase"] == phase]
        for name, color in LOSS_COLORS.items():
            points = [(x["step"], x[name]) for x in lines if name in x]
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, ".-", markersize=3, color=color, label=name)
        axis.set(title=f"phase {phase}", xlabel="step", yscale="log")
        for name, (color, marker) in METRIC_STYLES.items():
            # Before there are masks, PQ says nothing, nor does AP after.
            if (name == "box_ap") != (phase == "boxes"):
                continue
            points = [
                (before + x["step"], x[name]) for x in lines if name in x
            ]
            if points:
                x, y = zip(*points, strict=True)
                last.plot(x, y, marker, color=color, label=name)
        before += lines[-1]["step"]
    last.set(title="AP and PQ", xlabel="step of the run", ylim=(0, 1))
    for axis in (*panels, last):
        if axis.get_yscale() == "log":
            axis.yaxis.set_minor_formatter(NullFormatter())
        if axis.lines:  # below the panel, where it hides no point
            axis.legend(ncols=2, bbox_to_anchor=(0.5, -0.25), **_LEGEND)
    return figure


def failures_figure(
    confusion: np.ndarray,
    names: Sequence[str],
    sizes: Sequence[str],
    missed: dict[str, Sequence[float]],
) -> Figure:
    """Return what true segments were taken for, and which sizes are missed.

    confusion: (K, K + 1) counts; row: the true class, column: the class
    found at its place, the last one nothing; names: the K classes.
    sizes: the groups of the right panel; missed: for each model the share
    of each group, 0 to 1, that was not found or has a wrong name.
    """
    figure = book_figure(6.4)
    left, right = figure.subplots(2, 1, height_ratios=(1.7, 1))
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    left.imshow(share, "Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(confusion):
        color = "white" if share[row, column] > 0.5 else "black"
        text = str(confusion[row, column])
        left.text(column, row, text, color=color, **_CENTERED)
    left.set_xticks(range(len(names) + 1), [*names, "nothing"], rotation=90)
    left.set_yticks(range(len(names)), names)
    left.set(title="segments", xlabel="found", ylabel="true")
    width = 0.8 / len(missed)
    for i, (model, rates) in enumerate(missed.items()):
        places = np.arange(len(sizes)) + (i - (len(missed) - 1) / 2) * width
        right.bar(places, rates, width, label=model, color=BAR_COLORS[i])
    right.set_xticks(range(len(sizes)), sizes)
    right.set(title="share missed", xlabel="visible pixels", ylim=(0, None))
    right.legend(ncols=2, bbox_to_anchor=(0.5, -0.2), **_LEGEND)
    return figure


def steps_figure(prediction: Prediction) -> Figure:
    """Return an image, what a trained model makes of it, side by side."""
    return panels_figure(
        [
            partial(image_panel, image=prediction.image),
            partial(segments_panel, result=prediction),
        ],
        ["image", "panoptic segmentation"],
        columns=2,
    )


def cases_figure(
    rows: Mapping[str, Sequence[Prediction]], titles: Sequence[str]
) -> Figure:
    """Return scenes in columns: the images, and a row for each answer.

    rows: for each answer a prediction of each scene.
    """
    first = next(iter(rows.values()))
    panels = [partial(image_panel, image=one.image) for one in first]
    for found in rows.values():
        panels += [
            partial(segments_panel, result=one, scores=False) for one in found
        ]
    return panels_figure(
        panels, titles, columns=len(titles), rows=["image", *rows]
    )


def ablations_figure(
    rows: Sequence[tuple[str, str, Sequence[float], Sequence[float]]],
) -> Figure:
    """Return PQ and box AP of trainings, a dot for each seed.

    rows: what was trained, with what, and the PQ and box AP of each seed.
    """
    figure = book_figure(0.32 * len(rows) + 1)
    axes = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    for axis, name, column in zip(axes, ("PQ", "box AP"), (2, 3), strict=True):
        color, marker = METRIC_STYLES[("pq", "box_ap")[column - 2]]
        for place, row in zip(places, rows, strict=True):
            values = row[column]
            line = (min(values), max(values))
            axis.plot(line, (place, place), color=color, lw=2, alpha=0.5)
            axis.plot(values, [place] * len(values), marker[0], color=color)
        axis.set_title(name)
        axis.grid(visible=True, axis="x")
        axis.tick_params(left=False)
        axis.spines["left"].set_visible(False)
    axes[0].set_yticks(places, [f"{model} ({how})" for how, model, *_ in rows])
    axes[0].invert_yaxis()
    return figure


class LiveCurves:
    """Draws the curves again at each report; for a notebook.

    Give its `watch` to `train`.
    """

    def __init__(self):
        self._lines: list[dict] = []
        self._handle = None

    def watch(self, progress) -> None:
        """Add a report of training to the drawing."""
        from IPython.display import display

        self._lines.append(
            {
                "phase": progress.phase,
                "step": progress.step,
                **(progress.losses or progress.metrics),
            }
        )
        figure = curves_figure(self._lines)
        if self._handle is None:
            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
