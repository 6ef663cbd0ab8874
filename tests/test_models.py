"""The sizes and the names of the original's models."""

from dataclasses import replace

import pytest
import torch
import torchvision
from support import CONFIG, randomized

from detr_lite.data.categories import Categories, Category
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.inference.model import build_model
from detr_lite.models import SCENES_CONFIG, ModelConfig
from detr_lite.panoptic_detr import all_queries


def classes(count: int) -> Categories:
    return Categories(
        [Category(i + 1, str(i), True, (0, 0, 0)) for i in range(count)]
    )


def build(**options):
    """Return a model of the original's size; its tensors hold no numbers."""
    config = ModelConfig(num_classes=250, **options)
    with torch.device("meta"):
        return build_model(config, classes(250))


def test_each_part_has_as_many_parameters_as_the_originals():
    model = build()
    detr = model.detr
    counts = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in {
            "backbone": detr.backbone,
            "encoder": detr.transformer.encoder,
            "decoder": detr.transformer.decoder,
            "class": detr.class_embed,
            "bbox": detr.bbox_embed,
            "query": detr.query_embed,
            "input_proj": detr.input_proj,
            "bbox_attention": model.bbox_attention,
            "mask_head": model.mask_head,
        }.items()
    }
    assert counts == {
        "backbone": 23_454_912,
        "encoder": 7_890_432,
        "decoder": 9_473_024,
        "class": 64_507,
        "bbox": 132_612,
        "query": 25_600,
        "input_proj": 524_544,
        "bbox_attention": 131_584,
        "mask_head": 1_202_073,
    }


def original_layout() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of detr_resnet50_panoptic's weights."""
    shapes = {}

    def layer(name, *shape, bias=True):
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    with torch.device("meta"):
        resnet = torchvision.models.resnet50(weights=None)
    for name, tensor in resnet.state_dict().items():
        if "fc." not in name and "num_batches" not in name:
            shapes[f"detr.backbone.0.body.{name}"] = tuple(tensor.shape)
    run = "detr.transformer"
    for part, attentions, norms in (
        ("encoder", ["self_attn"], 2),
        ("decoder", ["self_attn", "multihead_attn"], 3),
    ):
        for i in range(6):
            here = f"{run}.{part}.layers.{i}"
            for attention in attentions:
                shapes[f"{here}.{attention}.in_proj_weight"] = (768, 256)
                shapes[f"{here}.{attention}.in_proj_bias"] = (768,)
                layer(f"{here}.{attention}.out_proj", 256, 256)
            layer(f"{here}.linear1", 2048, 256)
            layer(f"{here}.linear2", 256, 2048)
            for k in range(norms):
                layer(f"{here}.norm{k + 1}", 256)
    layer(f"{run}.decoder.norm", 256)
    layer("detr.class_embed", 251, 256)
    for i, outputs in enumerate((256, 256, 4)):
        layer(f"detr.bbox_embed.layers.{i}", outputs, 256)
    layer("detr.query_embed", 100, 256, bias=False)
    layer("detr.input_proj", 256, 2048, 1, 1)
    layer("bbox_attention.q_linear", 256, 256)
    layer("bbox_attention.k_linear", 256, 256)
    stages = [(264, 264), (128, 264), (64, 128), (32, 64), (16, 32)]
    for i, (outputs, inputs) in enumerate(stages, 1):
        layer(f"mask_head.lay{i}", outputs, inputs, 3, 3)
        layer(f"mask_head.gn{i}", outputs)
    layer("mask_head.out_lay", 1, 16, 3, 3)
    for i, (outputs, inputs) in enumerate(
        [(128, 1024), (64, 512), (32, 256)], 1
    ):
        layer(f"mask_head.adapter{i}", outputs, inputs, 1, 1)
    return shapes


@pytest.mark.parametrize("dc5", [False, True])
def test_names_and_shapes_are_the_originals(dc5):
    wanted = original_layout()
    assert len(wanted) == 490
    state = build(dilate_res5=dc5).state_dict()
    assert {n: tuple(t.shape) for n, t in state.items()} == wanted


def test_queries_start_from_a_normal_distribution():
    """Of mean 0 and standard deviation 1: 68 % lie within that."""
    torch.manual_seed(0)
    config = replace(CONFIG, num_queries=400)
    model = build_model(config, SCENE_CATEGORIES)
    queries = model.detr.query_embed.weight
    assert queries.mean().item() == pytest.approx(0, abs=0.02)
    assert queries.std().item() == pytest.approx(1, abs=0.02)
    within = (queries.abs() < 1).float().mean().item()
    assert within == pytest.approx(0.6827, abs=0.02)


@torch.no_grad()
def test_the_scenes_model_makes_12_by_12_positions_of_96_by_96_pixels():
    model = build_model(SCENES_CONFIG, SCENE_CATEGORIES).eval()
    images = torch.randn(1, 3, 96, 96)
    assert model.detr(images).memory.shape == (1, 128, 12, 12)


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 2])
def test_channels_last_gives_the_same_to_rounding(images):
    config = replace(CONFIG, resnet_width=16)
    model = randomized(build_model(config, SCENE_CATEGORIES)).eval()
    weight = model.detr.backbone[0].body.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    inputs = torch.randn(images, 3, 96, 80), None
    last = model(*inputs, all_queries)
    res2 = last.detection.pyramid.res2
    assert res2.is_contiguous(memory_format=torch.channels_last)
    other = model.to(memory_format=torch.contiguous_format)
    first = other(*inputs, all_queries)
    assert first.detection.pyramid.res2.is_contiguous()
    for name in ("class_logits", "boxes", "mask_logits"):
        torch.testing.assert_close(
            getattr(last, name), getattr(first, name), rtol=1e-4, atol=1e-4
        )
