"""The mask head: exact savings, and what it makes of its inputs."""

import pytest
import torch
from support import randomized
from torch import nn

from detr_lite.backbone import Pyramid
from detr_lite.mask_head import ExactGroupNorm, MaskHead
from detr_lite.savings import mask_chunks
from detr_lite.savings.mask_chunks import ChunkedMaskHead

WIDTH, HEADS, CHANNELS = 32, 8, (8, 16, 24)


@pytest.fixture
def head():
    return randomized(MaskHead(WIDTH, HEADS, CHANNELS, context=128)).double()


def chunked(head, chunk):
    """Return a head of the same weights that makes a few masks at a time."""
    other = ChunkedMaskHead(
        WIDTH, HEADS, CHANNELS, context=128, chunk=chunk
    ).double()
    other.load_state_dict(head.state_dict())
    return other


@pytest.fixture
def inputs():
    """Two images of 72 x 60 pixels; 3 embeddings of the first, 2 of the
    second."""
    double = {"dtype": torch.float64}
    sizes = [(18, 15), (9, 8), (5, 4), (3, 2)]
    pyramid = Pyramid(
        *(
            torch.randn(2, channels, *size, **double)
            for channels, size in zip((*CHANNELS, 40), sizes, strict=True)
        )
    )
    src_proj = torch.randn(2, WIDTH, 3, 2, **double)
    maps = torch.rand(5, HEADS, 3, 2, **double)
    return src_proj, maps, torch.tensor([0, 0, 0, 1, 1]), pyramid


def by_stages(head, src_proj, maps, image_index, pyramid):
    """The head written out, one embedding at a time."""
    masks = []
    for one, i in zip(maps, image_index.tolist(), strict=True):
        x = torch.cat((src_proj[i], one))[None]
        x = head.gn1(head.lay1(x)).relu()
        x = head.gn2(head.lay2(x)).relu()
        for adapter, lay, norm, features in (
            (head.adapter1, head.lay3, head.gn3, pyramid.res4),
            (head.adapter2, head.lay4, head.gn4, pyramid.res3),
            (head.adapter3, head.lay5, head.gn5, pyramid.res2),
        ):
            larger = nn.Upsample(features.shape[-2:], mode="nearest")
            x = larger(x) + adapter(features[i : i + 1])
            x = norm(lay(x)).relu()
        masks.append(head.out_lay(x)[0, 0])
    return torch.stack(masks)


@torch.no_grad()
def test_head_equals_its_stages_one_embedding_at_a_time(head, inputs):
    masks = head(*inputs)
    assert masks.shape == (5, 18, 15)
    wanted = by_stages(head, *inputs)
    torch.testing.assert_close(masks, wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_split_first_convolution_gives_the_same_floats_to_rounding(inputs):
    head = randomized(MaskHead(WIDTH, HEADS, CHANNELS, context=128))
    src_proj, maps, index, pyramid = inputs
    single = (
        src_proj.float(),
        maps.float(),
        index,
        Pyramid(*(p.float() for p in pyramid)),
    )
    together = head(*single)
    wanted = by_stages(head, *single)
    torch.testing.assert_close(together, wanted, rtol=0, atol=1e-5)


def hears(layers):
    """Return a list that the number of maps a layer makes is added to."""
    seen = []
    for layer in layers:
        layer.register_forward_hook(
            lambda module, given, made: seen.append(len(made))
        )
    return seen


@torch.no_grad()
@pytest.mark.parametrize(
    ("chunk", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5])]
)
def test_masks_a_few_at_a_time_are_those_of_all_at_once(
    head, inputs, chunk, sizes
):
    together = head(*inputs)
    few = chunked(head, chunk)
    seen = hears([few.gn1])
    assert torch.equal(few(*inputs), together)
    assert seen == sizes


@pytest.mark.parametrize("chunk", [1, 2])
def test_for_gradients_all_masks_are_made_at_once(head, inputs, chunk):
    """They are kept anyway; and the gradients are those of MaskHead."""
    few = chunked(head, chunk)
    seen = hears([few.gn1])
    found = []
    for one in (few, head):
        one(*inputs).square().sum().backward()
        found.append([p.grad for p in one.parameters()])
    assert seen == [5]
    assert all(map(torch.equal, *found))


