"""Frozen norms that join the convolution before them.

Scaling a channel of the result is scaling the weights that make it, and the
weights are far fewer than the pixels: same answer, two passes over the maps
fewer for each norm.
"""

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import FrozenBatchNorm2d


def fold_norms(module: nn.Module) -> None:
    """Let each frozen norm in a module join the convolution before it.

    Tensors and their names stay as they are, so the module trains, saves and
    loads as before; what a convolution computes is normalized already.
    """
    for convolution, norm in _pairs(module):
        convolution.forward = partial(_normalized, convolution, norm)
        norm.forward = _unchanged


def unfold_norms(module: nn.Module) -> None:
    """Undo fold_norms."""
    for pair in _pairs(module):
        for part in pair:
            vars(part).pop("forward", None)


def _pairs(module: nn.Module) -> list[tuple[nn.Conv2d, FrozenBatchNorm2d]]:
    """Return each convolution that a frozen norm comes after."""
    return [
        (first, second)
        for parent in module.modules()
        for first, second in pairwise(parent.children())
        if isinstance(first, nn.Conv2d)
        and isinstance(second, FrozenBatchNorm2d)
    ]


def _normalized(
    convolution: nn.Conv2d, norm: FrozenBatchNorm2d, x: Tensor
) -> Tensor:
    scale, shift = norm.scale_and_shift()
    return F.conv2d(
        x,
        convolution.weight * scale[:, None, None, None],
        shift,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
    )


def _unchanged(x: Tensor) -> Tensor:
    return x
