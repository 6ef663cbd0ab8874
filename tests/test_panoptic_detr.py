"""The whole model: exact savings, and independence from the batch."""

import copy
from dataclasses import replace

import pytest
import torch
from support import CONFIG, TWO_CLASSES, gradients, randomized
from torch import nn

from detr_lite.backbone import Pyramid
from detr_lite.data.batch import collate
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.detr import found
from detr_lite.inference.model import build_model
from detr_lite.losses import MaskLoss
from detr_lite.matching import HungarianMatcher
from detr_lite.panoptic import panoptic_results
from detr_lite.panoptic_detr import all_queries

THINGS = [c.isthing for c in SCENE_CATEGORIES]


@pytest.fixture
def batch(scenes):
    return collate([scenes[i] for i in range(3)])


def every_third(detection):
    """Keep some queries, and of the second image none."""
    keep = torch.zeros_like(detection.class_logits[..., 0], dtype=torch.bool)
    keep[:, ::3] = True
    keep[1] = False
    return keep


@torch.no_grad()
def test_shapes(tiny_model, batch):
    output = tiny_model(batch.images, batch.padding_mask, all_queries)
    assert output.class_logits.shape == (3, 12, 9)
    assert output.boxes.shape == (3, 12, 4)
    assert output.detection.box_embeddings.shape == (3, 12, 32)
    assert output.detection.src_proj.shape == (3, 32, 12, 12)
    assert output.detection.memory.shape == (3, 32, 12, 12)
    assert output.detection.padding_mask is None
    assert output.attention_maps.shape == (36, 8, 12, 12)
    assert output.mask_logits.shape == (36, 48, 48)
    layers = CONFIG.decoder_layers
    assert output.detection.layer_logits.shape == (layers, 3, 12, 9)
    assert output.detection.layer_boxes.shape == (layers, 3, 12, 4)


@torch.no_grad()
def test_the_mask_heads_kept_masks_are_those_of_all_bit_for_bit(
    tiny_model, batch
):
    """Nothing in the head mixes queries, so leaving some out is exact."""
    every = tiny_model(batch.images, batch.padding_mask, all_queries)
    keep = every_third(every.detection).flatten()
    some = tiny_model.mask_head(
        every.detection.src_proj,
        every.attention_maps[keep],
        every.image_index[keep],
        every.detection.pyramid,
    )
    assert len(some) == 8
    assert torch.equal(some, every.mask_logits[keep])


@torch.no_grad()
def test_the_kept_queries_get_what_they_get_among_all(tiny_model, batch):
    every = tiny_model(batch.images, batch.padding_mask, all_queries)
    some = tiny_model(batch.images, batch.padding_mask, every_third)
    keep = every_third(every.detection).flatten()
    assert torch.equal(some.image_index, every.image_index[keep])
    assert torch.equal(some.query_index, every.query_index[keep])
    close = torch.testing.assert_close
    maps = every.attention_maps[keep]
    close(some.attention_maps, maps, rtol=0, atol=1e-6)
    close(some.mask_logits, every.mask_logits[keep], rtol=0, atol=1e-5)


@torch.no_grad()
def test_by_default_the_queries_that_found_something_are_kept(
    sure_model, batch
):
    output = sure_model(batch.images, batch.padding_mask)
    sure = found(output.class_logits, 0.0)
    assert 0 < sure.sum() <= sure.numel()
    index = sure.nonzero()
    assert torch.equal(output.image_index, index[:, 0])
    assert torch.equal(output.query_index, index[:, 1])


def test_found_wants_a_class_and_a_score_above_the_threshold():
    probabilities = torch.tensor(
        [[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.0, 0.4, 0.6]]
    )
    sure = found(probabilities.log()[None], 0.6)
    assert sure.tolist() == [[True, False, False, False]]


