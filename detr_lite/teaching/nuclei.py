"""Nuclei of cells: a micrograph that people annotated, for chapter 7.

The package stardist (BSD-3-Clause) brings a fluorescence micrograph of
512 x 512 pixels with the outlines of 125 nuclei, made from the data of the
2018 Data Science Bowl (BBBC038, CC0).  Its two files are read where pip has
put them; its code is never imported, so that it needs none of the packages
that it would ask for.

Source: Caicedo et al., Nature Methods 16, 1247 (2019).
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from contourpy import contour_generator
from PIL import Image
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from detr_lite.boxes import xyxy_to_cxcywh
from detr_lite.data.categories import Categories, Category
from detr_lite.data.sample import Sample, flip, with_pixels
from detr_lite.errors import ConfigError
from detr_lite.inference.model import PanopticModel
from detr_lite.inference.results import Prediction
from detr_lite.models import ModelConfig
from detr_lite.panoptic import Segment
from detr_lite.targets import boxes_from_id_map
from detr_lite.training.recipes import Phase, Recipe

PINS = Path(__file__).with_name("nuclei.txt")  # what pip installs, by hash
SIDE = 96  # pixels of a crop and of a tile: what the scenes' model works on
EDGE = 384  # column: left of it is for training, right of it for measuring
NUCLEI = Categories(
    [
        Category(1, "nucleus", True, (213, 94, 0)),
        Category(2, "background", False, (0, 60, 90)),
    ]
)


@dataclass(frozen=True)
class Micrograph:
    """A micrograph and what people drew in it.

    Attributes:
        stored: (H, W) uint16, the numbers that the file holds.
        nuclei: (H, W) int32, for each pixel the number of its nucleus, or 0.
        real: whether it is the micrograph, or a drawing in its place.
        about: what it is, in a sentence.
    """

    stored: np.ndarray
    nuclei: np.ndarray
    real: bool
    about: str


def install() -> None:
    """Let pip install the package with the micrograph, unless it is there.

    A wheel of the pinned version by its hash, without what it depends on.
    Where that fails, as without a network or for a Python that has no wheel,
    micrograph() says so.
    """
    if find_spec("stardist") is not None:
        return
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
         "--only-binary", ":all:", "--require-hashes", "--retries", "1",
         "--timeout", "10", "--requirement", PINS],
        capture_output=True,
        check=False,
    )  # fmt: skip
    importlib.invalidate_caches()


def micrograph() -> Micrograph:
    """Return the micrograph; where it isn't installed, a drawing like it."""
    found = find_spec("stardist")
    if found is None:
        return _drawn()
    place = Path(found.origin).parent / "data" / "images"
    return Micrograph(
        np.array(Image.open(place / "img2d.tif")),
        np.array(Image.open(place / "mask2d.tif")).astype(np.int32),
        real=True,
        about="A micrograph of the 2018 Data Science Bowl.",
    )


def _drawn() -> Micrograph:
    """Return ellipses on a dark, noisy ground."""
    draw, side = np.random.RandomState(0), 512
    nuclei = np.zeros((side, side), np.int32)
    light = np.full((side, side), 24.0)
    y, x = np.mgrid[:side, :side]
    while nuclei.max() < 125:
        across, down = x - draw.uniform(0, side), y - draw.uniform(0, side)
        turn = draw.uniform(0, np.pi)
        along = across * np.cos(turn) + down * np.sin(turn)
        aside = down * np.cos(turn) - across * np.sin(turn)
        inside = np.hypot(
            along / draw.uniform(9, 14), aside / draw.uniform(8, 12)
        )
        if not nuclei[inside < 1.1].any():
            nuclei[inside < 1] = nuclei.max() + 1
            light[inside < 1] = draw.uniform(45, 120)
    light += draw.normal(0, 3, light.shape)
    return Micrograph(
        light.clip(0).astype(np.uint16),
        nuclei,
        real=False,
        about="A drawing, because the package stardist is not installed: it "
        "has no wheel for this Python, or there was no network.",
    )


def visible(stored: np.ndarray, brightest: float = 99.8) -> Tensor:
    """Return a micrograph's numbers as an image, (3, H, W) uint8.

    The camera counts light, so most numbers are small.  The percentile
    `brightest` becomes white, and a power below 1 lifts what is dark.
    """
    light = stored / np.percentile(stored, brightest)
    gray = (light.clip(0, 1) ** 0.6 * 255).astype(np.uint8)
    return torch.from_numpy(gray)[None].repeat(3, 1, 1)


