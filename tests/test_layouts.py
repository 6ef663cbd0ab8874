"""Names of tensors: the same weights in every layout, bit for bit.

That transformers means the same by its names is shown by its results, in
tests/test_parity.py and tests/test_saving.py.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
import torchvision
from support import CONFIG, randomized

from detr_lite.data.coco.categories import original_categories
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import WeightsError
from detr_lite.inference.model import build_model
from detr_lite.models import ModelConfig
from detr_lite.weights.layouts import LAYOUTS, convert, layout_of


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(params=["panoptic", "boxes", "bottleneck"])
def state(request):
    """The tensors of a tiny model under our names."""
    config = replace(
        CONFIG,
        masks=request.param != "boxes",
        bottleneck=request.param == "bottleneck",
        decoder_layers=12,  # two digits
    )
    return randomized(build_model(config, SCENE_CATEGORIES)).state_dict()


@pytest.mark.parametrize("own_resnet", [False, True])
def test_no_way_round_changes_a_bit(state, own_resnet):
    for first, second in product(LAYOUTS, LAYOUTS):
        there = convert(state, first, own_resnet)
        further = convert(there, second, own_resnet)
        assert same(further, convert(state, second, own_resnet))
        assert same(convert(further, "detr_lite"), state)


def test_layouts_are_recognized(state):
    for layout in LAYOUTS:
        wanted = "original" if layout == "detr_lite" else layout
        assert layout_of(convert(state, layout)) == wanted


def full(layout, **options) -> dict[str, torch.Size]:
    """Return the names and shapes of a model of the original's size."""
    count = 250 if options.get("masks", True) else 91
    config = ModelConfig(num_classes=count, **options)
    with torch.device("meta"):
        model = build_model(config, original_categories(count))
    state = convert(model.state_dict(), layout)
    return {name: tensor.shape for name, tensor in state.items()}


R101 = {"depths": (3, 4, 23, 3)}


@pytest.mark.parametrize(
    ("options", "entries"),
    [({}, 490), ({"masks": False}, 458), (R101, 745),
     (R101 | {"masks": False}, 713)],
)  # fmt: skip
def test_files_have_as_many_entries_as_the_originals(options, entries):
    """18 attentions have 4 tensors more in transformers."""
    assert len(full("original", **options)) == entries
    for layout in ("transformers", "transformers5"):
        assert len(full(layout, **options)) == entries + 18 * 4


@pytest.mark.parametrize(
    ("masks", "trained", "parameters"),
    [(True, 42_676_888, 42_899_288), (False, 41_302_368, 41_524_768)],
)
def test_r50_has_as_many_parameters_as_the_original(
    masks, trained, parameters
):
    """The original trains neither the stem nor the first stage."""
    count = 250 if masks else 91
    config = ModelConfig(num_classes=count, masks=masks)
    with torch.device("meta"):
        model = build_model(config, original_categories(count))
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    frozen = ("body.conv1.", "body.layer1.")
    assert sum(sizes.values()) == parameters
    assert trained == sum(
        size for n, size in sizes.items() if not any(f in n for f in frozen)
    )


@pytest.mark.parametrize(
    ("masks", "parameters"), [(True, 61_839_192), (False, 60_464_672)]
)
def test_r101_has_as_many_parameters_as_the_original(masks, parameters):
    count = 250 if masks else 91
    config = ModelConfig(num_classes=count, masks=masks, **R101)
    with torch.device("meta"):
        model = build_model(config, original_categories(count))
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("masks", [True, False])
def test_names_in_published_files(masks):
    """A sample of the table; a model without masks has no `detr.`."""
    mine, theirs, version5 = (
        full(layout, masks=masks)
        for layout in ("original", "transformers", "transformers5")
    )
    detr = "detr." if masks else ""
    classes = 251 if masks else 92
    assert mine[f"{detr}class_embed.weight"] == (classes, 256)
    where = f"{detr}model.decoder.layers.5"
    for state in (theirs, version5):
        assert state[f"{detr}class_labels_classifier.bias"] == (classes,)
        assert state[f"{where}.encoder_attn.q_proj.weight"] == (256, 256)
        assert state[f"{where}.encoder_attn_layer_norm.weight"] == (256,)
        assert state[f"{detr}model.decoder.layernorm.weight"] == (256,)
    assert theirs[f"{where}.fc1.weight"] == (2048, 256)
    assert version5[f"{where}.mlp.fc1.weight"] == (2048, 256)
    assert f"{where}.encoder_attn.out_proj.weight" in theirs
    assert f"{where}.encoder_attn.o_proj.weight" in version5
    assert ("mask_head.lay3.weight" in theirs) is masks
    if masks:
        refined = "mask_head.fpn_stages.0.refine.conv.weight"
        assert version5[refined] == theirs["mask_head.lay3.weight"]


def test_the_backbones_names_are_torchvisions_in_transformers_files():
    """timm, whose ResNet those files hold, has the same names."""
    with torch.device("meta"):
        wanted = torchvision.models.resnet50().state_dict()
    start = "detr.model.backbone.conv_encoder.model."
    assert {
        name.removeprefix(start)
        for name in full("transformers")
        if name.startswith(start)
    } == {n for n in wanted if "num_batches" not in n and "fc." not in n}


def test_batch_counters_are_dropped(state):
    for layout in LAYOUTS:
        there = convert(state, layout)
        body = next(n for n in there if n.endswith("bn1.running_var"))
        counter = body.replace("running_var", "num_batches_tracked")
        more = there | {counter: torch.tensor(7)}
        assert same(convert(more, "detr_lite"), state)


def test_unknown_names_stay(state):
    for layout in LAYOUTS:
        more = convert(state, layout) | {"detr.extra.weight": torch.ones(2)}
        assert "detr.extra.weight" in convert(more, "detr_lite")


def test_queries_without_keys_stay_as_they_are(state):
    """What cannot be put together is for the loader to name."""
    there = convert(state, "transformers")
    name = next(n for n in there if n.endswith("self_attn.k_proj.weight"))
    del there[name]
    back = convert(there, "detr_lite")
    assert any(n.endswith("self_attn.q_proj.weight") for n in back)


def test_other_tensors_and_layouts_are_refused(state):
    assert layout_of({"weight": torch.ones(1)}) is None
    with pytest.raises(WeightsError, match="not those of a DETR"):
        convert({"weight": torch.ones(1)}, "original")
    with pytest.raises(WeightsError, match="original, transformers"):
        convert(state, "keras")
