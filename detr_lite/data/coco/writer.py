"""A model's results for a data set, in COCO's format of submissions."""

from pathlib import Path

from PIL import Image

from detr_lite.coco import categories_json, ids_to_rgb, write_json
from detr_lite.errors import DataError
from detr_lite.panoptic import Panoptic
from detr_lite.samples import Categories, Sample, drawn_boxes


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
