"""Writing results: images to look at, and COCO's panoptic format."""

from collections.abc import Iterable
from pathlib import Path

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
            if writer is None or found.id_map is None:
                return
            classes = {s.id: found.categories[s.label] for s in found.segments}
            boxes = found.query_boxes.round().int()
            boxes[:, 2:] -= boxes[:, :2]
            more = {
                segment.id: {
                    "query_bbox": box,
                    "isthing": classes[segment.id].isthing,
                    "score": round(segment.score, 4),
                }
                for segment, box in zip(
                    found.segments, boxes.tolist(), strict=True
                )
            }
            writer.add(
                number,
                path.stem,
                found.id_map,
                {n: labels.get(c.id) for n, c in classes.items()},
                more,
                path.name,
            )

        for _ in ahead(write, predictions, threads=1):
            pass
        if writer is not None:
            writer.close()
