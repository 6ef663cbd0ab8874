"""Frozen norms that join the convolution before them.

Scaling a channel of the result is scaling the weights that make it, and the
weights are far fewer than the pixels: same answer, two passes over the maps
fewer for each norm.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import FrozenBatchNorm2d


def fold_norms(module: nn.Module) -> None:
    """Let each frozen norm in a module join the convolution before it.

    Tensors and their names stay as they are, so the module trains, saves and
    loads as before; what a convolution computes is normalized already.
    """
    for convolution, norm in _pairs(module):
        kept = _ScaleAndShift(norm)
        convolution.forward = partial(_normalized, convolution, kept)
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


class _ScaleAndShift:
    """A norm's scale and shift, worked out again when its buffers change."""

    def __init__(self, norm: FrozenBatchNorm2d):
        self.norm = norm
        self.of: list[tuple[Tensor, int]] = []

    def __call__(self) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling() or self.norm.weight.is_inference():
            return self.norm.scale_and_shift()
        buffers = [*self.norm.buffers()]
        if len(self.of) != len(buffers) or any(
            old is not new or version != new._version
            for (old, version), new in zip(self.of, buffers, strict=True)
        ):
            # Not as part of what is going on, which may keep no gradients.
            with torch.inference_mode(False), torch.no_grad():
                self.result = self.norm.scale_and_shift()
            self.of = [(buffer, buffer._version) for buffer in buffers]
        return self.result


def _normalized(
    convolution: nn.Conv2d, kept: _ScaleAndShift, x: Tensor
) -> Tensor:
    scale, shift = kept()
    return F.conv2d(
        x,
        convolution.weight * scale.view(-1, 1, 1, 1),
        shift,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
    )


def _unchanged(x: Tensor) -> Tensor:
    return x
