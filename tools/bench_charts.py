"""Charts of what the benchmarks measured, as SVG.

A page shows them on white and on black alike: the ground is transparent, and
texts and axes have one gray that can be read on both.  Texts keep 9 pixels
where the chart is 350 wide, as on a phone.
"""

from collections.abc import Sequence
from html import escape
from math import log10
from typing import NamedTuple

WIDTH = 480
LETTERS = 13
LEFT, RIGHT = 18, 20  # margins of the axis; rows begin at the very left
HEAD, ROW, FOOT = 34, 40, 28  # heights: of the legend, a row, the axis
INK = "#767676"
GRID = "#76767640"
COLORS = {  # Okabe and Ito's, which color-blind readers tell apart
    "ours": "#0072B2",
    "reference": "#D55E00",
    "transformers": "#CC79A7",
}
NAMES = {
    "ours": "ours",
    "reference": "savings off",
    "transformers": "transformers",
}


class Row(NamedTuple):
    """A line of the chart: what was measured, and each side's value.

    values: by side; notes: by side, what to write beside the mark.
    """

    label: str
    values: dict[str, float]
    notes: dict[str, str]


def mark(side: str, x: float, y: float) -> str:
    """Return a side's mark: its own shape, as well as its own color."""
    color = COLORS[side]
    if side == "ours":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{color}"/>'
    r = 5 if side == "reference" else 6.5
    corners = [(-r, -r), (r, -r), (r, r), (-r, r)]
    if side == "transformers":
        corners = [(0, -r), (r, 0), (0, r), (-r, 0)]
    points = " ".join(f"{x + i:.1f},{y + j:.1f}" for i, j in corners)
    return f'<polygon points="{points}" fill="{color}"/>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Return a line of text; y: its baseline."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def room(words: str) -> float:
    """Return how wide a line of text may be; fonts differ."""
    return 0.62 * LETTERS * len(words)


def notes(row: Row, at: dict[str, float]) -> dict[str, str]:
    """Return what stands to the right of which mark.

    Two notes become one where there is no room for both.
    """
    others = sorted((s for s in at if s != "ours"), key=at.__getitem__)
    if len(others) == 2:
        first, second = others
        if at[second] - at[first] < room(row.notes[first]) + 20:
            both = [note for s, note in row.notes.items() if s != "ours"]
            return {second: " / ".join(dict.fromkeys(both))}
    return {side: row.notes[side] for side in others}


def line(row: Row, at: dict[str, float], y: float) -> list[str]:
    """Return a row's marks, what joins them, and the notes beside them.

    Ours is the smallest: its note stands to the left.
    """
    beside = notes(row, at)
    parts = [text(at["ours"] - 10, y + 4.5, row.notes["ours"], "end")]
    start = at["ours"]
    for side in sorted(at, key=at.__getitem__):
        if at[side] > start:
            path = f"M{start:.1f} {y}H{at[side]:.1f}"
            parts.append(f'<path d="{path}" stroke="{INK}"/>')
        start = max(start, at[side])
        if side in beside:
            parts.append(text(at[side] + 10, y + 4.5, beside[side]))
            start += 10 + room(beside[side])  # the line leaves it free
    return parts + [mark(s, at[s], y) for s in reversed(NAMES) if s in at]


def dots(
    title: str, rows: Sequence[Row], ticks: dict[float, str], ends: tuple
) -> str:
    """Return a chart with a mark for each side on a logarithmic axis.

    ticks: what to write at which values; ends: of the axis.
    """
    low, high = map(log10, ends)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def place(value: float) -> float:
        return LEFT + (log10(value) - low) * scale

    bottom = HEAD + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{bottom + FOOT}" viewBox="0 0 {WIDTH} {bottom + FOOT}" '
        f'font-family="system-ui, sans-serif" font-size="{LETTERS}" '
        f'fill="{INK}">',
        f"<title>{escape(title)}</title>",
    ]
    x = 0.0
    for side, name in NAMES.items():
        parts += [mark(side, x + 7, 14), text(x + 18, 18.5, name)]
        x += room(name) + 40
    for value, words in ticks.items():
        x = place(value)
        parts.append(f'<path d="M{x:.1f} {HEAD}V{bottom}" stroke="{GRID}"/>')
        parts.append(text(x, bottom + 18, words, "middle"))
    for i, row in enumerate(rows):
        y = HEAD + ROW * i + 28
        at = {side: place(value) for side, value in row.values.items()}
        parts.append(text(2, y - 13, row.label))
        parts += line(row, at, y)
    return "\n".join([*parts, "</svg>"]) + "\n"
