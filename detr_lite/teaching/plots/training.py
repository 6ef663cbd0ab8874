"""Training: the curves of a run, and what its model gets wrong."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

LOSS_COLORS = {  # safe for color-blind readers
    "loss": "#000000",
    "class": "#0072B2",
    "l1": "#D55E00",
    "giou": "#009E73",
    "focal": "#CC79A7",
    "dice": "#E69F00",
}
BAR_COLORS = ("#0072B2", "#E69F00", "#009E73")
_LEGEND = {"fontsize": 8, "loc": "upper center", "frameon": False}
_CENTERED = {"ha": "center", "va": "center", "fontsize": 8}
METRIC_STYLES = {"box_ap": ("#0072B2", "o--"), "pq": ("#D55E00", "s-")}


def read_log(path: str | Path) -> list[dict]:
    """Return the lines of a run's log.jsonl."""
    return [json.loads(x) for x in Path(path).read_text().splitlines()]


def curves_figure(log: Sequence[dict]) -> Figure:
    """Return a run's losses, a panel for each phase, then its AP and PQ.

    log: the lines of log.jsonl, or as many as there are so far.
    """
    phases = list(dict.fromkeys(line["phase"] for line in log))
    figure = Figure(figsize=(7, 3), layout="constrained", dpi=100)
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
        axis.title.set_fontsize(9)
        axis.xaxis.label.set_fontsize(9)
        axis.tick_params(which="both", labelsize=8)
        if axis.get_yscale() == "log":
            axis.yaxis.set_minor_formatter(NullFormatter())
        if axis.lines:  # below the panel, where it hides no point
            axis.legend(ncols=2, bbox_to_anchor=(0.5, -0.22), **_LEGEND)
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
    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
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
    for axis in (left, right):
        axis.title.set_fontsize(9)
        axis.xaxis.label.set_fontsize(9)
        axis.yaxis.label.set_fontsize(9)
        axis.tick_params(labelsize=8)
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
