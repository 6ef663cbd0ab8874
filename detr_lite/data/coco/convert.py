"""From instances and semantic masks to a COCO panoptic data set.

Things come from a JSON of instances, stuff from one label image an image, or
from outlines in the same JSON; what neither covers is void, or the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, ValidationError

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import (
    ListedImage,
    is_file,
    leads_out,
    read_lists,
)
from detr_lite.data.coco.outlines import (
    checked_runs,
    mask_of,
    runs_of_polygons,
)
from detr_lite.data.coco.writer import PanopticWriter
from detr_lite.data.images import images_in, open_image, read_image
from detr_lite.errors import ConfigError, DataError, ImageError, Problems
from detr_lite.files.output import staged
from detr_lite.files.records import (
    CategoryId,
    Flag,
    ImageId,
    checked,
    read_json,
    said,
)


def _outline(value: Any) -> Any:
    if not isinstance(value, list | dict):
        raise ValueError("should be polygons or run lengths")
    return value


@dataclass(slots=True)
class Instance:
    """What a JSON of instances says of one thing, or one region of stuff."""

    image_id: ImageId
    category_id: CategoryId
    segmentation: Annotated[Any, AfterValidator(_outline)]
    iscrowd: Flag = False
    id: Any = None


def convert(
    instances: str | Path | None,
    semantic: str | Path | None,
    images: str | Path,
    classes: str | Path,
    out: str | Path,
    progress: Callable[[Sequence[ListedImage]], Iterable[ListedImage]] = iter,
    rest: int | None = None,
) -> int:
    """Write a data set in our layout; return how many images it has.

    Where instances overlap, the smaller one is on top: a tie lies before
    its person.  Instances of a stuff class are regions of it: they lie on
    the label image and below all things and crowds, and those of one class
    are one segment.  All of it is written, or nothing.

    Args:
        instances: a JSON of COCO's instances: polygons or run lengths.
            None: there are no things, and each image of the folder counts.
        semantic: a folder of label images, <stem>.png for each image: one
            byte (or 16 bits) a pixel, the category id; ids that are no
            stuff class count as void, but not all of all images.  None:
            there is no stuff.
        images: the folder of the images.
        classes: a JSON list of the categories: id, name, isthing, color.
        out: the folder to make.
        progress: wraps the images.
        rest: the id of the stuff class that all other pixels are (default:
            they are void).

    Problems lists each file and each entry that cannot be used; DataError or
    ImageError says why nothing more can be said.
    """
    if instances is None and semantic is None:
        raise ConfigError(
            "Name instances, semantic masks or both; without them there is "
            "nothing to convert."
        )
    classes, images = Path(classes), Path(images)
    categories = Categories.read(read_json(classes), str(classes))
    if rest is not None and categories[categories.label(rest)].isthing:
        raise ConfigError(
            f"The rest is category id {rest}, a thing in {classes}; name an "
            "id of stuff."
        )
    if not images.is_dir():
        raise DataError(
            f"There is no folder {images}; name that of the images."
        )
    problems: list[str] = []
    entries: list[ListedImage] = []
    things: dict[str, list[Instance]] = {}
    if instances is None:
        source = images
        for number, path in enumerate(images_in(images), 1):
            with _collected(problems):
                raw = {"id": number, "file_name": path.name}
                entries.append(_checked(ListedImage, raw, str(path)))
    else:
        source = Path(instances)
        entries, things = _read(source, categories, problems)
    _look_for_images(entries, images, source)
    with staged(out, "convert", new=True) as stage:
        (stage / "images").mkdir()
        writer = PanopticWriter(stage, categories)
        ids = [c.id for c in categories if not c.isthing]
        empty = semantic is not None
        for entry in progress(entries):
            path = located(images, entry.file_name)
            with _collected(problems):
                if not is_file(path):
                    raise DataError(
                        f"{source} lists {entry.file_name}, but there is no "
                        f"file {path}; add it or remove its entry."
                    )
                height, width = read_image(path).shape[1:]
                size = (height, width)
                _compare(entry, size, path, source)
                stuff = np.full(size, -1 if rest is None else rest, np.int32)
                if semantic is not None:
                    labels = Path(semantic) / f"{path.stem}.png"
                    labeled = _labels(labels, size)
                    known = np.isin(labeled, ids)
                    empty = empty and not known.any()
                    stuff[known] = labeled[known]
                outlines = []
                for thing in things.get(str(entry.id), []):
                    with _collected(problems):
                        runs = _runs(thing, size, entry, source)
                        outlines.append((runs, thing))
                segments = merge(stuff, outlines, categories)
                writer.add(entry.id, path.stem, *segments, path.name)
                with open_image(path):
                    content = path.read_bytes()
                (stage / "images" / path.name).write_bytes(content)
        if problems:
            raise Problems(problems)
        if empty:
            raise DataError(
                f"No label image in {semantic} has a pixel of a stuff class "
                f"of {classes}; its numbers must be their ids."
            )
        writer.close()
    return len(entries)


def located(images: Path, file_name: str) -> Path:
    """Return the path of an image that an export names.

    Labeling tools put folders of their own before the name, of any system;
    where no such file is, the name alone counts.  No name leads out of the
    folder of the images.
    """
    path = images / file_name
    if not leads_out(file_name) and is_file(path):
        return path
    # Windows separates by both kinds of slashes.
    return images / PureWindowsPath(file_name).name


def _look_for_images(
    entries: Sequence[ListedImage], images: Path, source: Path
) -> None:
    """Raise DataError if no image is there, or two have one name."""
    paths = [located(images, entry.file_name) for entry in entries]
    if len(paths) > 1 and not any(map(is_file, paths)):
        raise DataError(
            f"None of the {len(paths)} images that {source} lists, like "
            f"{entries[0].file_name}, is in {images}; name the folder of "
            "the images that were labeled, or the JSON that belongs to it."
        )
    names: dict[str, str] = {}
    for path, entry in zip(paths, entries, strict=True):
        if path.stem in names:
            raise DataError(
                f"{names[path.stem]} and {entry.file_name} of {source} would "
                f"both be written as {path.stem}.png; rename one."
            )
        names[path.stem] = entry.file_name


def _compare(
    entry: ListedImage, size: tuple[int, int], path: Path, source: Path
) -> None:
    """Raise DataError if an image isn't of the size that was labeled."""
    labeled = (entry.height or size[0], entry.width or size[1])
    if labeled != size:
        raise DataError(
            f"{path} has {size[1]} x {size[0]} pixels, upright, and {source} "
            f"was made on {labeled[1]} x {labeled[0]}; use the images that "
            "were labeled, or correct their sizes and outlines there."
        )


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    """Add what goes wrong in the block to the problems, and go on."""
    try:
        yield
    except (DataError, ImageError) as error:
        problems.append(str(error))


