"""The GPU's benchmark runs, here on the CPU; its sides give the same."""

import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import bench_gpu
import bench_tables
import pytest
import torch
from PIL import Image
from torch.autograd import DeviceType

from detr_lite.data.coco.format import ids_to_rgb

PLAN = bench_gpu.Plan(torch.device("cpu"), None, small=True)


def test_it_runs_here_with_tiny_sizes(tmp_path, capsys):
    """All groups but the commands, and each side gives the same ids."""
    out = tmp_path / "found.json"
    groups = ["inference", "precision", "exactness", "kernels", "steps"]
    words = ["--device", "cpu", "--small", "--out", str(out)]
    bench_gpu.main([*groups, *words])
    said = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["card"] == "CPU"
    assert found["torch"] == torch.__version__
    assert [row["images"] for row in found["inference"]] == [1, 2]
    for row in found["inference"]:
        for side in ("ours", "original", "transformers"):
            for what in ("ids", "forward"):
                assert len(row[side][what]) == PLAN.rounds
                assert min(row[side][what]) > 0
    assert {*found["precision"]["forward"]} == {"float32", "bf16"}
    rows = {row["what"]: row for row in found["exactness"]}
    for side in ("ours", "original", "transformers"):
        assert rows[f"{side}, float32"]["not_tied"] == 0
    assert rows["ours, float32"]["different"] == 0  # the same device
    assert rows["ours, bf16"]["different"] > 0
    for row in found["kernels"]:
        assert min(*row["step"], row["kernels"]) > 0
    assert [row["phase"] for row in found["steps"]] == [
        *("boxes", "boxes", "masks", "masks")
    ]
    assert all(row["images_per_second"][0] > 0 for row in found["steps"])
    assert bench_tables.gpu(found) in said


def test_evaluate_is_told_apart_from_its_imports(monkeypatch):
    found = bench_gpu.evaluate(PLAN)
    assert found["images"] == 4
    (imports,), (rest,) = found["imports"], found["rest"]
    assert imports > 0
    assert rest > 0


def test_the_training_run_is_the_command(monkeypatch):
    def run(command, check):
        assert command[1:5] == ["-m", "detr_lite", "train", "--preset"]
        assert command[-2:] == ["--device", "cpu"]
        out = Path(command[command.index("--out") + 1])
        out.mkdir()
        metrics = {"metrics": {"pq": 0.5, "box_ap": 0.25}}
        (out / "metrics.json").write_text(json.dumps(metrics))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench_gpu.subprocess, "run", run)
    found = bench_gpu.train(PLAN)
    assert found["preset"] == "quick"
    assert found["pq"] == 0.5
    assert found["seconds"] > 0


def test_who_has_too_little_memory_is_left_out():
    calls = []

    def fails():
        calls.append(1)
        if len(calls) > 2:
            raise torch.OutOfMemoryError

    found = bench_gpu.in_turn(PLAN, {"a": lambda: None, "b": fails})
    assert [*found] == ["a"]
    assert len(found["a"]) == PLAN.rounds
    assert len(calls) == 3


def test_copies_and_annotations_are_no_kernels():
    def event(name, us, device=DeviceType.CUDA, annotation=False):
        return SimpleNamespace(
            name=name,
            device_type=device,
            is_user_annotation=annotation,
            time_range=SimpleNamespace(elapsed_us=lambda: us),
        )

    events = [
        event("gemm", 1500),
        event("softmax", 500),
        event("Memcpy HtoD", 10**6),
        event("Memset", 10**6),
        event("Optimizer.step#AdamW.step", 10**6, annotation=True),
        event("aten::add", 10**6, DeviceType.CPU),
    ]
    assert bench_gpu.kernel_milliseconds(events, cuda=True) == 2


def test_on_a_cpu_operators_own_times_stand_for_kernels():
    def event(name, us):
        return SimpleNamespace(name=name, self_cpu_time_total=us)

    events = [event("aten::mm", 1500), event("Optimizer.step", 10**6)]
    assert bench_gpu.kernel_milliseconds(events, cuda=False) == 1.5


