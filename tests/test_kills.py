"""Killed by the system at any moment, a command does no harm.

For `make stress`.  A sample is in the tests of training, of two processes
and of output, where the moment is chosen.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
pytestmark = pytest.mark.stress

TRAIN = """
import sys
from pathlib import Path
from two_processes import run
folder = Path(sys.argv[2])
run(folder, resume=(folder / "checkpoint.pt").exists())
"""
COMMAND = """
import sys
from detr_lite.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
KILL = """
import os, signal, sys, threading, torch
import detr_lite.training.train, detr_lite.inference.loading
torch.set_num_threads(1)
end = os.getpid(), signal.SIGKILL
timer = threading.Timer(float(sys.argv[1]), os.kill, end)
timer.daemon = True
timer.start()
"""


def ends(code: str, seconds: float, *arguments) -> bool:
    """Run code that is killed after some seconds; return if it ended."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILL + code,
            str(seconds),
            *map(str, arguments),
        ],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == 0


def seconds_of(code: str, *arguments) -> float:
    start = time.monotonic()
    assert ends(code, 10**6, *arguments)
    return time.monotonic() - start


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder shows; what starts with a dot is left over."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and ".unfinished-" not in p.as_posix()
    }


def log(folder: Path) -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line) | {"seconds": 0} for line in lines]


@pytest.fixture(scope="module")
def whole(_cache, tmp_path_factory):
    """A run that nothing stops, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, seconds_of(TRAIN, folder)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_again_and_again_ends_at_the_same_weights(
    whole, tmp_path, seed
):
    folder, seconds = whole
    moments, patience = random.Random(seed), 1.0
    while not ends(TRAIN, patience * moments.uniform(0, seconds), tmp_path):
        patience *= 1.2  # on a busy machine a run takes longer than that one
    for name in ("model.safetensors", "recipe.json"):
        mine, theirs = tmp_path / name, folder / name
        assert mine.read_bytes() == theirs.read_bytes()
    assert log(tmp_path) == log(folder)


PREDICT = ["predict", str(TESTS.parent / "data/scenes/images"), "--out"]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """What predict writes, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("predicted")
    seconds = seconds_of(COMMAND, *PREDICT, folder)
    return contents(folder), seconds


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_command_leaves_whole_files_and_runs_again(
    predicted, tmp_path, seed
):
    wanted, seconds = predicted
    ends(COMMAND, random.Random(seed).uniform(0, seconds), *PREDICT, tmp_path)
    assert contents(tmp_path).items() <= wanted.items()
    assert ends(COMMAND, 10**6, *PREDICT, tmp_path)
    assert contents(tmp_path) == wanted
