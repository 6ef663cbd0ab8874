"""The backbone is torchvision's ResNet, and keeps four feature maps."""

import pytest
import torch
import torchvision
from support import randomized
from torch import nn

from detr_lite.backbone import (
    Backbone,
    FrozenBatchNorm2d,
    ResNet,
    resnet,
)


def theirs(name: str, **options) -> nn.Module:
    """Return torchvision's network with random weights and statistics."""
    model = getattr(torchvision.models, name)(weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def their_pyramid(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    found = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        found.append(x)
    return found


def their_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("fc.")
    }


@torch.no_grad()
@pytest.mark.parametrize("norm", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_feature_maps_equal_torchvisions(name, norm):
    other = theirs(name)
    mine = resnet(name, norm).double().eval()
    mine.load_state_dict(their_weights(other))
    images = torch.randn(2, 3, 70, 50, dtype=torch.float64)
    for a, b in zip(mine(images), their_pyramid(other, images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_dc5_equals_torchvisions_dilated_last_stage():
    dilate = [False, False, True]
    other = theirs("resnet50", replace_stride_with_dilation=dilate)
    mine = resnet("resnet50", dilate_res5=True).double()
    mine.load_state_dict(their_weights(other))
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    pyramid = mine(images)
    assert pyramid.res5.shape[-2:] == pyramid.res4.shape[-2:]
    for a, b in zip(pyramid, their_pyramid(other, images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101"])
def test_names_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        other = getattr(torchvision.models, name)(weights=None)
        mine = resnet(name)
    wanted = {
        key: tensor.shape
        for key, tensor in their_weights(other).items()
        if not key.endswith("num_batches_tracked")
    }
    assert {k: t.shape for k, t in mine.state_dict().items()} == wanted


def test_resnet50_makes_the_papers_shapes_of_a_coco_picture():
    with torch.device("meta"):
        pyramid = resnet("resnet50")(torch.empty(1, 3, 800, 1066))
    assert pyramid.res2.shape == (1, 256, 200, 267)
    assert pyramid.res3.shape == (1, 512, 100, 134)
    assert pyramid.res4.shape == (1, 1024, 50, 67)
    assert pyramid.res5.shape == (1, 2048, 25, 34)


@pytest.mark.parametrize(
    ("options", "stride", "sizes"),
    [
        ({}, 32, [24, 12, 6, 3]),
        ({"dilate_res5": True}, 16, [24, 12, 6, 6]),
        ({"pool": False}, 16, [48, 24, 12, 6]),
        ({"pool": False, "dilate_res5": True}, 8, [48, 24, 12, 12]),
    ],
)
def test_pool_and_dilation_set_the_sizes_of_the_maps(options, stride, sizes):
    net = ResNet(depths=(1, 1, 1, 1), width=8, **options)
    pyramid = net(torch.randn(1, 3, 96, 96))
    assert [p.shape[-1] for p in pyramid] == sizes
    assert [p.shape[-2] for p in pyramid] == sizes
    assert net.stride == 96 / sizes[-1] == stride


def test_channels_lists_the_channels_of_the_maps():
    for name in ("resnet18", "resnet50"):
        with torch.device("meta"):
            net = resnet(name)
            pyramid = net(torch.empty(1, 3, 64, 64))
        assert net.channels == [p.shape[1] for p in pyramid]


def test_frozen_batch_norm_keeps_its_statistics_in_train_mode():
    norm = FrozenBatchNorm2d(4)
    norm.running_mean.uniform_()
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    x = torch.randn(2, 4, 5, 5)
    in_eval = norm.eval()(x)
    assert torch.equal(norm.train()(x), in_eval)
    for name, tensor in norm.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_frozen_batch_norm_has_nothing_to_train():
    assert list(FrozenBatchNorm2d(4).parameters()) == []


@torch.no_grad()
def test_padding_mask_of_res5_marks_the_padded_positions():
    backbone = Backbone(randomized(ResNet(depths=(1, 1, 1, 1), width=8)))
    mask = torch.zeros(2, 96, 128, dtype=torch.bool)
    mask[1, 64:] = True
    mask[1, :, 32:] = True
    pyramid, small = backbone(torch.zeros(2, 3, 96, 128), mask)
    wanted = torch.zeros(2, 3, 4, dtype=torch.bool)
    wanted[1, 2:] = True
    wanted[1, :, 1:] = True
    assert torch.equal(small, wanted)
    assert pyramid.res5.shape[-2:] == small.shape[1:]


@torch.no_grad()
def test_without_padding_there_is_no_mask():
    body = randomized(ResNet(depths=(1, 1, 1, 1), width=8))
    images = torch.randn(2, 3, 64, 64)
    pyramid, mask = Backbone(body)(images, None)
    assert mask is None
    assert all(map(torch.equal, pyramid, body(images)))
