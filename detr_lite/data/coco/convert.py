"""From instances and semantic masks to a COCO panoptic data set.

Things come from a JSON of instances, stuff from one label image a picture;
what neither covers is void.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import read_categories
from detr_lite.data.coco.outlines import mask_of_polygons, mask_of_runs
from detr_lite.data.coco.writer import PanopticWriter
from detr_lite.data.images import open_image, read_size
from detr_lite.errors import DataError, ImageError
from detr_lite.files.output import staged


def convert(
    instances: str | Path,
    semantic: str | Path,
    images: str | Path,
    classes: str | Path,
    out: str | Path,
    progress: Callable[[Sequence[dict]], Iterable[dict]] = iter,
) -> int:
    """Write a data set in our layout; return how many pictures it has.

    Where instances overlap, the smaller one is on top: a tie lies before
    its person.  All of it is written, or nothing.

    Args:
        instances: a JSON of COCO's instances: polygons or run lengths.
        semantic: a folder of label images, <stem>.png for each picture: one
            byte (or 16 bits) a pixel, the category id; ids that are no
            stuff class count as void.
        images: the folder of the pictures.
        classes: a JSON list of the categories: id, name, isthing, color.
        out: the folder to make.
        progress: wraps the pictures.
    """
    instances, classes = Path(instances), Path(classes)
    listed = _read(classes)
    if not isinstance(listed, list):
        raise DataError(f"{classes} is no list; it holds the categories.")
    categories = read_categories({"categories": listed}, classes)
    content = _read(instances)
    pictures = _list(content, "images", instances)
    things: dict[int, list[dict]] = {}
    for annotation in _list(content, "annotations", instances):
        _check(annotation, categories, instances)
        things.setdefault(annotation["image_id"], []).append(annotation)
    lost = things.keys() - {picture["id"] for picture in pictures}
    if lost:
        raise DataError(
            f"{instances} annotates image {min(lost)}, which is not among "
            "its images; add or remove it."
        )
    with staged(out, "convert") as stage:
        (stage / "images").mkdir()
        writer = PanopticWriter(stage, categories)
        for picture in progress(pictures):
            name = picture["file_name"]
            path, stem = Path(images) / name, Path(name).stem
            try:
                size = read_size(path)
                stuff = _labels(Path(semantic) / f"{stem}.png", size)
            except ImageError as error:
                raise DataError(str(error)) from error
            own = things.get(picture["id"], [])
            id_map, labels, more = merge(stuff, own, categories, instances)
            copy = stage / "images" / Path(name).name
            writer.add(picture["id"], stem, id_map, labels, more, copy.name)
            copy.write_bytes(path.read_bytes())
        writer.close()
    return len(pictures)


def merge(
    stuff: np.ndarray,
    things: Sequence[dict],
    categories: Categories,
    source: Path,
) -> tuple[torch.Tensor, dict[int, int], dict[int, dict]]:
    """Return an image's id map, and of each segment its label and the rest.

    stuff: (H, W) category ids; things: its instances; source: named in
    errors.  Instances that others cover wholly are left out.
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
    masks = [(_mask(t, stuff.shape, source), t) for t in things]
    # Crowds are loose outlines: at the very bottom.
    masks.sort(key=lambda m: (-m[1].get("iscrowd", 0), -m[0].sum()))
    for mask, thing in masks:
        label = categories.label(thing["category_id"])
        draw(mask, label, int(thing.get("iscrowd", 0)))
    seen = set(np.unique(id_map).tolist())
    labels = {n: label for n, label in labels.items() if n in seen}
    return torch.from_numpy(id_map), labels, more


def _mask(thing: dict, size: tuple[int, int], source: Path) -> np.ndarray:
    """Return an instance's (H, W) bool mask."""
    shape = thing["segmentation"]
    try:
        if isinstance(shape, list):
            return mask_of_polygons(shape, size)
        return mask_of_runs(shape, size)
    except ValueError as error:
        raise DataError(
            f"{source}: the outline of annotation {thing.get('id')} cannot "
            f"be used: {error}; correct it or remove the annotation."
        ) from error


def _labels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a label image, (H, W) category ids."""
    with open_image(path) as image:
        if image.mode not in ("L", "P", "I;16", "I"):
            raise ImageError(
                f"{path} is a picture in colors (mode {image.mode}); a label "
                "image holds one number a pixel, the category id."
            )
        labels = np.array(image).astype(np.int64)
    if labels.shape != size:
        raise ImageError(
            f"{path} has {labels.shape[1]} x {labels.shape[0]} pixels but "
            f"its picture {size[1]} x {size[0]}; they must be of one size."
        )
    return labels


def _read(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); write it again."
        ) from None


def _list(content, key: str, path: Path) -> list[dict]:
    kinds = {
        "images": {"id": int, "file_name": str},
        "annotations": {"image_id": int, "segmentation": list | dict},
    }[key]
    items = content.get(key) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(
        isinstance(item, dict)
        and all(isinstance(item.get(k), kind) for k, kind in kinds.items())
        for item in items
    ):
        raise DataError(
            f'{path} has no list "{key}" whose entries have '
            f"{' and '.join(kinds)}; this is not COCO's instance format."
        )
    return items


def _check(annotation: dict, categories: Categories, path: Path) -> None:
    """Refuse an instance whose class is none of the things."""
    where = f"{path}: annotation {annotation.get('id')}"
    try:
        label = categories.label(annotation.get("category_id"))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if not categories[label].isthing:
        raise DataError(
            f"{where} is of {categories[label].name}, which is stuff; "
            "instances are things."
        )
