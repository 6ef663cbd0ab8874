"""From any picture to the boxes in it: what a model without masks says."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.images import read_image
from detr_lite.output import staged
from detr_lite.samples import Categories, pad_images, resize_picture


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
        from detr_lite.plots import boxes_overlay  # stands above this module

        return boxes_overlay(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.overlay().save(buffer, "png")
        return buffer.getvalue()


@torch.inference_mode()
def detect(
    detr: nn.Module,
    image,
    categories: Categories,
    shortest: int,
    longest: int,
    threshold: float,
) -> Detections:
    """Return the boxes in one picture whose class is sure enough.

    detr: gives a DetrOutput; image: anything that read_image reads.
    A query's class is its best but "no object", which need not be below it.
    Source: PostProcess in the original.
    """
    device = next(detr.parameters()).device
    picture = read_image(image)
    small = resize_picture(picture, shortest, longest).to(device)
    was_training = detr.training
    detr.eval()
    try:
        output = detr(*pad_images([small]))
    finally:
        detr.train(was_training)
    scores, labels = output.class_logits[0].softmax(-1)[:, :-1].max(-1)
    height, width = picture.shape[1:]
    size = scores.new_tensor([width, height, width, height])
    corners = cxcywh_to_xyxy(output.boxes[0]).clamp(0, 1) * size
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > threshold]
    labels, scores, corners = (
        x[order].cpu() for x in (labels, scores, corners)
    )
    return Detections(picture, labels, scores, corners, categories)


def write_detections(
    detections: Iterable[tuple[Path, Detections]], folder: Path
) -> None:
    """Write pictures with boxes: FOLDER/overlay/<stem>.png, all or none."""
    with staged(folder) as stage:
        (stage / "overlay").mkdir()
        for path, found in detections:
            found.overlay().save(stage / "overlay" / f"{path.stem}.png")
