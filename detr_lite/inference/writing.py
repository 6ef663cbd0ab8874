"""Writing results: pictures to look at, and COCO's panoptic format."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import ids_to_rgb
from detr_lite.data.coco.writer import categories_json, write_json
from detr_lite.files.output import staged
from detr_lite.inference.results import Detections, Prediction


def write_predictions(
    predictions: Iterable[tuple[Path, Prediction]],
    categories: Categories,
    folder: Path,
) -> None:
    """Write results in COCO's panoptic format, with pictures to look at.

    FOLDER/panoptic/<stem>.png, FOLDER/overlay/<stem>.png and
    FOLDER/panoptic.json; all of it or nothing.
    """
    images, annotations = [], []
    with staged(folder, "predict") as stage:
        (stage / "panoptic").mkdir()
        (stage / "overlay").mkdir()
        for number, (path, prediction) in enumerate(predictions, 1):
            file = f"{path.stem}.png"
            Image.fromarray(ids_to_rgb(prediction.id_map)).save(
                stage / "panoptic" / file
            )
            prediction.overlay().save(stage / "overlay" / file)
            height, width = prediction.id_map.shape
            images.append(
                {
                    "id": number,
                    "file_name": path.name,
                    "width": width,
                    "height": height,
                }
            )
            annotations.append(
                {
                    "image_id": number,
                    "file_name": file,
                    "segments_info": prediction.segments_info(),
                }
            )
        write_json(
            stage / "panoptic.json",
            {
                "images": images,
                "annotations": annotations,
                "categories": categories_json(categories),
            },
        )


def write_detections(
    detections: Iterable[tuple[Path, Detections]], folder: Path
) -> None:
    """Write pictures with boxes: FOLDER/overlay/<stem>.png, all or none."""
    with staged(folder, "predict") as stage:
        (stage / "overlay").mkdir()
        for path, found in detections:
            found.overlay().save(stage / "overlay" / f"{path.stem}.png")
