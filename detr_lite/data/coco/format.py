"""What COCO's panoptic format asks of a data set: read, and checked.

Problems are sentences, found in one place: the data set raises the first
one, `detr-lite check` lists them all.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detr_lite.data.categories import Categories, Category
from detr_lite.data.images import open_image, read_image
from detr_lite.data.sample import Sample
from detr_lite.errors import DataError, ImageError


class Files(NamedTuple):
    """Where a data set's JSON, pictures and PNGs are."""

    annotations: Path
    images: Path
    panoptic: Path


class Entry(NamedTuple):
    """What the JSON says of one picture, without any problem.

    segments: (T, 3) int32, for each segment its id, label and crowd flag;
    size: (H, W), or None where the JSON does not say.
    """

    image_id: int
    file_name: str
    png_name: str
    size: tuple[int, int] | None
    segments: np.ndarray


def find_files(folder: str | Path, split: str | None = None) -> Files:
    """Return a data folder's files, in our layout or in COCO's own.

    Ours is panoptic.json, images/ and panoptic/.  COCO's is, for a split
    like val2017, annotations/panoptic_val2017.json, the folder
    annotations/panoptic_val2017/ and val2017/; a folder with one split
    needs no name of it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}; make one with "
            f"`detr-lite scenes --out {folder}`."
        )
    ours = Files(
        folder / "panoptic.json", folder / "images", folder / "panoptic"
    )
    found = sorted((folder / "annotations").glob("panoptic_*.json"))
    splits = [path.stem.removeprefix("panoptic_") for path in found]
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


def read_json(path: Path) -> dict:
    """Return the JSON, with its three lists; DataError if it is no such."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); a data folder holds "
            "panoptic.json, images/ and panoptic/."
        ) from None
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); write it again."
        ) from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(
            content.get(key), list
        ):
            raise DataError(
                f'{path} has no list "{key}"; '
                "this is not COCO's panoptic format."
            )
    return content


def read_categories(content: dict, path: Path) -> Categories:
    """Return the classes that the JSON lists."""
    try:
        return Categories(
            [
                Category(
                    c["id"],
                    c["name"],
                    bool(c["isthing"]),
                    tuple(c.get("color", (128, 128, 128))),
                )
                for c in content["categories"]
            ]
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: a category cannot be read ({error}); each needs id, "
            "name and isthing, and color, if given, is three numbers."
        ) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_entries(
    content: dict, categories: Categories, files: Files
) -> Iterator[Entry | str]:
    """Yield an Entry for each picture that is in order, else its problems."""
    path = files.annotations
    annotations: dict[int, dict] = {}
    for annotation in content["annotations"]:
        kinds = {"image_id": int, "file_name": str, "segments_info": list}
        if wrong := _lacks(annotation, kinds, "an annotation"):
            yield f"{path}: {wrong}"
        elif annotation["image_id"] in annotations:
            yield (
                f"{path} annotates image {annotation['image_id']} twice; "
                "keep one."
            )
        else:
            annotations[annotation["image_id"]] = annotation
    there = _names_in(files.images), _names_in(files.panoptic)
    seen = set()
    for image in content["images"]:
        if wrong := _lacks(image, {"id": int, "file_name": str}, "an image"):
            yield f"{path}: {wrong}"
            continue
        if image["id"] in seen:
            yield f"{path} lists image {image['id']} twice; keep one."
            continue
        seen.add(image["id"])
        annotation = annotations.pop(image["id"], None)
        if annotation is None:
            yield (
                f"{path} has no annotation for image {image['id']} "
                f"({image['file_name']}); add one or remove the image."
            )
            continue
        problems = [
            *_missing_files(image, annotation, files, there),
            *_segment_problems(image, annotation, categories, path),
        ]
        yield from problems or [_entry(image, annotation, categories)]
    for number in annotations:
        yield (
            f"{path} annotates image {number}, which is not among its "
            "images; add or remove it."
        )
    if not seen:
        yield f"{path} lists no image; there is no data."


def _entry(image: dict, annotation: dict, categories: Categories) -> Entry:
    rows = [
        (
            s["id"],
            categories.label(s["category_id"]),
            bool(s.get("iscrowd", 0)),
        )
        for s in annotation["segments_info"]
    ]
    size = None
    if "width" in image and "height" in image:
        size = image["height"], image["width"]
    return Entry(
        image["id"],
        image["file_name"],
        annotation["file_name"],
        size,
        np.array(rows, np.int32).reshape(-1, 3),
    )


