"""How figures look: as wide as the column, for light and dark pages.

The ground is transparent, and texts and axes have one ink, a gray that can
be read on both; the site's style puts the page's own color in its place.
"""

import matplotlib
from matplotlib.figure import Figure

INK = "#767676"
GRID = "#76767655"
WIDTH = 5.4  # inches; with letters of 10 points, 9 pixels high on a phone
DPI = 280  # twice the pixels of a column

matplotlib.rcParams.update(
    {
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "savefig.dpi": DPI,
    }
)


def book_figure(height: float) -> Figure:
    """Return an empty figure, as wide as the column.

    height: in inches; the width is WIDTH.
    """
    return Figure(figsize=(WIDTH, height), layout="constrained", dpi=DPI)
