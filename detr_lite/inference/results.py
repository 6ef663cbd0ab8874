"""What a model found in one picture: its segments, or its boxes."""

import io
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.categories import Categories
from detr_lite.inference.drawing import boxes_overlay, overlay
from detr_lite.panoptic import Segment


@dataclass(frozen=True)
class Prediction:
    """What the model saw in one picture; a notebook shows it as a drawing.

    Attributes:
        image: (3, H, W) uint8, as it was given.
        id_map: (H, W) int32, for each pixel the id of its segment, or 0.
        segments: what each id is.
        categories: the classes that the segments' labels count.
        attention_maps: (segments, M, h, w), where each one's query looked.
    """

    image: Tensor = field(repr=False)
    id_map: Tensor = field(repr=False)
    segments: tuple[Segment, ...]
    categories: Categories = field(repr=False)
    attention_maps: Tensor = field(repr=False)

    def segments_info(self) -> list[dict]:
        """Return the segments as COCO's panoptic JSON lists them."""
        height, width = self.id_map.shape
        scale = torch.tensor([width, height, width, height])
        infos = []
        for s in self.segments:
            x0, y0, x1, y1 = (
                (cxcywh_to_xyxy(torch.tensor(s.box)).clamp(0, 1) * scale)
                .round()
                .int()
                .tolist()
            )
            category = self.categories[s.label]
            infos.append(
                {
                    "id": s.id,
                    "category_id": category.id,
                    "isthing": category.isthing,
                    "score": round(s.score, 4),
                    "area": s.area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                }
            )
        return infos

    def overlay(self) -> Image.Image:
        """Return the picture with its segments in color and their names."""
        return overlay(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.overlay().save(buffer, "png")
        return buffer.getvalue()


@dataclass(frozen=True)
class Detections:
    """The n boxes found in one picture, the surest first.

    A notebook shows it as a drawing.

    Attributes:
        image: (3, H, W) uint8, as it was given.
        labels: (n,) int64, positions in `categories`.
        scores: (n,) probabilities, descending.
        boxes: (n, 4), (x0, y0, x1, y1) in pixels of the picture.
        categories: the classes that the labels count.
    """

    image: Tensor = field(repr=False)
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    categories: Categories = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def overlay(self) -> Image.Image:
        """Return the picture with its boxes in color and their names."""
        return boxes_overlay(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.overlay().save(buffer, "png")
        return buffer.getvalue()
