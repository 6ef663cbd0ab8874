"""Phase "backbone": the backbone learns to classify pixels.

For small models only: it stands in for ImageNet weights.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import ResNet
from detr_lite.targets import Target


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
    logits: Tensor,
    targets: Sequence[Target],
    size: tuple[int, int],
    isthing: Tensor,
) -> dict[str, Tensor]:
    """Return the cross-entropy at each position; things, rarer, count thrice.

    logits: (B, K, h, w); size: the padded pictures' (H, W); isthing: (K,)
    bool.  The truth at a position is the class of the pixel at its center,
    -1 (not counted) where that is void or padding.
    """
    h, w = logits.shape[-2:]
    maps = []
    for target in targets:
        labels = torch.full_like(target.id_map, -1, dtype=torch.int64)
        for mask, label in zip(target.masks(), target.labels, strict=True):
            labels[mask] = label
        height, width = labels.shape
        pad = (0, size[1] - width, 0, size[0] - height)
        maps.append(F.pad(labels, pad, value=-1))
    rows = (torch.arange(h) * size[0] + size[0] // 2) // h
    columns = (torch.arange(w) * size[1] + size[1] // 2) // w
    wanted = torch.stack(maps)[:, rows[:, None], columns]
    weight = 1.0 + 2.0 * isthing.to(logits.device)
    loss = F.cross_entropy(logits.float(), wanted, weight, ignore_index=-1)
    right = (logits.argmax(1) == wanted)[wanted >= 0].float().mean()
    return {"loss": loss, "accuracy": right.detach()}
