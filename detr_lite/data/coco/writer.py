"""Writing COCO's panoptic format: data sets, and results for them."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import ids_to_rgb
from detr_lite.data.sample import Sample, areas_of
from detr_lite.data.split import Split
from detr_lite.errors import DataError
from detr_lite.panoptic import Panoptic
from detr_lite.targets import boxes_from_id_map


class PanopticWriter:
    """Writes segmentations in COCO's panoptic format, image by image.

    FOLDER/panoptic/<name>.png for each image as it comes, and at `close`
    FOLDER/panoptic.json.  Areas and boxes are those of the pixels.

    Args:
        folder: an existing folder.
        categories: the classes that the labels count; the JSON lists them.
    """

    def __init__(self, folder: Path, categories: Categories):
        self.folder, self.categories = folder, categories
        self._images: list[dict] = []
        self._annotations: list[dict] = []
        self._files: set[str] = set()
        (folder / "panoptic").mkdir()

    def add(
        self,
        image_id: int,
        name: str,
        id_map: Tensor,
        labels: Mapping[int, int | None],
        more: dict[int, dict] | None = None,
        file_name: str | None = None,
    ) -> None:
        """Write one image's segments.

        name: of its PNG, without the suffix.
        id_map: (H, W) int32, 0 for void.
        labels: for each id its label, in the order of the JSON; None if the
            categories lack its class, and it becomes void.
        more: for each id what the JSON says beside class, area and box.
        file_name: of the image (default: that of the PNG).

        DataError if two images have one name.
        """
        file = f"{name}.png"
        if file in self._files:
            raise DataError(
                f"Two images would both be written as {file}; rename one."
            )
        self._files.add(file)
        there = {n: label for n, label in labels.items() if label is not None}
        if gone := [*labels.keys() - there]:
            void = torch.isin(id_map, torch.tensor(gone))
            id_map = id_map.masked_fill(void, 0)
        pixels = Image.fromarray(ids_to_rgb(id_map))
        pixels.save(self.folder / "panoptic" / file)
        height, width = id_map.shape
        self._images.append(
            {
                "id": image_id,
                "file_name": file_name or file,
                "width": width,
                "height": height,
            }
        )
        self._annotations.append(
            {
                "image_id": image_id,
                "file_name": file,
                "segments_info": self._segments(id_map, there, more or {}),
            }
        )

    def _segments(
        self, id_map: Tensor, labels: dict[int, int], more: dict[int, dict]
    ) -> list[dict]:
        ids = torch.tensor([*labels], dtype=torch.int64)
        boxes = boxes_from_id_map(id_map, ids).int()
        boxes[:, 2:] -= boxes[:, :2]
        areas = areas_of(id_map, ids)
        return [
            {
                "id": number,
                "category_id": self.categories[label].id,
                "area": area,
                "bbox": box,
                **more.get(number, {}),
            }
            for (number, label), area, box in zip(
                labels.items(), areas.tolist(), boxes.tolist(), strict=True
            )
        ]

    def close(self) -> None:
        """Write the JSON, by image id, whatever the order they came in."""
        content = {
            "images": _by_id(self._images, "id"),
            "annotations": _by_id(self._annotations, "image_id"),
            "categories": [
                {
                    "id": c.id,
                    "name": c.name,
                    "isthing": int(c.isthing),
                    "color": list(c.color),
                }
                for c in self.categories
            ],
        }
        text = json.dumps(content, indent=1) + "\n"
        (self.folder / "panoptic.json").write_text(text, encoding="utf8")


def _by_id(entries: list[dict], key: str) -> list[dict]:
    """Return entries by their image ids: numbers first, then texts."""
    return sorted(entries, key=lambda e: (isinstance(e[key], str), e[key]))


def write_split(split: Split, folder: Path) -> None:
    """Write a split into an existing folder in COCO's panoptic format.

    FOLDER/images/*.png, FOLDER/panoptic/*.png and FOLDER/panoptic.json.
    """
    (folder / "images").mkdir()
    writer = PanopticWriter(folder, split.categories)
    for sample in split:
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        file = folder / "images" / f"{sample.name}.png"
        Image.fromarray(pixels).save(file)
        ids = sample.segment_ids.tolist()
        crowds = ({"iscrowd": int(crowd)} for crowd in sample.crowd.tolist())
        writer.add(
            sample.image_id,
            sample.name,
            sample.id_map,
            dict(zip(ids, sample.labels.tolist(), strict=True)),
            dict(zip(ids, crowds, strict=True)),
        )
    writer.close()


class SubmissionWriter:
    """Writes a model's results for a data set as panopticapi reads them.

    Segments of classes that the data lack become void: panopticapi refuses
    them.

    Args:
        folder: an existing folder.
        there: the data's classes.
        categories: the model's classes, which the results' labels count.
    """

    def __init__(
        self, folder: Path, there: Categories, categories: Categories
    ):
        self._writer = PanopticWriter(folder, there)
        labels = {c.id: label for label, c in enumerate(there)}
        self._labels = [labels.get(c.id) for c in categories]
        self.close = self._writer.close

    def add(self, sample: Sample, result: Panoptic) -> None:
        """Write the result of one image."""
        labels = {s.id: self._labels[s.label] for s in result.segments}
        self._writer.add(sample.image_id, sample.name, result.id_map, labels)
