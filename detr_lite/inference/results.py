"""What a model found in one image: segments, or boxes alone."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.categories import Categories
from detr_lite.errors import OutputError
from detr_lite.files.output import staged_file
from detr_lite.inference.drawing import boxes_overlay, overlay
from detr_lite.panoptic import Segment
from detr_lite.targets import boxes_from_id_map


@dataclass(frozen=True, eq=False)  # of tensors there is no single yes or no
class Prediction:
    """What a model found in one image; a notebook shows it as a drawing.

    Attributes:
        image: (3, H, W) uint8, as it was given.
        id_map: (H, W) int32, for each pixel the id of its segment, or 0;
            None if the model makes no masks.
        segments: what was found, of a model without masks the surest first.
        categories: the classes that the segments' labels count.
        attention_maps: (n, M, h, w), where each segment's query looked; None
            without masks.
        name: of the image's file, without folder and suffix.
    """

    image: Tensor = field(repr=False)
    id_map: Tensor | None = field(repr=False)
    segments: tuple[Segment, ...]
    categories: Categories = field(repr=False)
    attention_maps: Tensor | None = field(repr=False)
    name: str = "image"

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def labels(self) -> Tensor:
        """(n,) int64, positions in `categories`."""
        labels = [s.label for s in self.segments]
        return torch.tensor(labels, dtype=torch.int64)

    @property
    def scores(self) -> Tensor:
        """(n,) probabilities."""
        return torch.tensor([s.score for s in self.segments])

    @property
    def boxes(self) -> Tensor:
        """(n, 4), x0, y0, x1, y1 in pixels, tight around the segments.

        Of a model without masks: `query_boxes`.
        """
        if self.id_map is None:
            return self.query_boxes
        ids = torch.tensor([s.id for s in self.segments], dtype=torch.int64)
        return boxes_from_id_map(self.id_map, ids)

    @property
    def query_boxes(self) -> Tensor:
        """(n, 4), x0, y0, x1, y1 in pixels, as the queries predicted them."""
        height, width = self.image.shape[1:]
        boxes = torch.tensor([s.box for s in self.segments]).view(-1, 4)
        size = torch.tensor([width, height, width, height])
        return cxcywh_to_xyxy(boxes).clamp(0, 1) * size

    def overlay(self) -> Image.Image:
        """Return the image with what was found in color, and its names."""
        return boxes_overlay(self) if self.id_map is None else overlay(self)

    def save(self, path: str | Path) -> None:
        """Write the drawing to a file, such as found.png.

        OutputError says why that cannot be; an old file is then kept.
        """
        drawing = self.overlay()
        try:
            with staged_file(path) as part:
                drawing.save(part)
        except (ValueError, KeyError) as error:
            raise OutputError(
                f"{path} does not end as an image that can be written; name "
                "it like found.png."
            ) from error

    def to_supervision(self):
        """Return supervision.Detections, for that package's tools.

        They need the package supervision.  Boxes are `boxes`; masks are
        there if the model makes some.
        """
        from supervision import Detections

        masks = None
        if self.id_map is not None:
            ids = torch.tensor([s.id for s in self.segments])
            masks = (self.id_map == ids[:, None, None]).numpy()
        names = [self.categories[s.label].name for s in self.segments]
        return Detections(
            xyxy=self.boxes.numpy(),
            mask=masks,
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": names},
        )

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.overlay().save(buffer, "png")
        return buffer.getvalue()
