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
    Panel,
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
METRIC_STYLES = {"box_ap": ("#0072B2", "o--"), "pq": ("#D55E00", "s-")}


def read_log(path: str | Path) -> list[dict]:
    """Return the lines of a run's log.jsonl."""
    return [json.loads(x) for x in Path(path).read_text().splitlines()]


def curves_figure(log: Sequence[dict]) -> Figure:
    """Return a run's losses, a panel for each phase, then its AP and PQ.

    log: the lines of log.jsonl, or as many as there are so far.
    """
    phases = list(dict.fromkeys(line["phase"] for line in log))
    figure = book_figure(2.7)
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


def missed_figure(
    sizes: Sequence[str], missed: Mapping[str, Sequence[float]]
) -> Figure:
    """Return which share of the things is missed, by their size.

    sizes: the groups; missed: for each model the share of each group, 0 to
    1, that was not found or has a wrong name.
    """
    figure = book_figure(0.28 * len(sizes) * len(missed) + 0.9)
    axis = figure.subplots()
    height = 0.8 / len(missed)
    for i, (model, rates) in enumerate(missed.items()):
        places = np.arange(len(sizes)) + (i - (len(missed) - 1) / 2) * height
        axis.barh(places, rates, height, label=model, color=BAR_COLORS[i])
    axis.set_yticks(range(len(sizes)), sizes)
    axis.set(xlabel="share missed", ylabel="visible pixels", xlim=(0, None))
    axis.invert_yaxis()
    axis.legend(loc="lower right")
    return figure


def steps_figure(prediction: Prediction) -> Figure:
    """Return an image and what a trained model makes of it."""
    return panels_figure(
        [
            partial(image_panel, image=prediction.image),
            partial(segments_panel, result=prediction, scores=False),
        ],
        ["image", "panoptic segmentation"],
        columns=2,
    )


def cases_figure(
    answers: Mapping[str, Sequence[Prediction]], scenes: Sequence[str]
) -> Figure:
    """Return scenes in rows: the image of each, and the answers beside it.

    answers: by name, a prediction of each scene; scenes: their names.
    """
    panels: list[Panel] = []
    for results in zip(*answers.values(), strict=True):
        panels.append(partial(image_panel, image=results[0].image))
        panels += [
            partial(segments_panel, result=one, scores=False)
            for one in results
        ]
    titles = ["image", *answers]
    return panels_figure(panels, titles, columns=len(titles), rows=scenes)


def ablations_figure(
    rows: Sequence[tuple[str, str, Sequence[float], Sequence[float]]],
) -> Figure:
    """Return PQ and box AP of trainings: a dot for each seed, and the range.

    rows: how it was trained, what, and the PQ and box AP of each seed.
    Trainings of one kind, up to a comma, make a group, below its name; a
    line goes down from the mean of the first of a group.
    """
    lines: list[tuple | None] = []
    names: list[str] = []
    for row in rows:
        kind = row[0].partition(", ")[0]
        if kind not in names:
            lines.append(None)
            names.append(kind)
        lines.append(row)
        names.append(row[1])
    figure = book_figure(0.235 * len(lines) + 0.75)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (key, title, column) in zip(
        axes, (("pq", "PQ", 2), ("box_ap", "box AP", 3)), strict=True
    ):
        color, style = METRIC_STYLES[key]
        heads = [i for i, row in enumerate(lines) if row is None]
        for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
            first = float(np.mean(lines[head + 1][column]))
            span = (head + 0.6, end - 0.6)
            axis.plot((first, first), span, ":", color=INK, lw=1)
        for place, row in enumerate(lines):
            if row is None:
                continue
            values = row[column]
            ends = (min(values), max(values))
            axis.plot(ends, (place, place), color=color, lw=1.5)
            dots = {"markersize": 4.5, "markeredgecolor": "none"}
            at = [place] * len(values)
            axis.plot(values, at, style[0], color=color, alpha=0.75, **dots)
        axis.set_title(title)
        axis.grid(visible=True, axis="x")
        axis.margins(x=0.08)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(names)), names)
    for text, row in zip(axes[0].get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if row is None else "normal")
    axes[0].invert_yaxis()
    return figure
