"""The benchmark compares like with like: all sides give the same."""

import mmap
import sys
from pathlib import Path

import pytest
import torch
from support import CONFIG

from detr_lite.data.batch import pad_images
from detr_lite.inference.model import build_model
from detr_lite.models import ModelConfig
from detr_lite.panoptic_detr import all_queries

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402  (they lie in tools/, which is no package)
import reference  # noqa: E402

SMALL = ModelConfig(
    exact_padding=False,
    num_classes=20,
    bottleneck=False,
    depths=(1, 1, 1, 1),
    resnet_width=16,
    width=128,
    encoder_layers=1,
    decoder_layers=2,
    feedforward=32,
    dropout=0.0,
    num_queries=20,
    context=128,
)


@torch.no_grad()
def test_with_the_savings_off_the_model_gives_the_same(tiny_model, scenes):
    inputs = pad_images([scenes[0].image, scenes[1].image])
    ours = tiny_model(*inputs, all_queries)
    head, body = tiny_model.mask_head, tiny_model.detr.backbone[0].body
    with reference.savings_off(tiny_model):
        assert isinstance(tiny_model.mask_head, reference.UnsplitMaskHead)
        assert "forward" not in vars(body.conv1)
        other = tiny_model(*inputs, all_queries)
    assert tiny_model.mask_head is head
    assert "forward" in vars(body.conv1)
    assert type(head).__name__ == "MaskHead"
    for name in ("class_logits", "boxes", "mask_logits"):
        mine, theirs = getattr(ours, name), getattr(other, name)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["post_processing", "matcher"])
def test_a_small_case_gives_the_references_answer(monkeypatch, kind):
    monkeypatch.setitem(
        bench.CASES, "small", (kind, (96, 128), 3, bench.SIDES[:2], 1)
    )
    case = bench.run_case("small", CONFIG, fresh=False)
    assert case["reference"]["different"] == 0
    assert case["of"] > 0
    assert case["ours"]["seconds"] > 0


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("inference", 0.01 * 96 * 128),
        ("mask_step", 1e-3),
        ("box_step", 1e-2),
    ],
)
def test_all_sides_of_a_small_model_agree(monkeypatch, kind, most):
    """But for pixels whose two best masks tie, to rounding."""
    monkeypatch.setitem(
        bench.CASES, "small", (kind, (96, 128), 1, bench.SIDES, 1)
    )
    case = bench.run_case("small", SMALL, fresh=False)
    assert case["reference"]["different"] <= most
    assert {*bench.SIDES} <= {*case}
    if kind == "mask_step":
        assert case["transformers"]["different"] <= most
    if kind == "inference":
        # The comparison means something: few pixels tie, several win.
        assert case["ties"] < 0.1 * case["of"]
        for side in bench.SIDES[1:]:
            assert case[side]["different_not_tied"] == 0
            apart = case["rounding"]["ours"] + case["rounding"][side]
            assert case[side]["widest_gap"] <= 2 * apart


def test_pixels_that_differ_are_counted_by_their_gaps(monkeypatch):
    ids = {
        "ours": torch.zeros(1, 2, 3, dtype=torch.int64),
        "reference": torch.tensor([[[0, 0, 1], [1, 1, 0]]]),
    }
    gap = torch.tensor([[[1e-6, 0, 2e-5], [5e-6, 3e-5, 1]]])
    monkeypatch.setitem(
        bench.KINDS, "inference", lambda side, *_: lambda: ids[side]
    )
    monkeypatch.setattr(bench, "gaps", lambda *_: gap)
    case = ("inference", (2, 3), 1, bench.TWO, 1)
    monkeypatch.setitem(bench.CASES, "small", case)
    case = bench.run_case("small", SMALL, fresh=False)
    assert case["of"] == 6
    assert case["ties"] == 3
    assert case["reference"]["different"] == 3
    assert case["reference"]["different_not_tied"] == 2
    assert case["reference"]["widest_gap"] == pytest.approx(3e-5)


@pytest.mark.parametrize("kind", ["backbone", "transformer", "mask_head"])
def test_the_parts_give_the_same(monkeypatch, kind):
    case = (kind, (96, 128), 1, bench.TWO, 1)
    monkeypatch.setitem(bench.CASES, "small", case)
    case = bench.run_case("small", SMALL, fresh=False)
    assert case["reference"]["different"] < 1e-3
    counts = [case[s]["giga_multiply_adds"] for s in bench.TWO]
    assert counts[0] > 0
    assert (counts[0] < counts[1]) == (kind == "mask_head")


def test_the_shipped_model_gives_the_same(monkeypatch):
    case = ("scenes", (96, 96), 2, bench.TWO, 1)
    monkeypatch.setitem(bench.CASES, "small", case)
    case = bench.run_case("small", fresh=False)
    assert case["of"] == 2 * 96 * 96
    assert case["reference"]["different"] <= 2


def test_settings_are_compared_with_the_default(monkeypatch):
    sides = [s for s in bench.SETTINGS if s != "compile=True"]
    case = ("settings", (96, 128), 1, sides, 1)
    monkeypatch.setitem(bench.CASES, "small", case)
    case = bench.run_case("small", SMALL, fresh=False)
    assert case["ours"]["different"] == 0
    assert case["chunk=4"]["different"] < 100
    assert 0 < case["precision=bf16"]["different"] < 96 * 128


def test_memory_is_told_apart_by_part(scenes):
    """A part's figure is its own peak, and what has been freed counts."""
    model = build_model(SMALL, bench.categories(20)).eval()
    size = 64 * 2**20

    def hold(module, inputs):
        with mmap.mmap(-1, size) as pages:  # from the system, and back to it
            pages.write(bytes(1) * size)

    model.mask_head.register_forward_pre_hook(hold)
    peaks = bench.Peaks()
    model(*pad_images([scenes[0].image]), all_queries)
    parts = dict(peaks.finish())
    assert list(parts) == ["backbone", "transformer", "mask_head", "rest"]
    most = max(parts.values())
    assert parts["mask_head"] == most
    assert most - parts["transformer"] > 0.9 * size / 1e6
    assert most - parts["rest"] > 0.9 * size / 1e6
    model(*pad_images([scenes[0].image]), all_queries)
    assert peaks.finish()["backbone"] == parts["backbone"]  # it has ended
