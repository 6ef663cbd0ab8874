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
from nbval.plugin import IPyNbCell
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
            found.append(np.asarray(image.convert("RGB"), np.float32))
    return found


def difference(outputs: list, stored: list) -> str:
    """Return how the pictures differ from the stored ones, or ""."""
    new, old = pictures(outputs), pictures(stored)
    if len(new) != len(old):
        return f"{len(new)} pictures were drawn, {len(old)} are stored"
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


def compare_outputs(self, test, ref, skip_compare=None) -> bool:
    """Compare as nbval does, and then the pictures."""
    if not _compare_outputs(self, test, ref, skip_compare):
        return False
    if "picture-varies" in self.cell.metadata.get("tags", []):
        return True
    wrong = difference(test, ref)
    if wrong:
        self.comparison_traceback.append(wrong)
    return not wrong


def pytest_itemcollected(item) -> None:
    """Wait longer than nbval's 5 seconds for outputs, on a busy machine."""
    if isinstance(item, IPyNbCell):
        item.output_timeout = 120


_compare_outputs = IPyNbCell.compare_outputs
IPyNbCell.compare_outputs = compare_outputs
