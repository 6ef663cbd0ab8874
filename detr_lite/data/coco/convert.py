"""From instances and semantic masks to a COCO panoptic data set.

Things come from a JSON of instances, stuff from one label image an image;
what neither covers is void.
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
from detr_lite.data.coco.format import is_file, leads_out
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
    Side,
    Text,
    checked,
    read_json,
    said,
)


@dataclass(slots=True)
class _Entry:
    id: ImageId
    file_name: Text
    width: Side | None = None
    height: Side | None = None


def _outline(value: Any) -> Any:
    if not isinstance(value, list | dict):
        raise ValueError("should be polygons or run lengths")
    return value


@dataclass(slots=True)
class Instance:
    """What a JSON of instances says of one thing."""

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
    progress: Callable[[Sequence[_Entry]], Iterable[_Entry]] = iter,
) -> int:
    """Write a data set in our layout; return how many images it has.

    Where instances overlap, the smaller one is on top: a tie lies before
    its person.  All of it is written, or nothing.

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
    if not images.is_dir():
        raise DataError(
            f"There is no folder {images}; name that of the images."
        )
    problems: list[str] = []
    entries: list[_Entry] = []
    things: dict[str, list[Instance]] = {}
    if instances is None:
        source = images
        for number, path in enumerate(images_in(images), 1):
            with _collected(problems):
                raw = {"id": number, "file_name": path.name}
                entries.append(_checked(_Entry, raw, str(path)))
    else:
        source = Path(instances)
        entries, things = _read(source, categories, problems)
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
                stuff = np.full(size, -1, np.int32)
                if semantic is not None:
                    labels = Path(semantic) / f"{path.stem}.png"
                    stuff = _labels(labels, size)
                    empty = empty and not np.isin(stuff, ids).any()
                outlines = []
                for thing in things.get(str(entry.id), []):
                    with _collected(problems):
                        outlines.append((_runs(thing, size, source), thing))
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


def _compare(
    entry: _Entry, size: tuple[int, int], path: Path, source: Path
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


def _read(
    path: Path, categories: Categories, problems: list[str]
) -> tuple[list[_Entry], dict[str, list[Instance]]]:
    """Return the images, and by their ids the instances, of a JSON.

    What is wrong with its entries is added to the problems.
    """
    content = read_json(path)
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(
            content.get(key), list
        ):
            raise DataError(
                f'{path} has no list "{key}"; this is not COCO\'s instance '
                "format."
            )
    if not content["images"]:
        raise DataError(f"{path} lists no image; there is no data.")
    entries: dict[str, _Entry] = {}
    for number, raw in enumerate(content["images"]):
        with _collected(problems):
            entry = _checked(_Entry, raw, f"{path}: image {number}")
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
                label = categories.label(thing.category_id)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
            if not categories[label].isthing:
                raise DataError(
                    f"{where} is of {categories[label].name}, which is "
                    "stuff; instances are things."
                )
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
    instances, each after its run lengths.  Instances that others cover
    wholly are left out.
    """
    id_map = np.zeros(stuff.shape, np.int32)
    labels: dict[int, int] = {}
    more: dict[int, dict] = {}

    def draw(mask: np.ndarray, label: int, crowd: int) -> None:
        number = len(labels) + 1
        id_map[mask] = number
        labels[number], more[number] = label, {"iscrowd": crowd}

    for label, category in enumerate(categories):
        where = stuff == category.id
        if not category.isthing and where.any():
            draw(where, label, 0)
    # Crowds are loose outlines: at the very bottom.
    things = sorted(
        things, key=lambda t: (not t[1].iscrowd, -t[0][1::2].sum())
    )
    for runs, thing in things:
        mask = mask_of(runs, stuff.shape)
        draw(mask, categories.label(thing.category_id), int(thing.iscrowd))
    seen = set(np.unique(id_map).tolist())
    labels = {n: label for n, label in labels.items() if n in seen}
    return torch.from_numpy(id_map), labels, more


def _runs(thing: Instance, size: tuple[int, int], source: Path) -> np.ndarray:
    """Return an instance's run lengths."""
    shape = thing.segmentation
    try:
        if isinstance(shape, list):
            return runs_of_polygons(shape, size)
        return checked_runs(shape, size)
    except ValueError as error:
        raise DataError(
            f"{source}: the outline of annotation {thing.id} cannot "
            f"be used: {error}; correct it or remove the annotation."
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
