"""What nbval leaves out: pictures are compared, and outputs waited for.

nbval compares what a cell prints, not what it draws.  Here a picture must
look like the stored one: the mean difference of the gray levels, 0 to 255,
may be TOLERANCE.  The tag "picture-varies" is for the pictures that a model
trained in the notebook makes.

The notebooks run without a network, as they were woven: chapter 7 would
show photographs otherwise.
"""

import base64
import io
import os
import re

import numpy as np
import pytest
from PIL import Image

TOLERANCE = 0.5
IN_MARKUP = r'"data:image/png;base64,([^"]+)"'
os.environ["DETR_LITE_OFFLINE"] = "1"


def pictures(outputs: list) -> list[np.ndarray]:
    """Return what a cell drew, (height, width, 3) each."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        encoded = re.findall(IN_MARKUP, data.get("text/html", ""))
        if "image/png" in data:
            encoded.append(data["image/png"])
        for text in encoded:
            image = Image.open(io.BytesIO(base64.b64decode(text)))
            page = Image.new("RGBA", image.size, "white")  # many are clear
            page.alpha_composite(image.convert("RGBA"))
            found.append(np.asarray(page.convert("RGB"), np.float32))
    return found


def difference(outputs: list, stored: list) -> str:
    """Return how the pictures differ from the stored ones, or ""."""
    new, old = pictures(outputs), pictures(stored)
    if len(new) != len(old):
        return f"{len(new)} images were drawn, {len(old)} are stored"
    for a, b in zip(new, old, strict=True):
        if a.shape != b.shape:
            return f"the picture is {a.shape}, the stored one {b.shape}"
        gray_levels = abs(a - b).mean()
        if gray_levels > TOLERANCE:
            return (
                f"the picture differs from the stored one by {gray_levels:.2f}"
                f" gray levels; {TOLERANCE} are allowed"
            )
    return ""


def pytest_itemcollected(item) -> None:
    """Wait longer than nbval's 5 seconds for outputs, on a busy machine."""
    if item.path.suffix == ".ipynb":
        item.output_timeout = 120


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Let nbval run a cell and compare what it prints, then the pictures."""
    result = yield
    if item.path.suffix == ".ipynb" and compares_pictures(item):
        wrong = difference(item.test_outputs, item.cell.outputs)
        if wrong:
            pytest.fail(f"Cell {item.cell_num}: {wrong}", pytrace=False)
    return result


def compares_pictures(item) -> bool:
    """Return whether a cell's pictures must be the stored ones."""
    tags = item.cell.metadata.get("tags", [])
    return item.options["check"] and "picture-varies" not in tags
