"""Box AP: how well the boxes that were found fit the true ones."""

import contextlib
import io

import numpy as np
import torch
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.errors import DataError


class BoxAP:
    """COCO's box AP, things and stuff alike, through pycocotools."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        # For each image its true segments, and (N, 6) found boxes: x, y,
        # width, height, score, category id.
        self._images: list[tuple[list[dict], np.ndarray]] = []

    def update(
        self,
        size: tuple[int, int],
        scores: Tensor,
        boxes: Tensor,
        true_labels: Tensor,
        true_boxes: Tensor,
        crowd: Tensor,
    ) -> None:
        """Count one image.

        size: (H, W); scores: (N, K) class probabilities; boxes: (N, 4)
        cxcywh, relative; true_labels: (T,); true_boxes: (T, 4) xyxy, pixels.
        """
        if not all(0 <= x < self.num_classes for x in true_labels.tolist()):
            raise DataError(
                f"The true labels {true_labels.tolist()} must be 0 to "
                f"{self.num_classes - 1}, those of the classes."
            )
        truth = []
        sides = true_boxes[:, 2:] - true_boxes[:, :2]
        for label, corner, side, many in zip(
            true_labels.tolist(),
            true_boxes[:, :2].tolist(),
            sides.tolist(),
            crowd.tolist(),
            strict=True,
        ):
            truth.append(
                {
                    "category_id": label + 1,
                    "bbox": corner + side,
                    "area": side[0] * side[1],
                    "iscrowd": int(many),
                }
            )
        height, width = size
        # As PostProcess in the original: the best class but "no object".
        best, labels = scores.max(-1)
        corners = cxcywh_to_xyxy(boxes) * boxes.new_tensor(
            [width, height, width, height]
        )
        corners[:, 2:] -= corners[:, :2]
        rows = torch.cat(
            (corners, best[:, None], labels[:, None].float() + 1), 1
        )
        self._images.append((truth, rows.double().cpu().numpy()))

    def add(self, other: "BoxAP") -> None:
        """Count the images that another one has counted."""
        self._images += other._images

    @property
    def segments(self) -> int:
        """How many true segments were counted, crowds apart."""
        return sum(
            not segment["iscrowd"]
            for truth, _ in self._images
            for segment in truth
        )

    def compute(self) -> dict[str, float | list[float]]:
        """Return {"box_ap", "box_ap50", "per_class": AP of each label}.

        NaN where there is no true segment.
        """
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        nothing = {
            "box_ap": float("nan"),
            "box_ap50": float("nan"),
            "per_class": [float("nan")] * self.num_classes,
        }
        if not self.segments:
            return nothing
        annotations, rows = [], []
        for number, (segments, boxes) in enumerate(self._images, 1):
            for segment in segments:
                place = {"id": len(annotations) + 1, "image_id": number}
                annotations.append(segment | place)
            rows.append(np.insert(boxes, 0, number, axis=1))
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "images": [{"id": i + 1} for i in range(len(rows))],
                "annotations": annotations,
                "categories": [{"id": i + 1} for i in range(self.num_classes)],
            }
            truth.createIndex()
            boxes = np.concatenate(rows)
            found = truth.loadRes(boxes) if len(boxes) else COCO()
            run = COCOeval(truth, found, "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        precision = run.eval["precision"][:, :, :, 0, -1]
        per_class = [
            float(p[p > -1].mean()) if (p > -1).any() else float("nan")
            for p in precision.transpose(2, 0, 1)
        ]
        return {
            "box_ap": float(run.stats[0]),
            "box_ap50": float(run.stats[1]),
            "per_class": per_class,
        }
