"""Mask losses of a few masks at a time: same loss and gradients, less memory.

A mask at full size has sixteen times the pixels of its logits, and its loss
keeps several tensors of that size for the gradient.
"""

import torch
from torch import Tensor

from detr_lite.losses import MaskLoss
from detr_lite.targets import Targets


class MaskLossInParts(MaskLoss):
    """A MaskLoss that takes the gradient of a few masks before the next ones.

    Args:
        focal, dice: what each loss is multiplied by.
        pixels: of the masks that are at full size at a time.
    """

    def __init__(self, focal: float = 1, dice: float = 1, pixels: int = 2**20):
        super().__init__(focal, dice)
        self.pixels = pixels

    def __call__(
        self,
        mask_logits: Tensor,
        chosen: Tensor,
        targets: Targets,
        num_boxes: float,
    ) -> dict[str, Tensor]:
        """Return {"loss": the sum to minimize, and its parts, to look at}.

        See MaskLoss.
        """
        few = max(self.pixels // targets.id_maps[0].numel(), 1)
        if len(chosen) <= few:
            return super().__call__(mask_logits, chosen, targets, num_boxes)

        def losses(logits: Tensor, part: Tensor) -> Tensor:
            losses = MaskLoss.__call__(self, logits, part, targets, num_boxes)
            return torch.stack([losses[n] for n in ("loss", "focal", "dice")])

        sums = _InParts.apply(mask_logits, chosen, few, losses)
        return dict(zip(("loss", "focal", "dice"), sums, strict=True))


class _InParts(torch.autograd.Function):
    """The sum of a loss over a few masks at a time.

    What is kept for the gradient is the gradient itself: that of the small
    logits, a sixteenth of one of the many things at full size.
    """

    @staticmethod
    def forward(ctx, logits, chosen, few, losses):
        sums, gradients = 0, []
        for part, segments in zip(
            logits.split(few), chosen.split(few), strict=True
        ):
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                values = losses(part, segments)
                gradients += torch.autograd.grad(values[0], part)
            sums = sums + values.detach()
        ctx.save_for_backward(torch.cat(gradients))
        return sums.unbind()

    @staticmethod
    def backward(ctx, gradient, *_):
        return ctx.saved_tensors[0] * gradient, None, None, None
