"""Boxes: two ways to write one down, and how well two of them agree."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Return (..., 4) center-size boxes as corners (x0, y0, x1, y1)."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Return (..., 4) corner boxes as (cx, cy, w, h)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), -1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalized IoU of corner boxes, -1 (far) to 1 (equal).

    a, b: (..., 4), broadcast against each other: giou(a, b) pairs them up,
    giou(a[:, None], b[None]) compares each of a with each of b.
    Source: Rezatofighi et al. 2019; generalized_box_iou in the original,
    which computes the whole matrix even for pairs.
    """
    area_a = (a[..., 2:] - a[..., :2]).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(-1)
    inner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(
        a[..., :2], b[..., :2]
    )
    intersection = inner.clamp(min=0).prod(-1)
    union = area_a + area_b - intersection
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(
        a[..., :2], b[..., :2]
    )
    hull = outer.prod(-1)
    tiny = torch.finfo(a.dtype).tiny  # two boxes of size 0: 0, not NaN
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(
        min=tiny
    )