def read_instances(
    path: Path, keys: Sequence[str] = ("images", "annotations")
) -> dict[str, Any]:
    """Return what a JSON of instances holds, at least a list for each key."""
    otherwise = "this is not COCO's instance format, so export that"
    return read_lists(path, keys, otherwise)


def _read(
    path: Path, categories: Categories, problems: list[str]
) -> tuple[list[ListedImage], dict[str, list[Instance]]]:
    """Return the images, and by their ids the instances, of a JSON.

    What is wrong with its entries is added to the problems.
    """
    content = read_instances(path)
    if not content["images"]:
        raise DataError(f"{path} lists no image; there is no data.")
    entries: dict[str, ListedImage] = {}
    for number, raw in enumerate(content["images"]):
        with _collected(problems):
            entry = _checked(ListedImage, raw, f"{path}: image {number}")
            if str(entry.id) in entries:
                raise DataError(
                    f"{path} lists image {entry.id} twice; keep one."
                )
            entries[str(entry.id)] = entry
    broken = bool(problems)  # then some instances seem to have no image
    things: dict[str, list[Instance]] = {}
    for number, raw in enumerate(content["annotations"]):
        name = raw.get("id", number) if isinstance(raw, dict) else number
        where = f"{path}: annotation {name}"
        with _collected(problems):
            thing = _checked(Instance, raw, where)
            image = str(thing.image_id)
            if image not in entries and not broken:
                raise DataError(
                    f"{where} is of image {image}, which is not among the "
                    "images; add or remove it."
                )
            try:
                categories.label(thing.category_id)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
            things.setdefault(image, []).append(thing)
    return [*entries.values()], things


