"""The mask head: an FPN-style CNN from attention maps to mask logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_lite.backbone import Pyramid


class MaskHead(nn.Module):
    """Upsamples each embedding's attention maps with the backbone's help.

    Args:
        width: d.
        heads: M.
        pyramid_channels: channels of Res2, Res3 and Res4.
        context: sets the channels of the stages: context / 2, / 4, / 8, / 16.
        map_gain: multiplies the first weights of the attention maps.  A map
            sums to 1 over heads and positions, so its values are small next
            to those of the image; with a gain near their number the maps
            are seen from the first step on.  1 is the original's.
        pyramid: add the backbone's features; without them the maps are only
            enlarged, which the book's ablation measures.

    Source: paper, figure 8; MaskHeadSmallConv in the original.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        pyramid_channels: tuple[int, int, int],
        context: int | None = None,
        map_gain: float = 1.0,
        pyramid: bool = True,
    ):
        super().__init__()
        context = width if context is None else context
        first = width + heads
        stages = [context // 2**i for i in range(1, 5)]
        self.pyramid = pyramid
        self.lay1, self.gn1 = _stage(first, first)
        self.lay2, self.gn2 = _stage(first, stages[0])
        self.lay3, self.gn3 = _stage(stages[0], stages[1])
        self.lay4, self.gn4 = _stage(stages[1], stages[2])
        self.lay5, self.gn5 = _stage(stages[2], stages[3])
        self.out_lay = nn.Conv2d(stages[3], 1, 3, padding=1)
        self.adapter1 = nn.Conv2d(pyramid_channels[2], stages[0], 1)
        self.adapter2 = nn.Conv2d(pyramid_channels[1], stages[1], 1)
        self.adapter3 = nn.Conv2d(pyramid_channels[0], stages[2], 1)
        self.apply(_initialize)
        with torch.no_grad():
            self.lay1.weight[:, width:] *= map_gain

    def forward(
        self,
        src_proj: Tensor,
        attention_maps: Tensor,
        image_index: Tensor,
        pyramid: Pyramid,
    ) -> Tensor:
        """Return mask logits, (S, H/4, W/4), for S embeddings of the batch.

        src_proj: (B, d, h, w), the image before the encoder;
        attention_maps: (S, M, h, w);
        image_index: (S,) int64, the image each embedding belongs to.
        """
        shared = self.prepare(src_proj, pyramid)
        mine = [x[image_index] for x in shared]
        return self.masks(attention_maps, *mine)

    def prepare(self, src_proj: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """Return what all queries of an image share, each (B, C, h, w)."""
        shared = [self._image(src_proj)]
        for level, adapter in (
            (pyramid.res4, self.adapter1),
            (pyramid.res3, self.adapter2),
            (pyramid.res2, self.adapter3),
        ):
            nothing = torch.zeros_like(level[:, :1])
            shared.append(adapter(level) if self.pyramid else nothing)
        return shared

    def masks(self, maps, image, res4, res3, res2) -> Tensor:
        """Return the mask logits of S queries beside what each shares."""
        x = self.gn1(self._first(image, maps)).relu_()
        x = self.gn2(self.lay2(x)).relu_()
        x = self.gn3(self.lay3(_fuse(x, res4))).relu_()
        x = self.gn4(self.lay4(_fuse(x, res3))).relu_()
        x = self.gn5(self.lay5(_fuse(x, res2))).relu_()
        return self.out_lay(x)[:, 0]

    def _image(self, src_proj: Tensor) -> Tensor:
        """Return the image's part of the first convolution."""
        weight = self.lay1.weight[:, : src_proj.shape[1]]
        return F.conv2d(src_proj, weight, self.lay1.bias, padding=1)

    def _first(self, image: Tensor, maps: Tensor) -> Tensor:
        """Add the maps' part of it to the image's: (S, d + M, h, w)."""
        weight = self.lay1.weight[:, -maps.shape[1] :]
        return F.conv2d(maps, weight, padding=1).add_(image)


def _fuse(x: Tensor, features: Tensor) -> Tensor:
    """Bring x to the size of the features and add them."""
    size = features.shape[-2:]
    return F.interpolate(x, size=size, mode="nearest").add_(features)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        nn.init.zeros_(module.bias)


def _stage(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.GroupNorm]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1),
        ExactGroupNorm(8, outputs),
    )


class ExactGroupNorm(nn.GroupNorm):
    """GroupNorm that rounds alike in every memory format.

    PyTorch's own, where channels come last, is off a hundred times as far:
    enough to give another mask a pixel between two nearly equal ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) -> (S, C, H, W)."""
        if x.is_contiguous():
            return super().forward(x)
        y = super().forward(x.contiguous())
        return y.contiguous(memory_format=torch.channels_last)