@torch.no_grad()
def test_small_masks_are_made_together_and_large_ones_one_by_one(
    head, inputs, monkeypatch
):
    """On a CPU, unless it is said how many."""
    for pixels, sizes in ((18 * 15, [5]), (18 * 15 - 1, [1] * 5)):
        monkeypatch.setattr(mask_chunks, "SMALL", pixels)
        usual = chunked(head, None)
        seen = hears([usual.gn1])
        assert torch.equal(usual(*inputs), head(*inputs))
        assert seen == sizes


@torch.no_grad()
@pytest.mark.parametrize("chunk", [None, 2])
def test_the_adapters_see_each_picture_once(head, inputs, chunk):
    """Not once for each embedding, nor for each chunk."""
    few = chunked(head, chunk)
    seen = hears([few.adapter1, few.adapter2, few.adapter3])
    few(*inputs)
    assert seen == [2, 2, 2]


@torch.no_grad()
def test_each_embedding_reads_the_picture_it_belongs_to(head, inputs):
    src_proj, maps, index, pyramid = inputs
    before = head(*inputs)
    src_proj[1] += 1
    pyramid.res2[1] += 1
    after = head(src_proj, maps, index, pyramid)
    assert torch.equal(after[:3], before[:3])
    assert not torch.isclose(after[3:], before[3:]).all(-1).any()


@torch.no_grad()
def test_no_embedding_gives_no_mask(head, inputs):
    src_proj, maps, index, pyramid = inputs
    for one in (head, chunked(head, 2)):
        none = one(src_proj, maps[:0], index[:0], pyramid)
        assert none.shape == (0, 18, 15)


@torch.no_grad()
@pytest.mark.parametrize("level", ["res2", "res3", "res4"])
def test_every_fine_feature_map_takes_part(head, inputs, level):
    before = head(*inputs)
    getattr(inputs[3], level)[:] = 0
    assert (head(*inputs) - before).abs().mean() > 1e-3


@torch.no_grad()
def test_group_norms_set_each_stages_mean_and_spread():
    """Eight groups of channels, each with mean 0 and variance 1."""
    head = MaskHead(WIDTH, HEADS, CHANNELS, context=128)
    x = torch.randn(2, 64, 9, 8) * 7 + 3
    groups = head.gn2(x).unflatten(1, (8, -1)).flatten(2)
    torch.testing.assert_close(
        groups.mean(-1), torch.zeros(2, 8), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        groups.var(-1, correction=0), torch.ones(2, 8), rtol=0, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "order", [torch.contiguous_format, torch.channels_last]
)
def test_group_norm_rounds_as_little_in_every_memory_format(order):
    """PyTorch's own is off by 5e-5 where channels come last."""
    x = 3 * torch.randn(2, 32, 100, 90) + 5
    norm = randomized(ExactGroupNorm(8, 32))
    exact = nn.GroupNorm(8, 32).double()
    exact.load_state_dict(norm.state_dict())
    y = norm(x.to(memory_format=order))
    assert y.is_contiguous(memory_format=order)
    assert (y - exact(x.double())).abs().max() < 5e-6


def test_group_norm_passes_gradients_in_every_memory_format():
    x = torch.randn(2, 16, 6, 5, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    norm = randomized(ExactGroupNorm(8, 16)).double()
    assert torch.autograd.gradcheck(norm, x)


def test_without_the_pyramid_the_features_are_not_used(head, inputs):
    head.pyramid = False
    before = head(*inputs)
    for features in inputs[3]:
        features[:] = 0
    assert torch.equal(head(*inputs), before)


def test_map_gain_multiplies_the_attention_maps_first_weights():
    torch.manual_seed(1)
    plain = MaskHead(WIDTH, HEADS, CHANNELS, context=128)
    torch.manual_seed(1)
    gained = MaskHead(WIDTH, HEADS, CHANNELS, context=128, map_gain=64.0)
    image, maps = plain.lay1.weight.split((WIDTH, HEADS), 1)
    its_image, its_maps = gained.lay1.weight.split((WIDTH, HEADS), 1)
    assert torch.equal(its_image, image)
    assert torch.equal(its_maps, 64 * maps)
