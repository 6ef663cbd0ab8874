"""What a training is said to take, before it starts."""

import itertools
from dataclasses import replace

import pytest
import torch
from support import TINY

from detr_lite.training import estimate as module
from detr_lite.training.estimate import Estimate, estimate
from detr_lite.training.recipes import Engine

CPU = torch.device("cpu")
PHASES = len(TINY.phases)  # of 3 steps of 4 images each


@pytest.fixture
def counted(monkeypatch):
    """Each step takes a second; memory is 1 GB with one image, 3 with two."""
    seconds = itertools.count()
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(seconds))
    gigabytes = itertools.cycle([1e9, 3e9])
    monkeypatch.setattr(module, "_memory", lambda device: next(gigabytes))
    monkeypatch.setattr(module, "PIXELS", 1)  # no more than two are tried


@pytest.mark.parametrize(
    ("engine", "processes", "expected"),
    [
        # 2 of 4 images are tried; each one more takes 2 GB more.
        (Engine(), 1, Estimate(PHASES * 3 * 2.0, 7.0)),
        # A process has 2 images a step.
        (Engine(), 2, Estimate(PHASES * 3 * 1.0, 3.0)),
        # Parts of a step take its time, and only one part's memory.
        (Engine(accumulate=2), 1, Estimate(PHASES * 3 * 2.0, 3.0)),
        (Engine(accumulate=4), 1, Estimate(PHASES * 3 * 2.0, 1.0)),
    ],
)
def test_a_few_images_tell_what_all_take(
    counted, scenes, engine, processes, expected
):
    assert estimate(TINY, scenes, CPU, engine, processes) == expected


def test_nothing_random_is_used_up(scenes):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = estimate(TINY, scenes, CPU)
    assert torch.get_rng_state().equal(before)
    assert found.seconds > 0
    assert found.gigabytes > 0.1  # PyTorch alone takes that


def test_of_large_images_two_are_tried(scenes, monkeypatch):
    """At 800 pixels 4 images a step would take a while."""
    model = replace(TINY.model, pool=True, dilate_res5=False)
    model = replace(model, shortest=800, longest=1333)
    boxes = replace(TINY.phases[1], batch_size=4)
    tried = []
    original = module.BatchOrder.batch

    def batch(order, *words):
        tried.append(original(order, *words))
        return tried[-1]

    monkeypatch.setattr(module.BatchOrder, "batch", batch)
    estimate(replace(TINY, model=model, phases=(boxes,)), scenes, CPU)
    shapes = [tuple(one.images.shape) for one in tried]
    assert shapes == [(n, 3, 800, 800) for n in (1, 2, 2)]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (99, "about 99 seconds, and 1.5 GB"),
        (600, "about 10 minutes, and 1.5 GB"),
        (9000, "about 2 hours, and 1.5 GB"),
    ],
)
def test_the_sentence_has_units_of_a_length_one_can_grasp(seconds, said):
    assert said in str(Estimate(seconds, 1.5))
