"""Settings that trade: near the exact answer, and undone by the next."""

from dataclasses import replace

import pytest
import torch
from support import CONFIG, TWO_CLASSES, randomized

from detr_lite.cli.main import main
from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import ConfigError
from detr_lite.inference import loading as weights
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model
from detr_lite.inference.options import Speed, device_named, tuned
from detr_lite.models import SCENES_CONFIG
from detr_lite.panoptic_detr import all_queries


@pytest.fixture
def inputs(scenes):
    return pad_images([scenes[i].image for i in range(2)])


@torch.no_grad()
def test_bf16_is_near_float32_and_undone_by_the_default(tiny_model, inputs):
    wanted = tiny_model(*inputs, all_queries)
    tuned(tiny_model, Speed(precision="bf16"))
    found = tiny_model(*inputs, all_queries)
    assert tiny_model.detr(*inputs).boxes.dtype == torch.float32
    for name in ("class_logits", "boxes", "mask_logits"):
        mine, exact = getattr(found, name), getattr(wanted, name)
        assert mine.dtype == torch.float32
        assert not torch.equal(mine, exact)  # it did compute in bf16
        assert (mine - exact).norm() < 0.05 * exact.norm()
    assert found.detection.pyramid.res2.dtype == torch.bfloat16
    tuned(tiny_model, Speed())
    assert torch.equal(
        tiny_model(*inputs, all_queries).mask_logits, wanted.mask_logits
    )


@torch.no_grad()
def test_bf16_ends_where_the_model_fails(tiny_model, inputs):
    tuned(tiny_model, Speed(precision="bf16"))
    with pytest.raises(RuntimeError):
        tiny_model(inputs[0][:, :2], inputs[1])
    assert not torch.is_autocast_enabled("cpu")


def test_the_shipped_model_sees_the_same_in_bf16(scenes):
    model = load_model("scenes", "cpu")
    exact = [model.predict(scenes[i].image) for i in range(4)]
    tuned(model, Speed(precision="bf16"))
    found = [model.predict(scenes[i].image) for i in range(4)]
    assert found[0].attention_maps.dtype == torch.float32
    for mine, other in zip(found, exact, strict=True):
        assert [s.label for s in mine.segments] == [
            s.label for s in other.segments
        ]
        same = (mine.id_map == other.id_map).float().mean()
        assert same > 0.98


def test_a_model_is_loaded_with_its_settings(scenes):
    model = load_model("scenes", "cpu", speed=Speed(precision="bf16"))
    image = scenes[0].image
    found, exact = (m.predict(image) for m in (model, load_model("scenes")))
    assert not torch.equal(found.attention_maps, exact.attention_maps)
    tuned(model, Speed())
    found = model.predict(image)
    assert torch.equal(found.attention_maps, exact.attention_maps)


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_commands_take_a_precision_and_a_device(monkeypatch, command):
    asked = []

    def instead(source, device, speed):
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
    assert weight.is_contiguous(memory_format=torch.channels_last)
    tuned(model, Speed(channels_last=False, chunk=100))
    assert weight.is_contiguous()
    assert model.mask_head.chunk == 100
    found = model(*inputs, all_queries).mask_logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    tuned(model, Speed(chunk=2))
    assert model.mask_head.chunk == 2
    tuned(model, Speed())  # pictures are small: all at once
    assert model.mask_head.chunk is None


@torch.no_grad()
def test_compiling_is_of_the_backbone_and_the_transformer(
    monkeypatch, tiny_model, inputs
):
    used = []

    def compiled(call, **options):
        def counted(*args, **kwargs):
            used.append(call.__self__)
            return call(*args, **kwargs)

        return counted

    monkeypatch.setattr(torch, "compile", compiled)
    tuned(tiny_model, Speed(compile=True))
    tiny_model(*inputs)
    detr = tiny_model.detr
    assert used == [detr.backbone[0].body, detr.transformer]
    tuned(tiny_model, Speed())
    tiny_model(*inputs)
    assert len(used) == 2


def test_a_detector_has_no_masks_to_make_in_parts(inputs):
    config = replace(CONFIG, num_classes=2, masks=False)
    model = build_model(config, TWO_CLASSES).eval()
    tuned(model, Speed(precision="bf16"))
    with torch.no_grad():
        assert model(*inputs).boxes.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "int8"}, "float32, bf16, fp16, not 'int8'"),
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
