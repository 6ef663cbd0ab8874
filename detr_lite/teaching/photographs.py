"""Photographs and a model that knows them; without a network, scenes.

Chapter 7 is about photographs, but it must run anywhere.  So it asks here
for something to look at: a few pictures of COCO's validation set and the
original's weights, if they can be had, and otherwise what is shipped.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from threading import Thread
from time import monotonic
from urllib.request import urlopen

from torch import Tensor

from detr_lite.data.images import read_image
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit, cache_folder
from detr_lite.data.subsets import Part
from detr_lite.errors import DetrLiteError
from detr_lite.files.download import download
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import PanopticModel
from detr_lite.weights.catalog import SOURCES

WEIGHTS = "detr_resnet50_panoptic"
# Each has things of several classes before stuff of several kinds.
PHOTOGRAPHS = (
    "http://images.cocodataset.org/val2017/000000039769.jpg",
    "http://images.cocodataset.org/val2017/000000000139.jpg",
    "http://images.cocodataset.org/val2017/000000000785.jpg",
)
SCENES = (20, 8, 10)  # of the validation scenes
PATIENCE = 5.0  # seconds until a network counts as too slow
ENOUGH = 2**19  # bytes to have come by then


@dataclass(frozen=True)
class Views:
    """Something to look at.

    Attributes:
        model: knows what is in the pictures.
        images: (3, H, W) uint8 each.
        real: whether they are photographs.
        about: what they are, and why, in a sentence.
    """

    model: PanopticModel
    images: list[Tensor]
    real: bool
    about: str


def photographs_or_scenes() -> Views:
    """Return photographs and the original's weights, or scenes and theirs.

    Fetches 172 MB once; later runs find them.  Where the network is missing,
    refuses, or is so slow that 5 seconds bring less than half a megabyte,
    the answer is scenes; so it is with DETR_LITE_OFFLINE=1 in the
    environment, which makes a run the same everywhere.
    """
    if os.environ.get("DETR_LITE_OFFLINE"):
        return _scenes("DETR_LITE_OFFLINE is set")
    source, folder = SOURCES[WEIGHTS], cache_folder() / "photographs"
    paths = [folder / url.rsplit("/", 1)[-1] for url in PHOTOGRAPHS]
    wanted = dict(zip(PHOTOGRAPHS, paths, strict=True))
    wanted[source.url] = source.path
    missing = [url for url, path in wanted.items() if not path.exists()]
    # One photograph stands for all: they come from one place.
    if not answer_soon(missing[-2:]):
        return _scenes("no network was found, or a slow one")
    try:
        for url in missing:
            download(url, wanted[url])
        images = [read_image(path) for path in paths]
        model = load_model(WEIGHTS)
    except DetrLiteError as error:
        return _scenes(str(error))
    return Views(
        model,
        images,
        real=True,
        about=f"{len(images)} photographs of COCO and {WEIGHTS}.",
    )


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


def _scenes(reason: str) -> Views:
    split = Part(SceneSplit(VALIDATION_SEED, max(SCENES) + 1), SCENES)
    return Views(
        load_model("scenes"),
        [sample.image for sample in split],
        real=False,
        about=f"{len(split)} scenes and their weights ({reason.rstrip('.')}).",
    )
