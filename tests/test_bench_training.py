"""The benchmark of training runs, and adds up."""

import importlib.util
import json
import re
import sys

import pytest
from support import ROOT

TOOL = ROOT / "tools/bench_training.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_training", TOOL)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bench_training", module)
        spec.loader.exec_module(module)
        yield module


def test_the_benchmark_runs_on_a_small_model(
    bench, capsys, monkeypatch, tmp_path
):
    """In this process, without the start of another for each row."""

    class Here:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, row):
            return self.Done(function(row))

        class Done:
            def __init__(self, value):
                self.result = lambda: value

    monkeypatch.setattr(bench, "ProcessPoolExecutor", Here)
    out = tmp_path / "found.json"
    words = "--tiny --device cpu --batch 2 --repeats 1 --accumulate 2"
    options = [*words.split(), "--checkpoint-masks", "--json", str(out)]
    bench.main(options)
    said = capsys.readouterr().out
    assert re.search(r"^\| boxes \| 48 x 64 \| 2 \|", said, re.MULTILINE)
    assert "16 V100" in said
    boxes, masks = json.loads(out.read_text())
    assert (boxes["phase"], masks["phase"]) == ("boxes", "masks")
    assert boxes["seconds"] > 0
    assert boxes["all_seconds"] == [boxes["seconds"]]
    assert 0.05 < masks["gib"] < 50


def test_hours_by_hand(bench):
    """Two images in half a second: 300 times 118,287 take 2,464 hours."""
    row = bench.Row("boxes", 8, 9, 2, "cpu", bench.Engine(), 1, True)
    line = bench.table([(row, {"seconds": 0.5, "gib": 1.0})]).splitlines()[-1]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == [
        *("boxes", "8 x 9", "2", "2", "4", "1.00", "300"),
        *("2,464.3", "308.0", "38.5"),
    ]
