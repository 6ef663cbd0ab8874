"""The benchmark compares like with like: all sides give the same."""

import copy
import json
import mmap
from types import SimpleNamespace
from xml.etree import ElementTree

import bench
import bench_tables
import pytest
import reference
import torch
from support import CONFIG
from torch.utils.flop_counter import FlopCounterMode

from detr_lite.data.batch import pad_images
from detr_lite.inference.model import build_model
from detr_lite.losses import DetectionLoss
from detr_lite.matching import HungarianMatcher
from detr_lite.models import ModelConfig
from detr_lite.panoptic_detr import all_queries
from detr_lite.targets import Targets

SMALL = ModelConfig(
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


@pytest.fixture
def measured(monkeypatch):
    """Return what runs a case of its own, and what it gives."""

    def run(kind, size, count, sides, config=SMALL):
        case = kind, size, count, sides, 1
        monkeypatch.setitem(bench.CASES, "small", case)
        return bench.run_case("small", config, fresh=False)

    return run


@torch.no_grad()
def test_with_the_savings_off_the_model_gives_the_same(tiny_model, scenes):
    inputs = pad_images([scenes[0].image, scenes[1].image])
    ours = tiny_model(*inputs, all_queries)
    head, body = tiny_model.mask_head, tiny_model.detr.backbone[0].body
    masks = []
    tiny_model.bbox_attention.register_forward_pre_hook(
        lambda module, inputs: masks.append(inputs[2])
    )
    with reference.savings_off(tiny_model):
        assert isinstance(tiny_model.mask_head, reference.UnsplitMaskHead)
        assert "forward" not in vars(body.conv1)
        other = tiny_model(*inputs, all_queries)
    assert masks[0].dtype == torch.bool  # the original knows no other batch
    assert tiny_model.mask_head is head
    assert "forward" in vars(body.conv1)
    assert type(head).__name__ == "ChunkedMaskHead"
    for name in ("class_logits", "boxes", "mask_logits"):
        mine, theirs = getattr(ours, name), getattr(other, name)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["post_processing", "matcher"])
def test_a_small_case_gives_the_references_answer(measured, kind):
    case = measured(kind, (96, 128), 3, bench.SIDES[:2], config=CONFIG)
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
def test_all_sides_of_a_small_model_agree(measured, kind, most):
    """But for pixels whose two best masks tie, to rounding."""
    case = measured(kind, (96, 128), 1, bench.SIDES)
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


def narrowed_first(head, features, attention_maps, pyramid):
    """Call transformers' mask head with the adapters before the copies."""
    narrow = [
        stage.fpn_adapter(level)
        for stage, level in zip(head.fpn_stages, pyramid, strict=True)
    ]
    head = copy.deepcopy(head)
    for stage in head.fpn_stages:
        stage.fpn_adapter = torch.nn.Identity()
    return head(features, attention_maps, narrow)


@torch.no_grad()
def test_transformers_runs_its_adapters_once_for_each_query():
    """Which is why it takes longer than the original's way."""
    torch.manual_seed(0)
    head = bench.theirs(build_model(SMALL, bench.categories(20)), SMALL)
    head = head.mask_head
    maps = torch.rand(1, 5, SMALL.heads, 3, 4)
    features = torch.randn(1, SMALL.width, 3, 4)
    pyramid = [
        torch.randn(1, stage.fpn_adapter.in_channels, 6 * 2**i, 8 * 2**i)
        for i, stage in enumerate(head.fpn_stages)
    ]
    with FlopCounterMode(display=False) as counter:
        theirs = head(features, maps, pyramid)
    with FlopCounterMode(display=False) as fewer:
        ours = narrowed_first(head, features, maps, pyramid)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    once = sum(
        2 * stage.fpn_adapter.weight.numel() * level[0, 0].numel()
        for stage, level in zip(head.fpn_stages, pyramid, strict=True)
    )
    apart = counter.get_total_flops() - fewer.get_total_flops()
    assert apart == (5 - 1) * once


def test_the_copies_explain_what_transformers_takes_beyond_the_original():
    """Of the paper's model, as it was measured."""
    case = json.loads(bench_tables.RESULTS.read_text())["inference_800x1066"]
    products, gigabytes = bench_tables.copies()
    ours, theirs = (
        case[side]["giga_multiply_adds"]
        for side in ("reference", "transformers")
    )
    assert theirs - ours == pytest.approx(products, rel=0.02)
    # What else a convolution takes depends on the machine.
    rest = case["transformers"]["growth_mb"] / 1000 - gigabytes
    assert 0 < rest < gigabytes / 2
    assert case["reference"]["growth_mb"] / 1000 < gigabytes / 2


def marks(svg):
    """Return the places of all marks and the texts of a chart."""
    tree = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    circles = [float(c.get("cx")) for c in tree.iter(f"{name}circle")]
    texts = [(float(t.get("x")), t.text) for t in tree.iter(f"{name}text")]
    return circles, texts


def test_a_chart_shows_each_sides_value_and_how_many_times_ours():
    case = {
        "ours": {"seconds": 0.1},
        "reference": {"seconds": 1.0},
        "transformers": {"seconds": 10.0},
    }
    shown = bench_tables.charts({"inference_480x640": case})
    circles, texts = marks(shown["bench_times.svg"])
    words = [text for _, text in texts]
    assert {"0.10 s", "10.0\N{MULTIPLICATION SIGN}"} <= {*words}
    assert "100.0\N{MULTIPLICATION SIGN}" in words
    # A decade apart: ours stands on its tick, the last a decade short of the
    # axis' end; its note begins right beside it.
    ticks = {text: x for x, text in texts if text in ("0.1", "1", "10")}
    assert circles[1] == pytest.approx(ticks["0.1"], abs=0.1)  # 0: the legend
    (last,) = [x for x, text in texts if text.startswith("100.0")]
    assert last - ticks["10"] == pytest.approx(10, abs=0.2)
    assert marks(shown["bench_memory.svg"])[0] == circles[:1]


