"""Writing COCO's panoptic format: data sets, and results for them."""

import json
from pathlib import Path

from PIL import Image

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import ids_to_rgb
from detr_lite.data.sample import Sample, Split
from detr_lite.errors import DataError
from detr_lite.panoptic import Panoptic
from detr_lite.targets import boxes_from_id_map, drawn_boxes


def categories_json(categories: Categories) -> list[dict]:
    """Return the categories as the JSON holds them."""
    return [
        {
            "id": c.id,
            "name": c.name,
            "isthing": int(c.isthing),
            "color": list(c.color),
        }
        for c in categories
    ]


def write_json(path: Path, content) -> None:
    """Write JSON on one line a list entry would be too long: compact."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")


def write_split(split: Split, folder: Path) -> None:
    """Write a split into an existing folder in COCO's panoptic format.

    FOLDER/images/*.png, FOLDER/panoptic/*.png and FOLDER/panoptic.json.
    """
    (folder / "images").mkdir()
    (folder / "panoptic").mkdir()
    images, annotations = [], []
    for sample in split:
        file = f"{sample.name}.png"
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / "images" / file)
        Image.fromarray(ids_to_rgb(sample.id_map)).save(
            folder / "panoptic" / file
        )
        height, width = sample.id_map.shape
        images.append(
            {
                "id": sample.image_id,
                "file_name": file,
                "width": width,
                "height": height,
            }
        )
        annotations.append(
            {
                "image_id": sample.image_id,
                "file_name": file,
                "segments_info": _segments_info(sample, split.categories),
            }
        )
    write_json(
        folder / "panoptic.json",
        {
            "images": images,
            "annotations": annotations,
            "categories": categories_json(split.categories),
        },
    )


def _segments_info(sample: Sample, categories: Categories) -> list[dict]:
    areas = sample.id_map.flatten().bincount()
    corners = boxes_from_id_map(sample.id_map, sample.segment_ids).int()
    return [
        {
            "id": number,
            "category_id": categories[label].id,
            "area": areas[number].item(),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": int(crowd),
        }
        for number, label, crowd, (x0, y0, x1, y1) in zip(
            sample.segment_ids.tolist(),
            sample.labels.tolist(),
            sample.crowd.tolist(),
            corners.tolist(),
            strict=True,
        )
    ]


class ResultWriter:
    """Writes results into a folder as panopticapi reads them.

    FOLDER/panoptic/<stem>.png for each picture as it comes, and at `close`
    FOLDER/panoptic.json with the data set's image ids.  Segments of classes
    that the data lack become void: panopticapi refuses them.

    Args:
        folder: an existing folder.
        there: the data's classes.
        categories: the model's classes, which the results' labels count.
    """

    def __init__(
        self, folder: Path, there: Categories, categories: Categories
    ):
        self.folder, self.there, self.categories = folder, there, categories
        self._known = {c.id for c in there}
        self._images: list[dict] = []
        self._annotations: list[dict] = []
        self._files: set[str] = set()
        (folder / "panoptic").mkdir()

    def add(self, sample: Sample, result: Panoptic) -> None:
        """Write the result of one picture."""
        file = f"{sample.name}.png"
        if file in self._files:
            raise DataError(
                f"Two pictures would both be written as {file}; rename one."
            )
        self._files.add(file)
        id_map = result.id_map.clone()
        ids, boxes = drawn_boxes(id_map)
        box_of = dict(zip(ids.tolist(), boxes.tolist(), strict=True))
        infos = []
        for segment in result.segments:
            category = self.categories[segment.label]
            if category.id not in self._known:
                id_map[id_map == segment.id] = 0
                continue
            x0, y0, x1, y1 = box_of[segment.id]
            infos.append(
                {
                    "id": segment.id,
                    "category_id": category.id,
                    "isthing": int(category.isthing),
                    "area": segment.area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                }
            )
        pixels = ids_to_rgb(id_map)
        Image.fromarray(pixels).save(self.folder / "panoptic" / file)
        height, width = id_map.shape
        self._images.append(
            {
                "id": sample.image_id,
                "file_name": file,
                "width": width,
                "height": height,
            }
        )
        self._annotations.append(
            {
                "image_id": sample.image_id,
                "file_name": file,
                "segments_info": infos,
            }
        )

    def close(self) -> None:
        """Write the JSON."""
        write_json(
            self.folder / "panoptic.json",
            {
                "images": self._images,
                "annotations": self._annotations,
                "categories": categories_json(self.there),
            },
        )
