"""Killed by the system at any moment, a command does no harm.

For `make stress`.  A sample is in the tests of training, of two processes
and of output, where the moment is chosen.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from support import contents, ran

TESTS = Path(__file__).parent
pytestmark = pytest.mark.stress

TRAIN = """
from support import TINY
from detr_lite.data.scenes import SceneSplit
from detr_lite.training.recipes import Engine
folder, split = Path(arguments[0]), SceneSplit(7, 8)
detr_lite.training.train.train(
    TINY, split, split, folder, (folder / "checkpoint.pt").exists(),
    log_every=2, evaluations=1, checkpoint_seconds=0,
    engine=Engine(workers=int(arguments[1])),
)
"""
COMMAND = """
from detr_lite.cli.main import main
assert main(arguments) == 0
"""
# The argument says when: after so many seconds, or in so many-eth writing of
# a checkpoint, half of which is written then.
KILL = """
import os, signal, sys, threading, time, torch
from pathlib import Path
import detr_lite.training.train, detr_lite.inference.loading
torch.set_num_threads(1)
kind, moment, *arguments = sys.argv[1:]
def kill(): os.kill(os.getpid(), signal.SIGKILL)
if kind == "seconds":
    timer = threading.Timer(float(moment), kill)
    timer.daemon = True
    timer.start()
else:
    whole, left = Path.write_bytes, [int(moment)]
    def write(path, content):
        left[0] -= "checkpoint" in path.name
        if left[0] == 0:
            whole(path, bytes(content)[: len(content) // 2])
            kill()
        return whole(path, content)
    Path.write_bytes = write
began = time.monotonic()
"""
END = """
print("seconds", time.monotonic() - began)
"""


def ended(code: str, kind: str, moment, *arguments) -> float | None:
    """Run code that is killed; return its seconds, or None if it was."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = ran(
        *(sys.executable, "-c", KILL + code + END, kind, moment, *arguments),
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return None if done.returncode else float(done.stdout.split()[-1])


def told_of(folder: Path) -> dict:
    """Return what a folder of a run holds, but for the seconds it took."""
    files = contents(folder)
    lines = files.pop("log.jsonl").decode().splitlines()
    return files | {"log": [json.loads(x) | {"seconds": 0} for x in lines]}


@pytest.fixture(scope="module")
def whole(_cache, tmp_path_factory):
    """For each number of workers, a run that nothing stops, and its time."""
    made = {}
    for workers in (0, 2):
        folder = tmp_path_factory.mktemp("whole")
        seconds = ended(TRAIN, "seconds", 10**6, folder, workers)
        made[workers] = told_of(folder), seconds
    return made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["seconds", "checkpoint"])
@pytest.mark.parametrize("seed", range(7))
def test_a_run_killed_again_and_again_ends_at_the_same_weights(
    whole, tmp_path, tally, workers, kind, seed
):
    (wanted, seconds), random_ = whole[workers], random.Random(seed)
    for patience in range(100):
        moment = random_.randint(1, 6)
        if kind == "seconds":  # more from time to time, if it is too little
            moment = random_.uniform(0, seconds) * (1 + patience / 10)
        if ended(TRAIN, kind, moment, tmp_path, workers) is not None:
            break
        tally["kills of a training run"] += 1
    assert told_of(tmp_path) == wanted


PREDICT = ["predict", str(TESTS.parent / "data/scenes/images"), "--out"]
SCENES = ["scenes", "--count", "300", "--out"]


@pytest.fixture(scope="module", params=[PREDICT, SCENES], ids=lambda p: p[0])
def written(request, tmp_path_factory):
    """A command, what it writes, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("written")
    seconds = ended(COMMAND, "seconds", 10**6, *request.param, folder)
    return request.param, contents(folder), seconds


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_command_leaves_whole_files_and_runs_again(
    written, tmp_path, tally, seed
):
    words, wanted, seconds = written
    moment = random.Random(seed).uniform(0, seconds)
    if ended(COMMAND, "seconds", moment, *words, tmp_path) is None:
        tally["kills of other commands"] += 1
        shown = {
            name: content
            for name, content in contents(tmp_path).items()
            if ".unfinished-" not in name and not name.endswith(".lock")
        }
        assert shown.items() <= wanted.items()
        ended(COMMAND, "seconds", 10**6, *words, tmp_path)
    assert contents(tmp_path) == wanted