def test_notes_without_room_for_two_become_one():
    case = {
        "ours": {"seconds": 0.1},
        "reference": {"seconds": 1.0},
        "transformers": {"seconds": 1.01},
    }
    shown = bench_tables.charts({"matcher_batch_64": case})
    words = [text for _, text in marks(shown["bench_times.svg"])[1]]
    times = "\N{MULTIPLICATION SIGN}"
    assert f"10.0{times} / 10.1{times}" in words
    assert f"10.0{times}" not in words


def test_losses_layer_by_layer_are_those_of_all_layers_at_once():
    """And so are their gradients, with three images of other counts."""
    torch.manual_seed(0)
    counts = (2, 0, 3)
    targets = Targets(
        labels=torch.randint(6, (5,)),
        boxes=torch.rand(5, 4, dtype=torch.float64),
        image=torch.tensor([0, 0, 2, 2, 2]),
        segment_ids=torch.arange(1, 6),
        id_maps=torch.zeros(3, 1, 1, dtype=torch.int32),
        counts=counts,
    )
    logits = torch.randn(4, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    boxes = torch.rand(4, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    queries = HungarianMatcher()(logits, boxes, targets)
    assert queries.equal(reference.matchings(logits, boxes, targets))
    ours = DetectionLoss()(logits, boxes, queries, targets, 5.0)["loss"]
    other = reference.detection_loss(logits, boxes, queries, targets, 5.0)
    assert other.item() == pytest.approx(ours.item(), abs=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (logits, boxes)),
        torch.autograd.grad(other, (logits, boxes)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_of_several_runs_the_median_counts_and_the_range_is_told():
    runs = [
        {"ours": {"seconds": a, "mb": 1}, "reference": {"seconds": b}}
        for a, b in ((1.0, 4.0), (2.0, 5.0), (4.0, 24.0))
    ]
    case = bench.merged(runs, bench.TWO)
    assert case["ours"]["mb"] == 1
    assert [case[s]["seconds"] for s in bench.TWO] == [2.0, 5.0]
    assert bench_tables.spread(case["ours"]) == " (1 to 4)"
    # Each run's own ratio: 4, 2.5 and 6.
    found = bench_tables.times_ours(case, "reference")
    assert found == "4.0 times, 2.5 to 6.0"
    table = bench_tables.times({"inference_480x640": {**case, "machine": "M"}})
    assert "| 2 (1 to 4) | 5 (4.0 times, 2.5 to 6.0) | not run |" in table
    alone = bench.merged(runs[:1], bench.TWO)
    assert bench_tables.spread(alone["ours"]) == ""
    assert bench_tables.times_ours(alone, "reference") == "4.0 times"


def test_each_run_gets_a_process_and_memory_is_measured_once(monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command[2:])
        seconds = len(commands)
        case = {s: {"seconds": seconds} for s in bench.SIDES}
        return SimpleNamespace(stdout=f"noise\n{json.dumps(case)}\n")

    monkeypatch.setattr(bench.subprocess, "run", run)
    case = bench.several("inference_480x640", 3, threads=1)
    assert case["ours"]["seconds_of_runs"] == [1, 2, 3]
    assert case["load"] >= 0
    assert [c[2] for c in commands] == ["grown", "not_grown", "not_grown"]
    assert commands[0] == [
        *("--once", "inference_480x640", "grown", "--threads", "1")
    ]


def test_pixels_that_differ_are_counted_by_their_gaps(monkeypatch, measured):
    ids = {
        "ours": torch.zeros(1, 2, 3, dtype=torch.int64),
        "reference": torch.tensor([[[0, 0, 1], [1, 1, 0]]]),
    }
    gap = torch.tensor([[[1e-6, 0, 2e-5], [5e-6, 3e-5, 1]]])
    monkeypatch.setitem(
        bench.KINDS, "inference", lambda side, *_: lambda: ids[side]
    )
    monkeypatch.setattr(bench, "gaps", lambda *_: gap)
    case = measured("inference", (2, 3), 1, bench.TWO)
    assert case["of"] == 6
    assert case["ties"] == 3
    assert case["reference"]["different"] == 3
    assert case["reference"]["different_not_tied"] == 2
    assert case["reference"]["widest_gap"] == pytest.approx(3e-5)


@pytest.mark.parametrize("kind", ["backbone", "transformer", "mask_head"])
def test_the_parts_give_the_same(measured, kind):
    case = measured(kind, (96, 128), 1, bench.TWO)
    assert case["reference"]["different"] < 1e-3
    counts = [case[s]["giga_multiply_adds"] for s in bench.TWO]
    assert counts[0] > 0
    assert (counts[0] < counts[1]) == (kind == "mask_head")


def test_the_shipped_model_gives_the_same(measured):
    case = measured("scenes", (96, 96), 2, bench.TWO, config=None)
    assert case["of"] == 2 * 96 * 96
    assert case["reference"]["different"] <= 2


def test_settings_are_compared_with_the_default(measured):
    sides = [s for s in bench.SETTINGS if s != "compile=True"]
    case = measured("settings", (96, 128), 1, sides)
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
