"""From any picture to its panoptic segmentation."""

import io
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.images import read_image
from detr_lite.panoptic import Segment, panoptic_results
from detr_lite.panoptic_detr import PanopticDETR
from detr_lite.samples import Categories, pad_images, resize_picture


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
        from detr_lite.plots import overlay  # plots stands above this module

        return overlay(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.overlay().save(buffer, "png")
        return buffer.getvalue()


@torch.inference_mode()
def predict(
    model: PanopticDETR,
    image,
    categories: Categories,
    shortest: int,
    longest: int,
    threshold: float | None = None,
    mode: str = "union",
) -> Prediction:
    """Return the panoptic segmentation of one picture.

    image: anything that read_image reads; threshold: how sure a query must
    be, instead of the model's own; mode: see panoptic_segmentation.
    """
    device = next(model.parameters()).device
    picture = read_image(image)
    small = resize_picture(picture, shortest, longest).to(device)
    images, padding_mask = pad_images([small])
    kept_threshold, was_training = model.threshold, model.training
    model.eval()
    try:
        if threshold is not None:
            model.threshold = threshold
        output = model(images, padding_mask)
    finally:
        model.threshold = kept_threshold
        model.train(was_training)
    size = tuple(small.shape[1:])
    result = panoptic_results(
        output,
        [c.isthing for c in categories],
        size,
        [size],
        [tuple(picture.shape[1:])],
        mode,
    )[0]
    rows = {q: i for i, q in enumerate(output.query_index.tolist())}
    shown = [rows[s.query] for s in result.segments]
    return Prediction(
        image=picture,
        id_map=result.id_map,
        segments=result.segments,
        categories=categories,
        attention_maps=output.attention_maps[shown].cpu(),
    )
