"""Photographs, and the original's weights where there is a network.

The photographs are those that scikit-image brings in its package: nothing is
fetched for them, and their makers gave up all rights in them.  The weights of
the original take 172 MB; without a network a chapter goes on without them.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from time import monotonic
from urllib.request import urlopen

from torch import Tensor

from detr_lite.data.images import read_image
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.errors import DetrLiteError
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import PanopticModel
from detr_lite.weights.catalog import SOURCES

WEIGHTS = "detr_resnet50_panoptic"
# Chelsea the cat by Stefan van der Walt and a cup of coffee by Rachel
# Michetti, both CC0; Eileen Collins by NASA, in the public domain.  Their
# classes are among COCO's.
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "astronaut.png")
PATIENCE = 5.0  # seconds until a network counts as too slow
ENOUGH = 2**19  # bytes to have come by then


@dataclass(frozen=True)
class Original:
    """The original's weights, or why they aren't here.

    Attributes:
        model: DETR with ResNet-50, of COCO's classes, or None.
        about: what was loaded, or why nothing was, in a sentence.
    """

    model: PanopticModel | None
    about: str


def photographs() -> dict[str, Tensor]:
    """Return photographs by name, (3, H, W) uint8 each.

    Those of scikit-image; where it isn't installed, as many scenes.
    """
    found = find_spec("skimage")
    if found is None:
        split = SceneSplit(VALIDATION_SEED, len(PHOTOGRAPHS))
        return {f"scene {n}": s.image for n, s in enumerate(split, 1)}
    folder = Path(found.origin).parent / "data"
    return {Path(n).stem: read_image(folder / n) for n in PHOTOGRAPHS}


def original() -> Original:
    """Return the original's model, fetched once, or why it isn't here.

    The file's hash is checked.  Where the network is missing, refuses, or is
    so slow that 5 seconds bring less than half a megabyte, there is no
    model; so it is with DETR_LITE_OFFLINE=1 in the environment, which makes
    a run the same everywhere.
    """
    if os.environ.get("DETR_LITE_OFFLINE"):
        return Original(None, "Nothing was fetched: DETR_LITE_OFFLINE is set.")
    source = SOURCES[WEIGHTS]
    if not source.path.exists() and not answer_soon([source.url]):
        return Original(None, "No network was found, or a slow one.")
    try:
        return Original(load_model(WEIGHTS), f"{WEIGHTS} was loaded.")
    except DetrLiteError as error:
        return Original(None, str(error))


def answer_soon(addresses: Sequence[str]) -> bool:
    """Return whether each address sends its first bytes within PATIENCE.

    Asked in threads of their own: to look up a name can take much longer
    than any timeout, where there is no network.
    """
    came: list[str] = []

    def ask(address: str) -> None:
        with (
            suppress(OSError, HTTPException, ValueError),
            urlopen(address, timeout=PATIENCE) as answer,
        ):
            answer.read(ENOUGH)
            came.append(address)

    threads = [Thread(target=ask, args=(a,), daemon=True) for a in addresses]
    end = monotonic() + PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(end - monotonic(), 0))
    return len(came) == len(addresses)
