"""From instances and semantic masks to a COCO panoptic data set.

Things come from a JSON of instances, stuff from one label image a picture;
what neither covers is void.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import ids_to_rgb, read_categories
from detr_lite.data.coco.outlines import mask_of_polygons, mask_of_runs
from detr_lite.data.coco.writer import categories_json, write_json
from detr_lite.data.images import open_image, read_size
from detr_lite.errors import DataError, ImageError
from detr_lite.files.output import staged
from detr_lite.targets import drawn_boxes


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
    entries, annotations = [], []
    with staged(out, "convert") as stage:
        (stage / "images").mkdir()
        (stage / "panoptic").mkdir()
        for picture in progress(pictures):
            name = picture["file_name"]
            path, file = Path(images) / name, f"{Path(name).stem}.png"
            try:
                height, width = read_size(path)
                stuff = _labels(Path(semantic) / file, (height, width))
            except ImageError as error:
                raise DataError(str(error)) from None
            id_map, infos = merge(
                stuff, things.get(picture["id"], []), categories, instances
            )
            if (stage / "panoptic" / file).exists():
                raise DataError(
                    f"{instances}: two pictures are named {Path(name).stem}; "
                    "rename one."
                )
            Image.fromarray(ids_to_rgb(id_map)).save(stage / "panoptic" / file)
            copy = stage / "images" / Path(name).name
            copy.write_bytes(path.read_bytes())
            entries.append(
                {
                    "id": picture["id"],
                    "file_name": copy.name,
                    "width": width,
                    "height": height,
                }
            )
            annotations.append(
                {
                    "image_id": picture["id"],
                    "file_name": file,
                    "segments_info": infos,
                }
            )
        write_json(
            stage / "panoptic.json",
            {
                "images": entries,
                "annotations": annotations,
                "categories": categories_json(categories),
            },
        )
    return len(entries)


def merge(
    stuff: np.ndarray,
    things: Sequence[dict],
    categories: Categories,
    source: Path,
) -> tuple[torch.Tensor, list[dict]]:
    """Return the id map of one picture, and its segments as JSON has them.

    stuff: (H, W) category ids; things: its instances; source: named in
    errors.  Instances that others cover wholly are left out.
    """
    id_map = np.zeros(stuff.shape, np.int32)
    infos: dict[int, dict] = {}
    for category in categories:
        where = stuff == category.id
        if not category.isthing and where.any():
            number = len(infos) + 1
            id_map[where] = number
            infos[number] = {"category_id": category.id, "iscrowd": 0}
    masks = [(_mask(t, stuff.shape, source), t) for t in things]
    # Crowds are loose outlines: at the very bottom.
    masks.sort(key=lambda m: (-m[1].get("iscrowd", 0), -m[0].sum()))
    for mask, thing in masks:
        number = len(infos) + 1
        id_map[mask] = number
        infos[number] = {
            "category_id": thing["category_id"],
            "iscrowd": int(thing.get("iscrowd", 0)),
        }
    result = torch.from_numpy(id_map)
    areas = np.bincount(id_map.ravel())
    return result, [
        {
            "id": number,
            **infos[number],
            "area": int(areas[number]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for number, (x0, y0, x1, y1) in zip(
            *(part.tolist() for part in drawn_boxes(result)), strict=True
        )
        if number
    ]


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
