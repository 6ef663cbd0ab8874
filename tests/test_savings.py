"""What production saves changes no answer: norms folded into convolutions."""

import copy

import pytest
import torch
from support import randomized

from detr_lite.backbone import (
    BasicBlock,
    Bottleneck,
    FrozenBatchNorm2d,
    ResNet,
)
from detr_lite.inference.model import build_model
from detr_lite.savings.folded_norms import fold_norms, unfold_norms


def features_and_gradients(net, images):
    net.zero_grad()
    pyramid = net(images)
    sum((level**2).mean() for level in pyramid).backward()
    return [*pyramid, *(p.grad.clone() for p in net.parameters())]


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_folded_norm_gives_the_same_features_and_gradients(block):
    net = ResNet(block, (2, 1, 1, 1), width=8).double()
    randomized(net)
    images = torch.randn(2, 3, 64, 48, dtype=torch.float64)
    wanted = features_and_gradients(net, images)
    fold_norms(net)
    folded = features_and_gradients(net, images)
    unfold_norms(net)
    again = features_and_gradients(net, images)
    for mine, other, same in zip(folded, wanted, again, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
        assert torch.equal(same, other)


def passes(net: ResNet) -> int:
    """Count the multiplications of whole maps that a forward pass makes."""
    seen = []

    class Counts(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if function is torch.ops.aten.mul.Tensor:
                seen.append(result.dim() == 4 and len(result) == 5)
            return result

    with torch.no_grad(), Counts():
        net(torch.randn(5, 3, 64, 64))  # five images: no weight has this
    return sum(seen)


def test_a_folded_norm_makes_no_pass_of_its_own():
    net = ResNet(BasicBlock, (2, 2, 2, 2), 8)
    assert passes(net) == 20
    fold_norms(net)
    assert passes(net) == 0


def test_ordinary_batch_norms_stay_as_they_are():
    net = ResNet(BasicBlock, (1, 1, 1, 1), 8, torch.nn.BatchNorm2d)
    fold_norms(net)
    assert not any("forward" in vars(m) for m in net.modules())


def test_a_copy_of_a_folded_model_computes_with_its_own_weights(tiny_model):
    other = copy.deepcopy(tiny_model)
    images = torch.randn(1, 3, 96, 96)
    before = tiny_model.detr.backbone[0].body(images)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    after = tiny_model.detr.backbone[0].body(images)
    assert all(map(torch.equal, before, after))
    assert not other.detr.backbone[0].body(images).res5.equal(after.res5)


def test_models_are_built_with_folded_norms(tiny_model):
    model = build_model(tiny_model.config, tiny_model.categories)
    norms = [m for m in model.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert norms
    assert passes(model.detr.backbone[0].body) == 0


def changed(norm):
    """Change each of a norm's tensors in place."""
    with torch.no_grad():
        for number, buffer in enumerate(norm.buffers(), 1):
            buffer.add_(number / 10)
    return norm


def loaded(norm):
    other = randomized(FrozenBatchNorm2d(8)).to(norm.weight.dtype)
    norm.load_state_dict(other.state_dict())
    return norm


def replaced(norm):
    """Give a norm a tensor that wasn't there before."""
    norm.running_mean = norm.running_mean + 1
    return norm


CHANGES = {
    "in place": changed,
    "by loading": loaded,
    "by assignment": replaced,
    "of type": lambda norm: norm.float(),
}


def convolved(net, x):
    """Return what the folded net computes, and what its parts do."""
    convolution, norm = net
    weight = convolution.weight, None, 1, 1
    wanted = norm.scale_and_shift()
    plain = torch.conv2d(x, *weight)
    scaled = plain * wanted[0][:, None, None] + wanted[1][:, None, None]
    return net(x), scaled


def folded(dtype=torch.float64):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), FrozenBatchNorm2d(8)
    )
    randomized(net)
    fold_norms(net)
    return net.to(dtype), torch.randn(2, 3, 9, 7, dtype=dtype)


def assert_same(mine, other):
    tiny = torch.finfo(mine.dtype).eps * 100
    torch.testing.assert_close(mine, other, rtol=tiny, atol=tiny)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.enable_grad, torch.inference_mode]
)
def test_what_is_worked_out_once_follows_the_norm(change, mode):
    """Whatever way its statistics change after they were used."""
    net, x = folded()
    with mode():
        before, wanted = convolved(net, x)
    assert_same(before, wanted)
    change(net[1])
    net.to(net[1].weight.dtype)
    with mode():
        after, wanted = convolved(net, x.to(net[1].weight.dtype))
    assert_same(after, wanted)
    assert not torch.equal(after, before.to(after.dtype))


def test_a_copy_of_a_net_that_was_used_has_norms_of_its_own():
    net, x = folded()
    net(x)
    other = copy.deepcopy(net)
    changed(other[1])
    for one in (other, net):
        assert_same(*convolved(one, x))
    assert not torch.allclose(other(x), net(x))
    changed(net[1])
    assert_same(*convolved(net, x))


def test_what_is_worked_out_while_nothing_is_learned_serves_training():
    """Used in inference mode first, the weights still get gradients."""
    net, x = folded()
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    gradient = net[0].weight.grad.clone()
    net[0].weight.grad = None
    unfold_norms(net)
    net(x).sum().backward()
    assert_same(gradient, net[0].weight.grad)
