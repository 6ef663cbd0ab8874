"""Two processes do what one does; killed, they go on where they were."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from support import CONFIG, Kill, logged, on_disk, randomized
from two_processes import PHASES, evaluations, losses_and_gradients, run

from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model
from detr_lite.weights.writing import save_model

TESTS = Path(__file__).resolve().parent


def start(*command, **variables):
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    usual = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=os.environ | usual | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def torchrun(*command):
    """Start two processes as a user does."""
    place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    run = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return start(*run, *place, *command)


def pair(*command):
    """Start the two processes that torchrun would start, without it."""
    with socket.socket() as place:
        place.bind(("localhost", 0))
        port = place.getsockname()[1]
    usual = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    usual |= {"MASTER_PORT": str(port)}
    return [
        start(*command, RANK=str(i), LOCAL_RANK=str(i), **usual)
        for i in range(2)
    ]


def ended(process):
    """Wait for a process; return its exit code and its words."""
    words, _ = process.communicate(timeout=300)
    return process.returncode, words


@pytest.fixture(scope="module")
def folder(_cache, tmp_path_factory):
    """A run that is killed and resumed, a whole run, and comparisons."""
    folder = tmp_path_factory.mktemp("processes")
    script = TESTS / "two_processes.py"
    on_disk(SceneSplit(7, 3), folder / "data")
    model = randomized(build_model(CONFIG, SCENE_CATEGORIES))
    save_model(model, folder / "start.safetensors")
    first, second = pair(script, folder, "killed")
    try:
        code, words = ended(first)
        assert code == -signal.SIGKILL, words
    finally:
        second.kill()
        ended(second)
    assert not (folder / "killed/model.safetensors").exists()
    assert log_steps(folder / "killed")[-1] == ("masks", 4)
    code, words = ended(torchrun(script, folder, "resumed"))
    assert code == 0, words
    (folder / "words").write_text(words)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return torch.load(folder / "found.pt", weights_only=False)


def log_steps(folder):
    """Return (phase, step) of each line with losses."""
    return [(x["phase"], x["step"]) for x in logged(folder) if "loss" in x]


@pytest.fixture(scope="module")
def alone(scenes):
    """What one process finds, with all images of a step at once."""
    accelerator = Accelerator()
    return {n: losses_and_gradients(n, scenes, accelerator) for n in PHASES}


def compare(found, alone):
    (losses, gradients), (mine, wanted) = found, alone
    assert losses == pytest.approx(mine, rel=1e-12)
    assert gradients.keys() == wanted.keys()
    error = norm(gradients[k] - v for k, v in wanted.items())
    assert error < 1e-12 * norm(wanted.values())


def norm(tensors):
    return sum((t.double() ** 2).sum() for t in tensors) ** 0.5


@pytest.mark.parametrize("name", PHASES)
def test_two_processes_have_the_gradients_of_one(found, alone, name):
    compare(found[name], alone[name])


def test_so_they_have_with_micro_batches_of_different_sizes(found, alone):
    """Three images a process, in micro-batches of two and of one."""
    compare(found["accumulate"], alone["joint"])


@pytest.mark.parametrize("name", PHASES)
def test_micro_batches_have_the_gradients_of_the_batch(scenes, alone, name):
    parts = losses_and_gradients(name, scenes, Accelerator(), accumulate=4)
    compare(parts, alone[name])


def test_two_processes_measure_what_one_does(found):
    """To the last bit, though 4 batches of 7 images are no even share."""
    assert repr(found["evaluations"]) == repr(evaluations(Accelerator()))
    assert [e.images for e in found["evaluations"]] == [7, 1]
    assert sum(x["tp"] for x in found["evaluations"][0].per_class.values())


def test_a_killed_run_of_two_processes_ends_at_the_same_weights(folder):
    whole, killed = (
        (folder / name / "model.safetensors").read_bytes()
        for name in ("whole", "killed")
    )
    assert whole == killed


def test_the_log_of_a_resumed_run_has_each_step_once(folder):
    whole, killed = (
        [line | {"seconds": 0} for line in logged(folder / name)]
        for name in ("whole", "killed")
    )
    assert killed == whole
    steps = log_steps(folder / "killed")
    assert len(set(steps)) == len(steps) == 3


def test_processes_leave_one_log_and_one_model(folder):
    assert {p.name for p in (folder / "whole").iterdir()} == {
        ".detr-lite",
        "log.jsonl",
        "recipe.json",
        "metrics.json",
        "model.safetensors",
    }
    load_model(folder / "whole/model.safetensors", device="cpu")


def test_the_command_in_two_processes_speaks_once(folder):
    words = (folder / "words").read_text()
    assert words.count("phase boxes: 1 steps of 8 images") == 1
    assert words.count("The model is") == 1
    assert log_steps(folder / "tuned") == [("boxes", 1), ("masks", 1)]
    load_model(folder / "tuned/model.safetensors", device="cpu")


def test_another_number_of_processes_cannot_resume(scenes, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Kill("masks", 2))
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    saved["processes"] *= 2
    torch.save(saved, path)
    with pytest.raises(ConfigError, match=r"2 processes.* here are 1"):
        run(tmp_path, resume=True)
