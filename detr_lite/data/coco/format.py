"""What COCO's panoptic format asks of a data set: read, and checked.

Problems are sentences, found in one place: the data set raises the first
one, `detr-lite check` lists them all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from detr_lite.data.categories import Categories
from detr_lite.data.images import open_image, read_image, read_orientation
from detr_lite.data.sample import Sample
from detr_lite.errors import DataError, ImageError
from detr_lite.files.output import expanded
from detr_lite.files.records import (
    CategoryId,
    Flag,
    ImageId,
    SegmentId,
    Side,
    Text,
    checked,
    faults,
    read_json,
)


class Files(NamedTuple):
    """Where a data set's JSON, images and PNGs are."""

    annotations: Path
    images: Path
    panoptic: Path


class Entry(NamedTuple):
    """What the JSON says of one image, without any problem.

    segments: (T, 3) int32, for each segment its id, label and crowd flag;
    told: (T, 5) float, for each its bbox and its area, NaN where there is
    none, infinite where it is no such; nothing but `check` looks at them;
    size: (H, W), or None where the JSON does not say.
    """

    image_id: int | str
    file_name: str
    png_name: str
    size: tuple[int, int] | None
    segments: np.ndarray
    told: np.ndarray


def find_files(folder: str | Path, split: str | None = None) -> Files:
    """Return a data folder's files, in our layout or in COCO's own.

    Ours is panoptic.json, images/ and panoptic/.  COCO's is, for a split
    like val2017, annotations/panoptic_val2017.json, the folder
    annotations/panoptic_val2017/ and val2017/; a folder with one split
    needs no name of it.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}; make one with "
            f"`detr-lite scenes --out {folder}`."
        )
    ours = Files(
        folder / "panoptic.json", folder / "images", folder / "panoptic"
    )
    splits = splits_in(folder)
    if split is None:
        if ours.annotations.exists() or not splits:
            return ours
        if len(splits) > 1:
            raise DataError(
                f"{folder} holds the splits {', '.join(splits)}; say which."
            )
        split = splits[0]
    elif split not in splits:
        raise DataError(
            f"{folder} has no annotations/panoptic_{split}.json; its splits "
            f"are: {', '.join(splits) or 'none'}."
        )
    annotations = folder / "annotations"
    return Files(
        annotations / f"panoptic_{split}.json",
        folder / split,
        annotations / f"panoptic_{split}",
    )


def splits_in(folder: str | Path) -> list[str]:
    """Return the names of the splits of a folder in COCO's own layout."""
    found = expanded(folder).glob("annotations/panoptic_*.json")
    return sorted(path.stem.removeprefix("panoptic_") for path in found)


def read_content(path: Path) -> dict[str, Any]:
    """Return the JSON, with its three lists; DataError if it is no such."""
    return read_lists(
        path,
        ("images", "annotations", "categories"),
        "this is not COCO's panoptic format",
        "a data folder holds panoptic.json, images/ and panoptic/",
    )


def read_lists(
    path: Path, keys: Sequence[str], otherwise: str, hint: str = ""
) -> dict[str, Any]:
    """Return what a JSON holds, at least a list for each key.

    otherwise: what DataError says of a file that lacks one; hint: as for
    read_json.
    """
    content = read_json(path, hint=hint)
    for key in keys:
        if not isinstance(content, dict) or not isinstance(
            content.get(key), list
        ):
            raise DataError(f'{path} has no list "{key}"; {otherwise}.')
    return content


@dataclass(slots=True)
class ListedImage:
    """What a JSON says of one image."""

    id: ImageId
    file_name: Text
    width: Side | None = None
    height: Side | None = None


@dataclass(slots=True)
class _Segment:
    id: SegmentId
    category_id: CategoryId
    iscrowd: Flag = False
    bbox: Any = None
    area: Any = None


@dataclass(slots=True)
class _Annotation:
    image_id: ImageId
    file_name: Text
    segments_info: list[_Segment]


