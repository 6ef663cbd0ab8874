"""Masks made a few at a time: the same masks, in less memory.

No two masks depend on each other, so how many are made at once is a question
of memory and speed alone.
"""

import torch
from torch import Tensor

from detr_lite.backbone import Pyramid
from detr_lite.mask_head import MaskHead

SMALL = 2**13  # pixels of a mask; the scenes' have 48 x 48


class ChunkedMaskHead(MaskHead):
    """A MaskHead that makes a few masks at a time where nothing is learned.

    Args:
        chunk: how many; None follows the device.  On a CPU one after the
            other takes the least memory and hardly more time, but small ones
            are faster together; a GPU makes as many as its free memory
            holds.
        others: those of MaskHead.
    """

    def __init__(self, *args, chunk: int | None = None, **others):
        super().__init__(*args, **others)
        self.chunk = chunk

    def forward(
        self,
        src_proj: Tensor,
        attention_maps: Tensor,
        image_index: Tensor,
        pyramid: Pyramid,
    ) -> Tensor:
        """Return mask logits, (S, H/4, W/4); see MaskHead.forward."""
        # For gradients everything is kept, however few are made at a time.
        at_once = torch.is_grad_enabled() or torch.compiler.is_compiling()
        count = self._at_once(pyramid.res2)
        if at_once or len(attention_maps) <= count:
            return super().forward(
                src_proj, attention_maps, image_index, pyramid
            )
        shared = self.prepare(src_proj, pyramid)
        masks = [
            self.masks(maps, *(x[index] for x in shared))
            for maps, index in zip(
                attention_maps.split(count),
                image_index.split(count),
                strict=True,
            )
        ]
        return torch.cat(masks)

    def _at_once(self, res2: Tensor) -> int:
        """Return how many masks of Res2's size are made at a time."""
        if self.chunk is not None:
            return self.chunk
        pixels = res2.shape[-2] * res2.shape[-1]
        if res2.device.type != "cuda":
            return 256 if pixels <= SMALL else 1
        # Beside each other lie at most the last two stages' results and
        # what an image's features become at Res2.
        channels = self.lay4.out_channels + 3 * self.lay5.out_channels
        each = 2 * channels * pixels * res2.element_size()
        free, _ = torch.cuda.mem_get_info(res2.device)
        return max(free // 2 // each, 1)