@torch.no_grad()
def test_nothing_kept_gives_no_masks(tiny_model, batch):
    tiny_model.threshold = 1.0
    output = tiny_model(batch.images, batch.padding_mask)
    assert output.mask_logits.shape == (0, 48, 48)
    assert output.attention_maps.shape == (0, 8, 12, 12)
    assert output.image_index.tolist() == []
    assert output.boxes.shape == (3, 12, 4)


@torch.no_grad()
def test_permuting_the_queries_permutes_the_results(tiny_model, batch):
    order = torch.randperm(CONFIG.num_queries)
    shuffled = copy.deepcopy(tiny_model)
    shuffled.detr.query_embed.weight.data = (
        tiny_model.detr.query_embed.weight.data[order]
    )
    a = tiny_model(batch.images, batch.padding_mask, all_queries)
    b = shuffled(batch.images, batch.padding_mask, all_queries)
    for one, other in (
        (a.class_logits, b.class_logits),
        (a.boxes, b.boxes),
        (a.mask_logits.view(3, 12, -1), b.mask_logits.view(3, 12, -1)),
    ):
        torch.testing.assert_close(one[:, order], other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_queries_differ_from_each_other(tiny_model, batch):
    """Without this, permuting them would prove nothing."""
    output = tiny_model(batch.images, batch.padding_mask, all_queries)
    for tensor in (
        output.class_logits,
        output.boxes,
        output.mask_logits.view(3, 12, -1),
    ):
        assert tensor.std(1).mean() > 0.01


@torch.no_grad()
def test_a_picture_gives_the_same_in_a_batch_as_alone(sure_model, batch):
    """Images of one size: no padding, and so nothing may differ."""
    together = sure_model(batch.images, batch.padding_mask)
    for i in range(3):
        alone = sure_model(batch.images[i : i + 1])
        mine = together.image_index == i
        for a, b in (
            (together.class_logits[i], alone.class_logits[0]),
            (together.boxes[i], alone.boxes[0]),
            (together.attention_maps[mine], alone.attention_maps),
            (together.mask_logits[mine], alone.mask_logits),
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def padded_pair(scenes):
    """A scene and a quarter of another, in one padded batch."""
    images = collate([scenes[0], scenes[1]]).images
    padding = torch.zeros(2, 96, 96, dtype=torch.bool)
    padding[1, 48:], padding[1, :, 48:] = True, True
    images[1, :, padding[1]] = 0
    return images, padding


@torch.no_grad()
def test_no_padding_is_a_mask_without_padding(tiny_model, batch):
    """None says the same as a mask that is False everywhere."""
    nothing = torch.zeros(3, 96, 96, dtype=torch.bool)
    one = tiny_model(batch.images, nothing, all_queries)
    other = tiny_model(batch.images, None, all_queries)
    for a, b in (
        (one.class_logits, other.class_logits),
        (one.boxes, other.boxes),
        (one.attention_maps, other.attention_maps),
        (one.mask_logits, other.mask_logits),
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_pictures_neighbors_in_the_batch_do_not_change_it(
    sure_model, scenes
):
    """Also where it is padded: only the padding's size may matter."""
    images, padding = padded_pair(scenes)
    sizes = [(96, 96), (48, 48)]
    before = sure_model(images, padding)
    images[0] = collate([scenes[5]]).images[0]
    after = sure_model(images, padding)
    torch.testing.assert_close(after.boxes[1], before.boxes[1])
    torch.testing.assert_close(
        after.mask_logits[after.image_index == 1],
        before.mask_logits[before.image_index == 1],
    )
    one, other = (
        panoptic_results(output, THINGS, (96, 96), sizes)
        for output in (before, after)
    )
    assert torch.equal(one[1].id_map, other[1].id_map)
    assert not torch.equal(one[0].id_map, other[0].id_map)


class Tiles(nn.Module):
    """A backbone whose features see one tile of pixels and no neighbor."""

    channels = (8, 16, 24, 40)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(3, channels, size, size)
            for channels, size in zip(self.channels, (2, 4, 8, 8), strict=True)
        )

    def forward(self, images):
        return Pyramid(*(layer(images) for layer in self.layers))


@pytest.fixture
def tile_model():
    model = build_model(CONFIG, SCENE_CATEGORIES)
    tiles = Tiles()
    other = build_model(replace(CONFIG, threshold=0.0), SCENE_CATEGORIES)
    model.detr.backbone[0].body = tiles
    model.detr.input_proj = nn.Conv2d(40, CONFIG.width, 1)
    model.mask_head = type(other.mask_head)(
        CONFIG.width, CONFIG.heads, Tiles.channels[:3], CONFIG.context
    )
    return randomized(model).eval()


@torch.no_grad()
def test_padding_is_invisible_to_the_detector_and_the_attention_maps(
    tile_model, scenes
):
    """A padded image gives what it gives alone.

    With convolutions as the backbone this holds but for the features next
    to the padding: there a convolution that alone would see its own zeros
    sees what batch norm made of the padding's.  The original is no
    different.  Tiles have no such border, so that here it must hold exactly,
    to rounding.
    """
    images, padding = padded_pair(scenes)
    together = tile_model(images, padding, all_queries)
    alone = tile_model(images[1:, :, :48, :48], None, all_queries)
    close = torch.testing.assert_close
    close(together.class_logits[1:], alone.class_logits, rtol=0, atol=1e-4)
    close(together.boxes[1:], alone.boxes, rtol=0, atol=1e-5)
    mine, its = together.detection, alone.detection
    close(mine.layer_logits[:, 1:], its.layer_logits, rtol=0, atol=1e-4)
    close(mine.layer_boxes[:, 1:], its.layer_boxes, rtol=0, atol=1e-5)
    memory = together.detection.memory[1:, :, :6, :6]
    close(memory, alone.detection.memory, rtol=0, atol=1e-4)
    maps = together.attention_maps[12:]
    close(maps[..., :6, :6], alone.attention_maps, rtol=0, atol=1e-6)
    assert maps[..., 6:, :].max() == 0
    assert maps[..., 6:].max() == 0


@torch.no_grad()
def test_padding_reaches_the_masks_through_group_norm_alone(
    tile_model, scenes
):
    """GroupNorm takes its mean over the padding too, as in the original.

    Without the norms, and without the border of the convolutions, a padded
    image's masks are those it has alone; with them they are not.
    """
    images, padding = padded_pair(scenes)
    head = tile_model.mask_head
    for layer in (head.lay1, head.lay2, head.lay3, head.lay4, head.lay5):
        layer.weight[...] = layer.weight.sum((2, 3), keepdim=True) * (
            torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
        )
    head.out_lay.weight[:, :, [0, 2]] = 0
    head.out_lay.weight[..., [0, 2]] = 0

    def difference():
        together = tile_model(images, padding, all_queries)
        alone = tile_model(images[1:, :, :48, :48], None, all_queries)
        mine = together.mask_logits[12:, :24, :24]
        scale = alone.mask_logits.abs().max()
        return (mine - alone.mask_logits).abs().max() / scale

    assert difference() > 1e-2
    for name in ("gn1", "gn2", "gn3", "gn4", "gn5"):
        setattr(head, name, nn.Identity())
    assert difference() < 1e-4


@torch.no_grad()
def test_attention_maps_come_from_the_encoded_image(tiny_model, batch):
    """The keys are `memory`, after the encoder; not `src_proj`, before."""
    detection = tiny_model.detr(batch.images, batch.padding_mask)
    keep = all_queries(detection).nonzero(as_tuple=True)
    before = tiny_model.add_masks(detection, *keep)
    other = torch.randn_like(detection.memory)
    moved = tiny_model.add_masks(replace(detection, memory=other), *keep)
    still = tiny_model.add_masks(replace(detection, src_proj=other), *keep)
    assert not torch.allclose(moved.attention_maps, before.attention_maps)
    assert torch.equal(still.attention_maps, before.attention_maps)


@torch.no_grad()
def test_the_mask_heads_image_is_the_one_before_the_encoder(tiny_model, batch):
    detection = tiny_model.detr(batch.images, batch.padding_mask)
    keep = all_queries(detection).nonzero(as_tuple=True)
    before = tiny_model.add_masks(detection, *keep)
    other = torch.randn_like(detection.src_proj)
    moved = tiny_model.add_masks(replace(detection, src_proj=other), *keep)
    assert not torch.allclose(moved.mask_logits, before.mask_logits)


@torch.no_grad()
def test_masks_come_from_the_last_decoder_layer(tiny_model, batch):
    detection = tiny_model.detr(batch.images, batch.padding_mask)
    embeddings = detection.box_embeddings
    logits = tiny_model.detr.class_embed(embeddings)
    boxes = tiny_model.detr.bbox_embed(embeddings).sigmoid()
    close = torch.testing.assert_close
    close(detection.class_logits, logits, rtol=0, atol=1e-5)
    close(detection.boxes, boxes, rtol=0, atol=1e-5)
    assert torch.equal(detection.class_logits, detection.layer_logits[-1])
    assert torch.equal(detection.boxes, detection.layer_boxes[-1])
    first = detection.layer_logits[0]
    assert not torch.allclose(first, logits, atol=1e-2)


def mask_gradients(model, batch, matched_only):
    """Return the mask loss and its gradients, with few masks or with all."""
    model.zero_grad()
    loss = MaskLoss()
    detection = model.detr(batch.images, batch.padding_mask)
    targets = batch.targets
    (queries,) = HungarianMatcher()(
        detection.layer_logits[-1:], detection.layer_boxes[-1:], targets
    )
    if matched_only:
        output = model.add_masks(detection, targets.image, queries)
        masks = output.mask_logits
    else:
        keep = all_queries(detection).nonzero(as_tuple=True)
        output = model.add_masks(detection, *keep)
        masks = output.mask_logits.view(3, CONFIG.num_queries, 48, 48)
        masks = masks[targets.image, queries]
    parts = loss(masks, torch.arange(len(queries)), targets, 7.0)
    parts["loss"].backward()
    found = gradients(model)
    return parts, {name: value.clone() for name, value in found.items()}


def test_masks_for_matched_queries_alone_give_the_same_loss_and_gradients(
    tiny_model, batch
):
    model = tiny_model.double()
    batch = replace(batch, images=batch.images.double())
    few, its = mask_gradients(model, batch, matched_only=True)
    many, theirs = mask_gradients(model, batch, matched_only=False)
    for name in ("loss", "focal", "dice"):
        torch.testing.assert_close(few[name], many[name])
    assert its.keys() == theirs.keys()
    assert any(name.startswith("mask_head") for name in its)
    # Some gradients are 0 but for rounding: the first decoder layer's
    # self-attention has no queries yet to compare.
    rounding = 1e-13 * max(g.abs().max() for g in theirs.values())
    for name in its:
        allowed = 1e-5 * theirs[name].abs().max() + rounding
        assert (its[name] - theirs[name]).abs().max() <= allowed, name


def test_the_number_of_classes_must_be_that_of_the_categories():
    from detr_lite.errors import ConfigError

    with pytest.raises(ConfigError, match=r"8 classes.* 2; they must agree"):
        build_model(CONFIG, TWO_CLASSES)


def test_the_frozen_detector_keeps_nothing_for_a_gradient(tiny_model, batch):
    """In phase masks only the two heads take part in the graph."""
    tiny_model.detr.requires_grad_(False)
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        detection = tiny_model.detr(batch.images, batch.padding_mask)
        assert kept == []
        some = every_third(detection).nonzero(as_tuple=True)
        output = tiny_model.add_masks(detection, *some)
    assert kept
    assert output.mask_logits.requires_grad
    assert not detection.class_logits.requires_grad
    assert all(not level.requires_grad for level in detection.pyramid)
