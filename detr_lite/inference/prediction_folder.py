"""Writing results: images to look at, and COCO's panoptic format."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from detr_lite.data.categories import Categories
from detr_lite.data.coco.writer import PanopticWriter
from detr_lite.files.ahead import ahead
from detr_lite.files.output import staged
from detr_lite.inference.results import Prediction


def write_predictions(
    predictions: Iterable[tuple[int, Path, Prediction]],
    categories: Categories,
    folder: Path,
    masks: bool = True,
) -> None:
    """Write what was found, all of it or nothing.

    FOLDER/overlay/<stem>.png to look at, and, if the model makes masks,
    COCO's panoptic format: FOLDER/panoptic/<stem>.png, FOLDER/panoptic.json.
    Its "bbox" is tight around a segment's pixels, "query_bbox" is what the
    segment's query predicted.

    While one image is written, the next predictions are worked out.

    predictions: of each image its number, from 1, its file, and what was
        found in it, in any order.
    categories: those that the JSON lists; segments of others, which are
        in the overlay, are void there.
    """
    labels = {c.id: label for label, c in enumerate(categories)}
    with staged(folder, "predict") as stage:
        (stage / "overlay").mkdir()
        writer = PanopticWriter(stage, categories) if masks else None

        def write(prediction: tuple[int, Path, Prediction]) -> None:
            number, path, found = prediction
            found.overlay().save(stage / "overlay" / f"{path.stem}.png")
            id_map = found.id_map
            if writer is None or id_map is None:
                return
            named = found.categories
            listed = [s for s in found.segments if named[s.label].id in labels]
            found = replace(found, segments=tuple(listed))
            classes = [named[s.label] for s in listed]
            ids = [s.id for s in listed]
            there = torch.isin(id_map, torch.tensor(ids, dtype=torch.int))
            more = [
                {
                    "query_bbox": [x0, y0, x1 - x0, y1 - y0],
                    "isthing": category.isthing,
                    "score": round(segment.score, 4),
                }
                for (x0, y0, x1, y1), category, segment in zip(
                    found.query_boxes.round().int().tolist(),
                    classes,
                    listed,
                    strict=True,
                )
            ]
            writer.add(
                number,
                path.stem,
                id_map * there,
                dict(zip(ids, (labels[c.id] for c in classes), strict=True)),
                dict(zip(ids, more, strict=True)),
                path.name,
            )

        for _ in ahead(write, predictions, threads=1):
            pass
        if writer is not None:
            writer.close()
