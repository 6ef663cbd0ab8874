"""Mask losses of a few masks at a time: same loss and gradients, less memory.

A mask at full size has sixteen times the pixels of its logits, and its loss
keeps several tensors of that size for the gradient.
"""

import torch
from torch import Tensor

from detr_lite.losses import MaskLoss


class MaskLossInParts(MaskLoss):
    """A MaskLoss that takes the gradient of a few masks before the next ones.

    Args:
        focal, dice: what each loss is multiplied by.
        pixels: of the masks that are at full size at a time.
    """

    def __init__(self, focal: float = 1, dice: float = 1, pixels: int = 2**20):
        super().__init__(focal, dice)
        self.pixels = pixels

    def weighted(
        self, logits: Tensor, masks: Tensor, num_boxes: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum, the focal and the dice loss.

        logits: (S, h, w); masks: (S, H, W) bool.
        """
        few = max(self.pixels // masks[0].numel(), 1) if len(masks) else 1
        if len(masks) <= few:
            return super().weighted(logits, masks, num_boxes)
        loss = super().weighted
        return _InParts.apply(logits, masks, num_boxes, few, loss)


class _InParts(torch.autograd.Function):
    """The sum of a loss over a few masks at a time.

    What is kept for the gradient is the gradient itself: that of the small
    logits, a sixteenth of one of the many things at full size.
    """

    @staticmethod
    def forward(ctx, logits, masks, num_boxes, few, loss):
        sums, gradients = 0, []
        for part, wanted in zip(
            logits.split(few), masks.split(few), strict=True
        ):
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                losses = loss(part, wanted, num_boxes)
            gradients += torch.autograd.grad(losses[0], part)
            sums = sums + torch.stack(losses).detach()
        ctx.save_for_backward(torch.cat(gradients))
        return sums.unbind()

    @staticmethod
    def backward(ctx, gradient, *_):
        return ctx.saved_tensors[0] * gradient, None, None, None, None