def read_entries(
    content: dict, categories: Categories, files: Files
) -> Iterator[Entry | str]:
    """Yield an Entry for each image that is in order, else its problems."""
    path = files.annotations
    images: dict[str, ListedImage] = {}
    for raw in content["images"]:
        what = f"image {_of(raw, 'file_name')}"
        image, problems = _read(ListedImage, raw, path, what)
        if image and str(image.id) in images:
            problems = [f"{path} lists image {image.id} twice; keep one."]
        elif image:
            images[str(image.id)] = image
        yield from problems
    annotations: dict[str, _Annotation | None] = {}
    broken = set()
    for raw in content["annotations"]:
        number = str(_of(raw, "image_id"))  # of some files a text
        name = images[number].file_name if number in images else number
        what = f"{_ANNOTATION}image {name}"
        annotation, problems = _read(_Annotation, raw, path, what)
        if number in annotations:
            problems = [f"{path} annotates image {number} twice; keep one."]
        elif number in images:
            annotations[number] = annotation
            broken |= {number} if problems else set()
        elif not problems:
            problems = [
                f"{path} annotates image {number}, which is not among its "
                "images; add or remove it."
            ]
        yield from problems
    there = _names_in(files.images), _names_in(files.panoptic)
    for number, image in images.items():
        if number not in annotations:
            yield (
                f"{path} has no annotation for image {number} "
                f"({image.file_name}); add one or remove the image."
            )
        elif annotation := annotations[number]:
            problems = [
                *_missing_files(image, annotation, files, there),
                *_segment_problems(image, annotation, categories, path),
            ]
            if number not in broken and not problems:
                yield _entry(image, annotation, categories)
            yield from problems
    if not content["images"]:
        yield f"{path} lists no image; there is no data."


def _of(raw, key: str):
    """Return what an entry of the JSON, if it is one, has for the key."""
    return raw.get(key) if isinstance(raw, dict) else None


_ANNOTATION = "the annotation of "


def _read(kind: type, raw, path: Path, what: str) -> tuple[Any, list[str]]:
    """Return an entry of the JSON, or None, and what is wrong with it.

    Where that is some of its segments, the entry has the others.
    """
    try:
        return checked(kind, raw), []
    except ValidationError as error:
        what = " ".join(what.split())  # the file's own words, on one line
        problems, bad = [], set()
        for place, wrong in faults(error):
            where = what
            if len(place) > 1:  # segments_info, number, key
                bad.add(place[1])
                segment = raw[place[0]][place[1]]
                image = what.removeprefix(_ANNOTATION)
                where = f"segment {_of(segment, 'id')} of {image}"
                place = place[2:]
            key = f' "{place[0]}"' if place else ""
            problems.append(f"{path}: {where}:{key} {wrong}; correct that.")
    if not bad:
        return None, problems
    segments = enumerate(raw["segments_info"])
    good = {"segments_info": [s for i, s in segments if i not in bad]}
    return _read(kind, raw | good, path, what)[0], problems


def _entry(
    image: ListedImage, annotation: _Annotation, categories: Categories
) -> Entry:
    segments = annotation.segments_info
    rows = [
        (s.id, categories.label(s.category_id), s.iscrowd) for s in segments
    ]
    size = None
    if image.width and image.height:
        size = image.height, image.width
    return Entry(
        image.id,
        image.file_name,
        annotation.file_name,
        size,
        np.array(rows, np.int32).reshape(-1, 3),
        np.array([_told(s) for s in segments]).reshape(-1, 5),
    )


def _told(segment: _Segment) -> list[float]:
    """Return bbox and area: NaN if they aren't there, infinite if no such."""
    told: list[float] = []
    for value, count in ((segment.bbox, 4), (segment.area, 1)):
        try:
            numbers = [float(n) for n in (value if count == 4 else [value])]
        except (TypeError, ValueError, OverflowError):
            numbers = [np.nan if value is None else np.inf] * count
        told += numbers if len(numbers) == count else [np.inf] * count
    return told


def _names_in(folder: Path) -> set[str]:
    """List a folder once: quicker than to ask for each of its files."""
    try:
        return {p.name for p in folder.iterdir()}
    except OSError:
        return set()


def _missing_files(
    image: ListedImage,
    annotation: _Annotation,
    files: Files,
    there: tuple[set, set],
) -> Iterator[str]:
    wanted = image.file_name, annotation.file_name
    for file, folder, names in zip(wanted, files[1:], there, strict=True):
        if file in names:
            continue
        if leads_out(file):
            yield (
                f"{files.annotations} lists {file}, which leads out of "
                f"{folder}; name a file in it."
            )
        elif not is_file(folder / file):
            yield (
                f"{folder / file} is missing, though {files.annotations} "
                "lists it; add the file or remove its entry."
            )


def leads_out(file_name: str) -> bool:
    """Return whether a name in a data set may leave the folder it is for."""
    path = Path(file_name)
    return bool(path.anchor) or ".." in path.parts