def panoptic_sample(image: Tensor, nuclei: np.ndarray) -> Sample:
    """Return a sample: each nucleus a thing, what lies between them stuff.

    image: (3, H, W) uint8; nuclei: as in Micrograph.
    """
    background = int(nuclei.max()) + 1
    id_map = torch.from_numpy(np.where(nuclei == 0, background, nuclei))
    ids = id_map.unique().long()
    return Sample(
        image=image,
        id_map=id_map.int(),
        segment_ids=ids,
        labels=(ids == background).long(),
        crowd=torch.zeros(len(ids), dtype=torch.bool),
        image_id=1,
        name="micrograph",
    )


class Samples(list[Sample]):
    """Samples in a list, and the classes that their labels count.

    Attributes:
        fingerprint: that of the split which they are all samples of, or
            None; a run that is resumed compares it.
    """

    def __init__(self, samples: Iterable[Sample], categories: Categories):
        super().__init__(samples)
        self.categories = categories
        self.fingerprint = getattr(samples, "fingerprint", None)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each image."""
        return [tuple(s.id_map.shape) for s in self]

    @property
    def segment_counts(self) -> list[int]:
        """The number of segments of each image."""
        return [len(s.segment_ids) for s in self]


def cut(sample: Sample, top: int, left: int, height: int, width: int):
    """Return a rectangle of a sample, with the segments that reach into it."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    return with_pixels(
        sample,
        sample.image[:, rows, columns].contiguous(),
        sample.id_map[rows, columns].contiguous(),
    )


def tiles(samples: Iterable[Sample], side: int = SIDE) -> list[Sample]:
    """Return squares of samples that don't overlap, as many as fit.

    They lie in the middle of each image, are named after it and their place,
    and numbered from 1.
    """
    found: list[Sample] = []
    for sample in samples:
        height, width = sample.id_map.shape
        top, left = height % side // 2, width % side // 2
        for y in range(top, height - side + 1, side):
            for x in range(left, width - side + 1, side):
                name = f"{sample.name}_{y}_{x}"
                tile = cut(sample, y, x, side, side)
                number = len(found) + 1
                found.append(replace(tile, image_id=number, name=name))
    return found


def turned(sample: Sample, generator: torch.Generator) -> Sample:
    """Return the sample mirrored, turned by quarters and lit at random.

    Cells have no up and down, and microscopes no fixed brightness.  The
    sample follows from the generator alone.
    """
    quarters = int(torch.randint(4, (), generator=generator))
    gain = 0.7 + 0.6 * float(torch.rand((), generator=generator))
    image = torch.rot90(sample.image, quarters, (1, 2))
    changed = with_pixels(
        sample,
        (image * gain).clamp(0, 255).byte().contiguous(),
        torch.rot90(sample.id_map, quarters, (0, 1)).contiguous(),
    )
    if torch.rand((), generator=generator) < 0.5:
        return flip(changed)
    return changed


def random_crop(
    sample: Sample,
    generator: torch.Generator,
    side: int = SIDE,
    turn: bool = True,
) -> Sample:
    """Return a square of a large sample: a transform for train.

    turn: also as in `turned`.
    """
    top, left = (
        int(torch.randint(length - side + 1, (), generator=generator))
        for length in sample.id_map.shape
    )
    square = cut(sample, top, left, side, side)
    return turned(square, generator) if turn else square


def nuclei_splits(whole: Sample) -> tuple[Samples, Samples]:
    """Return what to train on, and the tiles to measure on.

    The left three quarters are one large sample, of which random_crop takes
    squares; the tiles are of the right quarter.
    """
    height, width = whole.id_map.shape
    left = cut(whole, 0, 0, height, EDGE)
    right = cut(whole, 0, EDGE, height, width - EDGE)
    return Samples([left], NUCLEI), Samples(tiles([right]), NUCLEI)


def nuclei_recipe(
    config: ModelConfig,
    no_object_weight: float = 0.5,
    seed: int = 0,
    times: int = 1,
) -> Recipe:
    """Return the recipe for one micrograph, boxes before masks.

    times: how many times as many steps as usual.
    """
    return Recipe(
        phases=(
            Phase("boxes", steps=400 * times, batch_size=16, lr=1e-3),
            Phase("masks", 150 * times, batch_size=8, lr=3e-3, clip=1.0),
        ),
        model=config,
        no_object_weight=no_object_weight,
        seed=seed,
    )


def export_polygons(samples: dict[str, Sample], folder: Path) -> None:
    """Write images and the polygons of their nuclei, as labeling tools do.

    FOLDER/images/<name>.png, and FOLDER/instances.json in COCO's format of
    instances.  What lies between the nuclei is in no polygon.

    samples: by the names of their images.
    """
    (folder / "images").mkdir(parents=True)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    for number, (name, sample) in enumerate(samples.items(), 1):
        height, width = sample.id_map.shape
        file = f"{name}.png"
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / "images" / file)
        content["images"].append(
            {"id": number, "file_name": file, "width": width, "height": height}
        )
        for segment in sample.segment_ids[sample.labels == 0].tolist():
            outlines = _polygons((sample.id_map == segment).numpy())
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": outlines,
                }
            )
    (folder / "instances.json").write_text(json.dumps(content))


