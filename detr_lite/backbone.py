"""The backbone: a ResNet that keeps Res2, Res3, Res4 and Res5 on the way.

Parameter names are torchvision's, so its ImageNet weights load as they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pyramid(NamedTuple):
    """The feature maps of one forward pass, fine to coarse.

    With ResNet-50: 256 x H/4 x W/4, 512 x H/8 x W/8, 1024 x H/16 x W/16 and
    2048 x H/32 x W/32, each with the batch in front.
    """

    res2: Tensor
    res3: Tensor
    res4: Tensor
    res5: Tensor


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics: a scale and a shift per channel.

    Images in a DETR batch are too few and too different for batch statistics.

    Source: FrozenBatchNorm2d in the original; a checkpoint's
    num_batches_tracked is dropped on loading.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what a channel is multiplied by, and what is added: (C,)."""
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        scale, shift = self.scale_and_shift()
        return x * scale[:, None, None] + shift[:, None, None]

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: ResNet-18 and -34."""

    expansion = 1

    def __init__(self, channels, width, norm, stride=1, dilation=1, first=1):
        super().__init__()
        self.conv1 = _conv3(channels, width, stride, first)
        self.bn1 = norm(width)
        self.conv2 = _conv3(width, width, 1, dilation)
        self.bn2 = norm(width)
        self.downsample = _shortcut(channels, width, norm, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y))
        return y.add_(self.downsample(x)).relu_()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: ResNet-50 and deeper."""

    expansion = 4

    def __init__(self, channels, width, norm, stride=1, dilation=1, first=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = _conv3(width, width, stride, first)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = norm(4 * width)
        self.downsample = _shortcut(channels, 4 * width, norm, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        return y.add_(self.downsample(x)).relu_()


def _conv3(channels, width, stride, dilation):
    return nn.Conv2d(
        channels,
        width,
        3,
        stride,
        padding=dilation,
        dilation=dilation,
        bias=False,
    )


def _shortcut(channels, width, norm, stride):
    """Return what brings x to a block's channels and size."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, stride, bias=False), norm(width)
    )


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out", nonlinearity="relu"
        )


def _stage(block, depth, channels, width, norm, stride, dilation):
    # The stride, and the dilation so far, belong to the first block.
    blocks = [block(channels, width, norm, stride, dilation, first=1)]
    channels = width * block.expansion
    for _ in range(depth - 1):
        blocks.append(block(channels, width, norm, 1, dilation, dilation))
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """A residual network without its classifier.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each of the four stages.
        width: channels inside the first stage; each further stage doubles.
        norm: FrozenBatchNorm2d for detection, nn.BatchNorm2d to pretrain.
        dilate_res5: keep the last stage at the resolution of the one before,
            with dilated convolutions ("DC5": twice the rows and columns).
        pool: the max-pooling after the stem; without it, and for small
            images, every map is twice as high and wide.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        norm: type[nn.Module] = FrozenBatchNorm2d,
        dilate_res5: bool = False,
        pool: bool = True,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        self.channels = [width * 2**i * block.expansion for i in range(4)]
        self.stride = (8 if dilate_res5 else 16) * (2 if pool else 1)
        last = (1, 2) if dilate_res5 else (2, 1)
        rates = ((1, 1), (2, 1), (2, 1), last)  # stride and dilation
        channels = width
        for i, (depth, rate) in enumerate(zip(depths, rates, strict=True)):
            stage = _stage(block, depth, channels, width * 2**i, norm, *rate)
            self.add_module(f"layer{i + 1}", stage)
            channels = self.channels[i]
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Pyramid:
        """(B, 3, H, W) normalized images -> four feature maps."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu_())
        res2 = self.layer1(x)
        res3 = self.layer2(res2)
        res4 = self.layer3(res3)
        return Pyramid(res2, res3, res4, self.layer4(res4))


class Backbone(nn.Module):
    """The ResNet as DETR uses it: feature maps and their padding mask.

    The original calls the ResNet `body`, hence the name in its weights.

    In a padded batch the convolutions see the padding: batch norm makes it a
    color like any other, and it leaks into the last rows and columns.  So
    images of other sizes get a batch of their own wherever that matters.
    """

    def __init__(self, body: ResNet):
        super().__init__()
        self.body = body

    def forward(
        self, images: Tensor, padding_mask: Tensor | None
    ) -> tuple[Pyramid, Tensor | None]:
        """Return the feature maps, and which positions of Res5 are padding.

        images: (B, 3, H, W); padding_mask: (B, H, W) bool, True = padding,
        or None if there is none.
        """
        pyramid = self.body(images)
        if padding_mask is None:
            return pyramid, None
        size = pyramid.res5.shape[-2:]
        mask = F.interpolate(padding_mask[:, None].float(), size)[:, 0]
        return pyramid, mask.bool()


def resnet(name: str, norm=FrozenBatchNorm2d, dilate_res5=False) -> ResNet:
    """Return torchvision's resnet18, 34, 50 or 101, with random weights."""
    block, depths = {
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
        "resnet101": (Bottleneck, (3, 4, 23, 3)),
    }[name]
    return ResNet(block, depths, norm=norm, dilate_res5=dilate_res5)