def is_file(path: Path) -> bool:
    """Return whether there is such a file, whatever the path is."""
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long for any file
        return False


def _segment_problems(
    image: ListedImage,
    annotation: _Annotation,
    categories: Categories,
    path: Path,
) -> Iterator[str]:
    seen = set()
    for segment in annotation.segments_info:
        where = f"{path}: segment {segment.id} of image {image.file_name}"
        if segment.id in seen:
            yield f"{where} is listed twice; ids are unique."
        seen.add(segment.id)
        try:
            categories.label(segment.category_id)
        except DataError as error:
            yield f"{where}: {error}"


def ids_to_rgb(id_map: Tensor) -> np.ndarray:
    """Return segment ids as colors: id = R + 256 G + 256^2 B.

    id_map: (H, W) integers below 2^24.  Returns (H, W, 3) uint8.
    """
    # The lowest three of a number's four bytes; red is the lowest.
    numbers = np.ascontiguousarray(id_map.numpy(), "<i4")
    return numbers[..., None].view(np.uint8)[..., :3].copy()


def rgb_to_ids(rgb: np.ndarray) -> Tensor:
    """Return the segment ids of colors, (H, W) int32.

    rgb: (H, W, 3) uint8, or (H, W, 4), of which the last does not count.
    """
    if rgb.shape[2] == 3:
        rgb = np.pad(rgb, ((0, 0), (0, 0), (0, 1)))
    # Four bytes read as one number; red is the lowest.
    numbers = np.ascontiguousarray(rgb).view("<u4")[..., 0] & 0xFFFFFF
    return torch.from_numpy(numbers.view(np.int32))


def read_ids(path: Path) -> Tensor:
    """Return the segment ids of a panoptic PNG, (H, W) int32.

    ImageError if the file cannot be read or is no image in colors.
    """
    with open_image(path) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise ImageError(
                f"{path} is a gray image (mode {image.mode}); a panoptic "
                "PNG is RGB, where id = R + 256 G + 256^2 B."
            )
        if image.mode != "RGB":
            image = image.convert("RGB")
        # Pillow keeps four bytes a pixel, and is quickest to give them so.
        pixels = image.tobytes("raw", "RGBX")
        size = image.height, image.width, 4
    return rgb_to_ids(np.frombuffer(pixels, np.uint8).reshape(size))


def read_sample(
    entry: Entry, files: Files, upright: bool = True
) -> tuple[Sample | None, list[str]]:
    """Return the sample of an entry, if it can be read, and its problems.

    upright: whether an image is turned as its orientation tag says.
    """
    png = files.panoptic / entry.png_name
    try:
        image = read_image(files.images / entry.file_name, upright)
        id_map = read_ids(png)
    except ImageError as error:
        return None, [str(error)]
    ids, labels, crowd = entry.segments.T
    sample = Sample(
        image=image,
        id_map=id_map,
        segment_ids=torch.from_numpy(ids.astype(np.int64)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        crowd=torch.from_numpy(crowd.astype(bool)),
        image_id=entry.image_id,
        name=Path(entry.file_name).stem,
    )
    drawn = set(sample.drawn[0].tolist()) - {0}
    listed = set(ids.tolist())
    problems = [
        *_size_problems(entry, files, image, id_map),
        *(
            f"{png} has no pixel of segment {number}, which "
            f"{files.annotations} lists; remove the segment from the JSON."
            for number in sorted(listed - drawn)
        ),
        *(
            f"{png} shows segment {number}, which {files.annotations} "
            "does not list; add it to the JSON."
            for number in sorted(drawn - listed)
        ),
    ]
    return sample, problems


def _size_problems(
    entry: Entry, files: Files, image: Tensor, id_map: Tensor
) -> Iterator[str]:
    (height, width), (h, w) = image.shape[1:], id_map.shape
    path = files.images / entry.file_name
    turn = ""
    if (width, height) in (entry.size, (h, w)) and read_orientation(path) > 4:
        turn = (
            "; the image's orientation tag turns it on its side, and "
            "--as-stored reads it unturned"
        )
    if (h, w) != (height, width):
        yield (
            f"{files.panoptic / entry.png_name} has {w} x {h} pixels but "
            f"its image {entry.file_name} has {width} x {height}; they "
            f"must be of one size{turn}."
        )
    if entry.size not in (None, (height, width)):
        yield (
            f"{path} has {width} x {height} pixels "
            f"but {files.annotations} says {entry.size[1]} x "
            f"{entry.size[0]}; correct the JSON{turn}."
        )
