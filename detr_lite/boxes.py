"""Boxes: two ways to write one down, and how well two of them agree."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Return (..., 4) center-size boxes as corners (x0, y0, x1, y1)."""
    center, size = boxes.split(2, -1)
    half = size / 2
    return torch.cat((center - half, center + half), -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Return (..., 4) corner boxes as (cx, cy, w, h)."""
    upper_left, lower_right = boxes.split(2, -1)
    center = (upper_left + lower_right) / 2
    return torch.cat((center, lower_right - upper_left), -1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalized IoU of corner boxes, -1 (far) to 1 (equal).

    a, b: (..., 4), broadcast against each other: giou(a, b) pairs them up,
    giou(a[:, None], b[None]) compares each of a with each of b.
    Source: Rezatofighi et al. 2019; generalized_box_iou in the original,
    which computes the whole matrix even for pairs.
    """
    (a0, a1), (b0, b1) = a.split(2, -1), b.split(2, -1)
    inner = torch.minimum(a1, b1) - torch.maximum(a0, b0)
    intersection = area(inner.clamp(min=0))
    union = area(a1 - a0) + area(b1 - b0) - intersection
    hull = area(torch.maximum(a1, b1) - torch.minimum(a0, b0))
    tiny = torch.finfo(a.dtype).tiny  # two boxes of size 0: 0, not NaN
    overlap = intersection / union.clamp(min=tiny)
    return overlap - (hull - union) / hull.clamp(min=tiny)


def area(sides: Tensor) -> Tensor:
    """Return the areas, (...,), of boxes of (..., 2) width and height."""
    width, height = sides.unbind(-1)
    return width * height
