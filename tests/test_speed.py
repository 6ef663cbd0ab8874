"""Settings that trade: near the exact answer, on a model of their own."""

from dataclasses import replace

import pytest
import torch
from support import CONFIG, TWO_CLASSES, randomized, same_weights

from detr_lite.cli.main import main
from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.devices import device_named
from detr_lite.errors import ConfigError
from detr_lite.inference import loading as weights
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model, tuned
from detr_lite.inference.speed import Speed
from detr_lite.models import SCENES_CONFIG
from detr_lite.panoptic_detr import all_queries


@pytest.fixture
def inputs(scenes):
    return pad_images([scenes[i].image for i in range(2)])


@torch.no_grad()
def test_bf16_is_near_float32_and_leaves_the_model_as_it_is(
    tiny_model, inputs
):
    wanted = tiny_model(*inputs, all_queries)
    fast = tuned(tiny_model, Speed(precision="bf16"))
    found = fast(*inputs, all_queries)
    for name in ("class_logits", "boxes", "mask_logits"):
        mine, exact = getattr(found, name), getattr(wanted, name)
        assert mine.dtype == torch.float32
        assert not torch.equal(mine, exact)  # it did compute in bf16
        assert (mine - exact).norm() < 0.05 * exact.norm()
    assert found.detection.pyramid.res2.dtype == torch.bfloat16
    for model in (tiny_model, tuned(fast, Speed())):
        again = model(*inputs, all_queries)
        assert torch.equal(again.mask_logits, wanted.mask_logits)


def test_a_tuned_model_is_the_same_but_for_its_settings(tiny_model):
    """Its weights are shared: a second model costs no memory."""
    tiny_model.threshold = 0.3
    speed = Speed(precision="bf16", chunk=3)
    fast = tuned(tiny_model, speed)
    assert fast.speed == speed
    assert type(fast) is type(tiny_model)
    assert fast.config == tiny_model.config
    assert fast.categories == tiny_model.categories
    assert fast.threshold == 0.3
    assert same_weights(fast, tiny_model)
    mine, theirs = fast.state_dict(), tiny_model.state_dict()
    assert all(mine[n].data_ptr() == t.data_ptr() for n, t in theirs.items())
    assert not fast.training
    assert tuned(tiny_model.train(), speed).training


@torch.no_grad()
def test_bf16_ends_where_the_model_fails(tiny_model, inputs):
    fast = tuned(tiny_model, Speed(precision="bf16"))
    with pytest.raises(RuntimeError):
        fast(inputs[0][:, :2], inputs[1])
    assert not torch.is_autocast_enabled("cpu")


def test_the_shipped_model_sees_the_same_in_bf16(scenes):
    model = load_model("scenes", "cpu")
    fast = tuned(model, Speed(precision="bf16"))
    images = [scenes[i].image for i in range(4)]
    exact, found = model.predict(images), fast.predict(images)
    assert found[0].attention_maps.dtype == torch.float32
    for mine, other in zip(found, exact, strict=True):
        assert [s.label for s in mine.segments] == [
            s.label for s in other.segments
        ]
        same = (mine.id_map == other.id_map).float().mean()
        assert same > 0.98


def test_a_model_is_loaded_with_its_settings(scenes):
    speed = Speed(precision="bf16")
    model, exact = (
        load_model("scenes", "cpu", speed=speed),
        load_model("scenes"),
    )
    assert model.speed == speed
    assert exact.speed == Speed()
    assert model.load_report == exact.load_report
    image = scenes[0].image
    maps = exact.predict(image).attention_maps
    assert not torch.equal(model.predict(image).attention_maps, maps)
    again = tuned(model, Speed()).predict(image)
    assert torch.equal(again.attention_maps, maps)


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_commands_take_a_precision_and_a_device(monkeypatch, command):
    asked = []

    def instead(source, device, speed, exact_padding):
        asked.append((source, device, speed))
        raise ConfigError("enough")

    monkeypatch.setattr(weights, "load_model", instead)
    words = {"predict": ["data/scenes/images", "--out", "x"], "evaluate": []}
    for more in ([], ["--precision", "bf16", "--device", "cpu"]):
        assert main([command, *words[command], *more]) == 1
    assert asked == [
        ("scenes", None, Speed()),
        ("scenes", "cpu", Speed(precision="bf16")),
    ]


@torch.no_grad()
def test_fewer_masks_at_a_time_and_their_order_in_memory(inputs):
    model = randomized(build_model(SCENES_CONFIG, SCENE_CATEGORIES)).eval()
    wanted = model(*inputs, all_queries).mask_logits
    weight = model.mask_head.lay1.weight
    last = {"memory_format": torch.channels_last}
    assert weight.is_contiguous(**last)
    plain = tuned(model, Speed(channels_last=False, chunk=100))
    assert plain.mask_head.lay1.weight.is_contiguous()
    assert plain.mask_head.chunk == 100
    assert weight.is_contiguous(**last)  # as before
    few = tuned(plain, Speed(chunk=2))
    assert few.mask_head.chunk == 2
    assert few.mask_head.lay1.weight.is_contiguous(**last)
    for other in (plain, few):
        found = other(*inputs, all_queries).mask_logits
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_compiling_is_of_the_backbone_and_the_transformer(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch, "compile", lambda call, **_: compiled.append(call) or call
    )
    model = build_model(CONFIG, SCENE_CATEGORIES)
    assert not compiled
    fast = tuned(model, Speed(compile=True))
    parts = [fast.detr.backbone[0].body, fast.detr.transformer]
    assert [call.__self__ for call in compiled] == parts
    tuned(fast, Speed())
    assert len(compiled) == 2


def test_a_detector_has_no_masks_to_make_in_parts(inputs):
    config = replace(CONFIG, num_classes=2, masks=False)
    model = build_model(config, TWO_CLASSES).eval()
    fast = tuned(model, Speed(precision="bf16"))
    with torch.no_grad():
        wanted, found = model(*inputs), fast(*inputs)
    assert found.boxes.dtype == found.class_logits.dtype == torch.float32
    assert not torch.equal(found.boxes, wanted.boxes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "int8"}, "float32, tf32, bf16, fp16, not 'int8'"),
        ({"chunk": 0}, "at least 1 or None, not 0"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Speed(**settings)


def test_a_gpu_is_taken_if_there_is_one_cudas_first(monkeypatch):
    for cuda, mps, wanted in (
        (True, True, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda c=cuda: c)
        monkeypatch.setattr(
            torch.backends.mps, "is_available", lambda m=mps: m
        )
        assert device_named().type == wanted
        assert device_named("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "cpu:3"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="device"):
        device_named(name)
    with pytest.raises(ConfigError, match="device"):
        load_model("scenes", name)


@pytest.mark.parametrize("command", ["predict", "evaluate", "train"])
def test_each_command_takes_a_device(command, capsys, tmp_path):
    arguments = {
        "predict": ["data/scenes/images", "--out", str(tmp_path / "a")],
        "evaluate": [],
        "train": ["--out", str(tmp_path / "b"), "--steps", "2"],
    }[command]
    assert main([command, *arguments, "--device", "cuda:99"]) == 1
    assert "no device cuda:99" in capsys.readouterr().err