def _checked(kind: type, raw, where: str) -> Any:
    try:
        return checked(kind, raw)
    except ValidationError as error:
        raise DataError(f"{where}: {said(error)}; correct that.") from error


def merge(
    stuff: np.ndarray,
    things: list[tuple[np.ndarray, Instance]],
    categories: Categories,
) -> tuple[torch.Tensor, dict[int, int], dict[int, dict]]:
    """Return an image's id map, and of each segment its label and the rest.

    stuff: (H, W) category ids, -1 where there is none; things: its
    instances, each after its run lengths; those of stuff classes are added
    to the stuff.  What others cover wholly is left out.
    """
    stuff = stuff.copy()
    id_map = np.zeros(stuff.shape, np.int32)
    labels: dict[int, int] = {}
    more: dict[int, dict] = {}

    def draw(mask: np.ndarray, label: int, crowd: int) -> None:
        number = len(labels) + 1
        id_map[mask] = number
        labels[number], more[number] = label, {"iscrowd": crowd}

    # Crowds are loose outlines: below all other things.
    things = sorted(
        things, key=lambda t: (not t[1].iscrowd, -t[0][1::2].sum())
    )
    found = []
    for runs, thing in things:
        label = categories.label(thing.category_id)
        if categories[label].isthing:
            found.append((runs, label, int(thing.iscrowd)))
        else:
            stuff[mask_of(runs, stuff.shape)] = thing.category_id
    for label, category in enumerate(categories):
        where = stuff == category.id
        if not category.isthing and where.any():
            draw(where, label, 0)
    for runs, label, crowd in found:
        draw(mask_of(runs, stuff.shape), label, crowd)
    seen = set(np.unique(id_map).tolist())
    labels = {n: label for n, label in labels.items() if n in seen}
    return torch.from_numpy(id_map), labels, more


def _runs(
    thing: Instance, size: tuple[int, int], entry: ListedImage, source: Path
) -> np.ndarray:
    """Return an instance's run lengths."""
    shape = thing.segmentation
    try:
        if isinstance(shape, list):
            return runs_of_polygons(shape, size)
        return checked_runs(shape, size)
    except ValueError as error:
        raise DataError(
            f"{source}: the outline of annotation {thing.id}, of "
            f"{entry.file_name}, cannot be used: {error}; correct it or "
            "remove the annotation."
        ) from error


def _labels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a label image, (H, W) category ids."""
    with open_image(path) as image:
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise ImageError(
                f"{path} is an image in colors (mode {image.mode}); a label "
                "image holds one number a pixel, the category id."
            )
        # Pillow spreads 2 and 4 bits of gray, L;2 and L;4, over 0 to 255.
        stored = str(getattr(image, "tile", ""))
        step = 85 if "'L;2'" in stored else 17 if "'L;4'" in stored else 1
        labels = np.array(image).astype(np.int32) // step
    if labels.shape != size:
        raise ImageError(
            f"{path} has {labels.shape[1]} x {labels.shape[0]} pixels but "
            f"its image, set upright, {size[1]} x {size[0]}; they must be "
            "of one size."
        )
    return labels