def _polygons(mask: np.ndarray) -> list[list[float]]:
    """Return the outlines of a mask: x, y, x, y, ... each, in pixels."""
    padded = np.pad(mask, 1).astype(float)
    lines = contour_generator(z=padded).lines(0.5)
    # A pixel's middle lies half a pixel from its corner, and one from the
    # padding's.
    return [(line - 0.5).clip(0).round(2).ravel().tolist() for line in lines]


def predict_in_tiles(
    model: PanopticModel, image: Tensor, side: int = SIDE, **options
) -> Prediction:
    """Return what a model finds in a large image, tile by tile.

    The tiles cover the image; the last of a row or a column reaches over
    its neighbor, whose place it takes.  Two pieces of a class that meet at a
    seam, along most of the longer edge that they have there, become one
    segment, and so do all pieces of a class of stuff.

    image: (3, H, W) uint8, as read_image returns it; options: of
    predict_each.
    """
    _, height, width = image.shape
    tops, lefts = _starts(height, side), _starts(width, side)
    places = [(top, left) for top in tops for left in lefts]
    parts = [image[:, y : y + side, x : x + side] for y, x in places]
    id_map = torch.zeros(height, width, dtype=torch.int32)
    pieces: list[Segment] = []
    results = dict(model.predict_each(parts, **options))
    for place, (top, left) in enumerate(places):
        found = results[place]
        if found.id_map is None:
            raise ConfigError("The model makes no masks to put together.")
        most = max((s.id for s in found.segments), default=0)
        numbers = torch.zeros(most + 1, dtype=torch.int32)
        for segment in found.segments:
            pieces.append(segment)
            numbers[segment.id] = len(pieces)
        part = numbers[found.id_map.long()]
        id_map[top : top + side, left : left + side] = part
    one_with = _joined(id_map, pieces, tops, lefts, model.categories)
    id_map, segments = _numbered(one_with[id_map.long()], pieces)
    return Prediction(image, id_map, segments, model.categories, None)


def _starts(length: int, side: int) -> list[int]:
    """Return where tiles begin that cover a length."""
    last = max(length - side, 0)
    return [*range(0, last, side), last]


def _joined(
    id_map: Tensor,
    pieces: Sequence[Segment],
    tops: Sequence[int],
    lefts: Sequence[int],
    categories: Categories,
) -> Tensor:
    """Return for each piece's number, and 0, the least that it is one with.

    id_map: (H, W), of the numbers of pieces, from 1.
    """
    joined = np.eye(len(pieces) + 1, dtype=bool)
    first: dict[int, int] = {}  # pieces of stuff, by class
    for number, piece in enumerate(pieces, 1):
        if not categories[piece.label].isthing:
            joined[first.setdefault(piece.label, number), number] = True
    seams = [(id_map[y - 1], id_map[y]) for y in tops[1:]]
    seams += [(id_map[:, x - 1], id_map[:, x]) for x in lefts[1:]]
    for before, after in seams:
        pairs, counts = torch.stack([before, after]).unique(
            dim=1, return_counts=True
        )
        rows = zip(pairs.T.tolist(), counts.tolist(), strict=True)
        for (a, b), count in rows:
            if not a or not b or pieces[a - 1].label != pieces[b - 1].label:
                continue
            longer = max(int((before == a).sum()), int((after == b).sum()))
            if 2 * count > longer:
                joined[a, b] = True
    _, groups = connected_components(joined, directed=False)
    _, least = np.unique(groups, return_index=True)
    return torch.from_numpy(least[groups])


def _numbered(
    id_map: Tensor, pieces: Sequence[Segment]
) -> tuple[Tensor, tuple[Segment, ...]]:
    """Return an id map numbered from 1, and its segments.

    Of a segment in several pieces the score is the first one's.
    """
    left = [n for n in id_map.unique().tolist() if n]
    numbers = torch.zeros(len(pieces) + 1, dtype=torch.int32)
    numbers[left] = torch.arange(1, len(left) + 1, dtype=torch.int32)
    id_map = numbers[id_map.long()]
    height, width = id_map.shape
    areas = id_map.flatten().bincount(minlength=len(left) + 1).tolist()
    boxes = boxes_from_id_map(id_map, torch.arange(1, len(left) + 1))
    boxes = xyxy_to_cxcywh(boxes / torch.tensor([width, height] * 2))
    found = enumerate(zip(left, boxes.tolist(), strict=True), 1)
    segments = tuple(
        replace(pieces[n - 1], id=number, area=areas[number], box=tuple(box))
        for number, (n, box) in found
    )
    return id_map, segments
