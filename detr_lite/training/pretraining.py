"""Phase "backbone": the backbone learns to classify pixels.

For small models only: it stands in for ImageNet weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import ResNet
from detr_lite.targets import Targets


class PixelClassifier(nn.Module):
    """The backbone's stand-in for ImageNet: which class is at a position."""

    def __init__(self, body: ResNet, num_classes: int):
        super().__init__()
        self.body = body
        self.head = nn.Conv2d(body.channels[-1], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K, h, w) logits."""
        return self.head(self.body(images).res5)


def pixel_loss(
    logits: Tensor, targets: Targets, isthing: Tensor
) -> dict[str, Tensor]:
    """Return the cross-entropy at each position; things, rarer, count thrice.

    logits: (B, K, h, w); isthing: (K,) bool.  The truth at a position is the
    class of the pixel at its center, not counted where that is void or
    padding; where none is counted, the loss is 0.
    """
    h, w = logits.shape[-2:]
    height, width = targets.id_maps.shape[-2:]
    rows = (torch.arange(h) * height + height // 2) // h
    columns = (torch.arange(w) * width + width // 2) // w
    rows, columns = (
        x.to(logits.device, non_blocking=True) for x in (rows, columns)
    )
    centers = targets.id_maps[:, rows[:, None], columns]
    there = centers[targets.image] == targets.segment_ids[:, None, None]
    numbered = there * (targets.labels + 1)[:, None, None]
    wanted = torch.zeros_like(centers, dtype=torch.int64)
    wanted = wanted.index_add(0, targets.image, numbered) - 1
    weight = (1.0 + 2.0 * isthing).to(logits.dtype)
    counted = (wanted >= 0).sum()
    loss = F.cross_entropy(logits, wanted, weight, ignore_index=-1)
    loss = torch.where(counted > 0, loss, 0.0)  # a mean over nothing is nan
    right = (logits.argmax(1) == wanted).sum() / counted.clamp(min=1)
    return {"loss": loss, "accuracy": right.detach()}