def _lacks(item, kinds: dict[str, type], what: str) -> str | None:
    """Return what is wrong with an entry of the JSON, if anything."""
    for key, kind in kinds.items():
        value = item.get(key) if isinstance(item, dict) else None
        if not isinstance(value, kind):
            return (
                f'{what} has no "{key}", or a wrong one; '
                "this is not COCO's panoptic format."
            )
    return None


def _names_in(folder: Path) -> set[str]:
    """List a folder once: quicker than to ask for each of its files."""
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def _missing_files(
    image: dict, annotation: dict, files: Files, there: tuple[set, set]
) -> Iterator[str]:
    wanted = image["file_name"], annotation["file_name"]
    for file, folder, names in zip(wanted, files[1:], there, strict=True):
        if file not in names and not (folder / file).is_file():
            yield (
                f"{folder / file} is missing, though {files.annotations} "
                "lists it; add the file or remove its entry."
            )


def _segment_problems(
    image: dict, annotation: dict, categories: Categories, path: Path
) -> Iterator[str]:
    picture = image["file_name"]
    sides = [image.get(side, 1) for side in ("width", "height")]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        yield (
            f"{path}: image {picture} has the size {sides[0]} x {sides[1]}; "
            "width and height are whole numbers."
        )
        return
    seen = set()
    for segment in annotation["segments_info"]:
        name = segment.get("id") if isinstance(segment, dict) else None
        where = f"{path}: segment {name} of image {picture}"
        if not isinstance(name, int) or not 0 < name < 2**24:
            yield (
                f"{where}: an id must be a whole number from 1 to "
                f"{2**24 - 1}, because a PNG color holds it."
            )
            continue
        if name in seen:
            yield f"{where} is listed twice; ids are unique."
        seen.add(name)
        what = f"segment {name} of image {picture}"
        if wrong := _lacks(segment, {"category_id": int}, what):
            yield f"{path}: {wrong}"
            continue
        try:
            categories.label(segment["category_id"])
        except DataError as error:
            yield f"{where}: {error}"
        if "bbox" in segment and (wrong := _wrong_box(segment, image)):
            yield f"{where} {wrong}"


def _wrong_box(segment: dict, image: dict) -> str | None:
    """Return what is wrong with a segment's box, if anything."""
    box = segment["bbox"]
    try:
        x, y, w, h = (float(side) for side in box)
    except (TypeError, ValueError):
        return f"has the box {box}; a box is the numbers x, y, width, height."
    width, height = image.get("width", np.inf), image.get("height", np.inf)
    if min(x, y, w, h) < 0 or x + w > width or y + h > height:
        return (
            f"has the box {box}, which leaves the picture of "
            f"{width} x {height} pixels; correct it."
        )
    return None


def ids_to_rgb(id_map: Tensor) -> np.ndarray:
    """Return segment ids as colors: id = R + 256 G + 256^2 B.

    id_map: (H, W) integers below 2^24.  Returns (H, W, 3) uint8.
    """
    ids = id_map.numpy().astype(np.int64)
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(
        np.uint8
    )


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

    ImageError if the file cannot be read or is no picture in colors.
    """
    with open_image(path) as image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise ImageError(
                f"{path} is a gray picture (mode {image.mode}); a panoptic "
                "PNG is RGB, where id = R + 256 G + 256^2 B."
            )
        if image.mode != "RGB":
            image = image.convert("RGB")
        # Pillow keeps four bytes a pixel, and is quickest to give them so.
        pixels = image.tobytes("raw", "RGBX")
        size = image.height, image.width, 4
    return rgb_to_ids(np.frombuffer(pixels, np.uint8).reshape(size))


def read_sample(entry: Entry, files: Files) -> tuple[Sample | None, list[str]]:
    """Return the sample of an entry, if it can be read, and its problems."""
    png = files.panoptic / entry.png_name
    try:
        image = read_image(files.images / entry.file_name)
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
    if (h, w) != (height, width):
        yield (
            f"{files.panoptic / entry.png_name} has {w} x {h} pixels but "
            f"its picture {entry.file_name} has {width} x {height}; they "
            "must be of one size."
        )
    if entry.size not in (None, (height, width)):
        yield (
            f"{files.images / entry.file_name} has {width} x {height} pixels "
            f"but {files.annotations} says {entry.size[1]} x "
            f"{entry.size[0]}; correct the JSON."
        )