def test_the_originals_picture_is_read_as_queries():
    """A segment's class says which query it is of."""
    side = object.__new__(bench_gpu.OwnCode)
    side.things = dict.fromkeys(range(250), True)
    ids = torch.tensor([[0, 1, 1], [2, 2, 0]])
    png = io.BytesIO()
    Image.fromarray(ids_to_rgb(ids)).save(png, "png")
    classes = [3 * 250 // 15, 0, 14 * 250 // 15]
    info = [{"id": i, "category_id": c} for i, c in enumerate(classes)]
    one = {"png_string": png.getvalue(), "segments_info": info[::-1]}
    queries = side.queries([one])
    assert queries.tolist() == [[[3, 0, 0], [14, 14, 3]]]


def measured() -> dict:
    """Return figures made up of numbers that are easy to divide."""
    side = {"ids": [10.0, 20.0], "forward": [4.0, 4.0], "peak_mb": 100.0}
    six = {"ids": [60.0, 100.0], "forward": [8.0, 8.0], "peak_mb": 4000.0}
    return {
        **bench_gpu.about(PLAN),
        "small": False,
        "card": "A card",
        "inference": [
            {"size": [800, 1066], "images": 1, "ours": side}
            | {"transformers": six},
            {"size": [800, 1066], "images": 4, "ours": side}
            | {"original": six, "transformers": six},
        ],
        "precision": {
            "size": [800, 1066],
            "images": 16,
            "forward": {"tf32": [30.0, 33.0], "bf16": [20.0, 11.0]},
        },
        "evaluate": {"images": 512, "imports": [9.0], "rest": [1.5]},
        "kernels": [
            {"phase": "boxes", "images": 32, "step": [30.0], "kernels": 15.0}
        ],
        "steps": [
            {"phase": "masks", "size": [800, 1066], "images": 8}
            | {"precision": "bf16", "images_per_second": [50.0], "gib": 3.0},
            {"phase": "masks", "size": [800, 1066], "images": 8}
            | {"precision": "fp16", "out_of_memory": True},
        ],
        "train": {"preset": "quick", "seconds": 40.0, "pq": 0.75},
    }


def test_the_tables_are_made_of_the_figures():
    text = bench_tables.gpu(measured())
    assert "Measured on: A card, 20" in text
    rows = {
        cells[1]: cells[3]
        for cells in (
            [cell.strip() for cell in line.split("|")]
            for line in bench_tables.gpu_aims(measured()).splitlines()
        )
    }
    one = "image to ids, 800x1066, 1: `transformers` over ours"
    assert rows[one] == "5.5 (5 to 6)"
    four = "image to ids, 800x1066, 4: the original over ours"
    assert rows[four] == rows[one]
    memory = "peak memory, 800x1066, 4: `transformers` over ours"
    assert rows[memory] == "40"
    assert rows["a step of boxes, scenes, over its kernels' time"] == "2"
    bf16 = rows["forward alone, 800x1066, 16: TF32 over bf16"]
    assert bf16 == "2.25 (1.5 to 3)"
    assert [*rows.values()].count("not measured") == 4
    assert "| 16 of 800x1066 | 31.5 (30 to 33) | 15.5 (11 to 20) |" in text
    assert rows["`detr-lite train --preset quick`, seconds"] == "40"
    assert "| 15 (10 to 20) | not enough memory | 80; times ours 5.5" in text
    assert "| masks | 8 of 800x1066 | bf16 | 50 | 3.0 |" in text
    assert "| masks | 8 of 800x1066 | fp16 | not enough memory |  |" in text
    assert "PQ of 0.750" in text


def test_without_figures_the_page_says_how_to_get_them():
    text = "a <!-- gpu -->\nold\n<!-- /gpu --> z"
    results = json.loads(bench_tables.RESULTS.read_text("utf-8"))
    page = "".join(
        f"<!-- {name} --><!-- /{name} -->" for name in bench_tables.TABLES
    )
    filled = bench_tables.filled(page + text, results)
    said = f"a <!-- gpu -->\n{bench_tables.NOT_ON_A_GPU}\n<!-- /gpu --> z"
    assert filled.endswith(said)
    assert "A card" in bench_tables.filled(page + text, results, measured())


def test_some_groups_are_measured_anew(tmp_path, monkeypatch):
    """What was found before on the same day and machine is kept."""
    out = tmp_path / "found.json"
    words = ["--device", "cpu", "--small", "--out", str(out)]
    fakes = {"inference": lambda plan: [], "kernels": lambda plan: []}
    monkeypatch.setattr(bench_gpu, "GROUPS", fakes)
    bench_gpu.main(words)
    found = json.loads(out.read_text())
    fakes["kernels"] = lambda plan: [
        {"phase": "boxes", "images": 2, "step": [3.0], "kernels": 1.0}
    ]
    bench_gpu.main(["kernels", *words])
    again = json.loads(out.read_text())
    assert again["inference"] == found["inference"]
    assert again["kernels"] != found["kernels"]
    other = json.dumps(found | {"card": "another"})
    out.write_text(other)
    bench_gpu.main(["kernels", *words])
    assert "inference" not in json.loads(out.read_text())


def test_when_the_time_is_over_the_rest_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(bench_gpu, "GROUPS", {"kernels": lambda plan: 1 / 0})
    monkeypatch.setattr(bench_gpu, "MINUTES", -1)
    bench_gpu.main(["--device", "cpu", "--small"])
    assert "kernels: left out" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs no GPU")
def test_without_a_gpu_it_says_so(capsys):
    with pytest.raises(SystemExit):
        bench_gpu.main([])
    assert "there is no GPU here" in capsys.readouterr().err
