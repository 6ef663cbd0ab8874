"""Weights that are known by name: what they are, and where they come from."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from detr_lite.errors import ConfigError, WeightsError
from detr_lite.files.download import download
from detr_lite.models import ModelConfig

BACKBONE_FILE = "backbone.safetensors"
ORIGINALS = "https://dl.fbaipublicfiles.com/detr/"


@dataclass(frozen=True)
class Source:
    """One set of weights that load_model knows by name.

    Attributes:
        name: what load_model is called with; for the original's, the name
            that the original has in torch.hub.
        file: in the package's data folder, or the end of an address.
        size: of the file, in millions of bytes.
        about: what it was trained on.
        figures: what was published of its quality.
        dilate_res5: whether it has "DC5", which its tensors do not tell.
        license: under which it may be used.
    """

    name: str
    file: str
    size: float
    about: str
    figures: str
    dilate_res5: bool | None = None
    license: str = "Apache-2.0"
    url: str | None = None

    @property
    def path(self) -> Path:
        """Where the file is, or will be once it was fetched."""
        if self.url is None:
            return data_folder() / self.file
        return downloads() / self.file


# Of each its name, file, size and figures, which are those of the paper,
# tables 1 and 5, and of the original's README.
_ORIGINALS = (
    ("detr_resnet50", "detr-r50-e632da11.pth", 167, "box AP 42.0"),
    ("detr_resnet50_dc5", "detr-r50-dc5-f0fb7ef5.pth", 167, "box AP 43.3"),
    ("detr_resnet101", "detr-r101-2c7b67e5.pth", 243, "box AP 43.5"),
    ("detr_resnet101_dc5", "detr-r101-dc5-a2e86def.pth", 243, "box AP 44.9"),
    (
        "detr_resnet50_panoptic",
        "detr-r50-panoptic-00ce5173.pth",
        172,
        "PQ 43.4, box AP 38.8",
    ),
    (
        "detr_resnet50_dc5_panoptic",
        "detr-r50-dc5-panoptic-da08f1b1.pth",
        172,
        "PQ 44.6, box AP 40.2",
    ),
    (
        "detr_resnet101_panoptic",
        "detr-r101-panoptic-40021d53.pth",
        248,
        "PQ 45.1, box AP 40.1",
    ),
)


def _original(name: str, file: str, size: float, figures: str) -> Source:
    about = "boxes: 80 classes of things, COCO train2017"
    if name.endswith("_panoptic"):
        about = "panoptic: 80 things, 53 kinds of stuff, COCO train2017"
    dilated, url = "_dc5" in name, ORIGINALS + file
    return Source(name, file, size, about, figures, dilated, url=url)


SOURCES = {
    source.name: source
    for source in (
        Source(
            "scenes",
            "scenes.safetensors",
            6.2,
            "panoptic: 8 classes of 96 x 96 scenes; `make weights`",
            "see data/MODEL_CARD.md",
        ),
        *(_original(*row) for row in _ORIGINALS),
    )
}


def source_named(name: str) -> Source | None:
    """Return the weights of a name, or None.

    Hugging Face's name of the same weights does too: for
    "detr_resnet50_dc5_panoptic", "facebook/detr-resnet-50-dc5-panoptic".
    """
    if name.startswith("facebook/"):
        name = name.removeprefix("facebook/").replace("resnet-", "resnet")
        name = name.replace("-", "_")
    return SOURCES.get(name)


def source_file(source: Source) -> Path:
    """Return the file of known weights, fetched if it is not there yet.

    It goes where torch.hub keeps such files, and is the same file: the hash
    in its name is checked each time.
    """
    if source.url is None:
        return shipped_file(source.file)
    return fetched(source.url)


def downloads() -> Path:
    """Return the folder in which torch.hub keeps weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def fetched(url: str) -> Path:
    """Return the file of an address whose name holds part of its hash.

    Not by torch.hub itself: it resumes nothing, waits forever for a silent
    server, and takes a file that is there as it is.
    """
    name = url.rsplit("/", 1)[-1]
    (prefix,) = re.findall(r"-([0-9a-f]{8,})\.", name)
    return download(url, downloads() / name, sha256=prefix)


def imagenet_file(config: ModelConfig) -> Path:
    """Return torchvision's weights for the ResNet of a configuration.

    Those that the original starts from; fetched if they are not there yet.
    ConfigError if torchvision has none for a ResNet of this shape.
    """
    from torchvision.models import get_model_weights

    shape = (config.bottleneck, config.depths, config.resnet_width)
    name = {
        (False, (2, 2, 2, 2), 64): "resnet18",
        (False, (3, 4, 6, 3), 64): "resnet34",
        (True, (3, 4, 6, 3), 64): "resnet50",
        (True, (3, 4, 23, 3), 64): "resnet101",
    }.get(shape)
    if name is None:
        raise ConfigError(
            "There are ImageNet weights for ResNet-18, 34, 50 and 101, not "
            f"for one of the depths {config.depths} and the width "
            f"{config.resnet_width}; build the model with one of these."
        )
    return fetched(get_model_weights(name).IMAGENET1K_V1.url)


@cache
def data_folder() -> Path:
    """Return the folder of shipped files: in the package, or in the clone."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "manifest.json").is_file():
            return folder
    raise WeightsError(
        "The package's data folder is missing; install detr_lite again."
    )


def shipped_file(name: str) -> Path:
    """Return a shipped file, after a look at its hash.

    name: as data/manifest.json lists it.  WeightsError if the file is not
    the one that was published.
    """
    path = data_folder() / name
    manifest = json.loads((data_folder() / "manifest.json").read_text())
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        digest = None
    if name not in manifest or digest != manifest[name]["sha256"]:
        raise WeightsError(
            f"{path} is missing or not the file that was published; "
            "install detr_lite again."
        )
    return path
