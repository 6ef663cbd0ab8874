"""What a training will take on this device, and what speaks against it."""

import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from detr_lite.data.split import Split
from detr_lite.inference.model import build_model
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import Engine, Phase, Recipe

PIXELS = 2_000_000  # of a step that is tried


@dataclass(frozen=True)
class Estimate:
    """What a recipe takes on a device, evaluations not counted.

    Attributes:
        seconds: of all its steps.
        gigabytes: of memory at the most: a GPU's, or the process's.
    """

    seconds: float
    gigabytes: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        long = f"{minutes:.0f} minutes"
        if minutes < 2:
            long = f"{self.seconds:.0f} seconds"
        elif minutes >= 120:
            long = f"{minutes / 60:.0f} hours"
        return (
            f"its steps take about {long}, and {self.gigabytes:.1f} GB of "
            "memory"
        )


class OneProcess:
    """What a PhaseTrainer asks of Accelerate, for a process that is alone."""

    num_processes = 1

    def __init__(self, device: torch.device):
        self.device = device

    def prepare_model(self, module: torch.nn.Module) -> torch.nn.Module:
        """Return the module as it is."""
        return module

    def no_sync(self, module: torch.nn.Module):
        """Return a context that changes nothing."""
        return nullcontext()


def estimate(
    recipe: Recipe,
    split: Split,
    device: torch.device,
    engine: Engine | None = None,
    processes: int = 1,
) -> Estimate:
    """Return what a training will take, from a few steps of each phase.

    The steps train a model that is thrown away, and leave the random numbers
    as they were.  Of large images a step is tried with few, and its time and
    memory are those of as many as a process has.
    """
    seconds, bytes_needed = 0.0, 0.0
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model = build_model(recipe.model, split.categories).to(device)
        for phase in recipe.phases:
            took, needs = _phase(
                model, recipe, phase, split, device, engine, processes
            )
            seconds += took
            bytes_needed = max(bytes_needed, needs)
    return Estimate(seconds, bytes_needed / 1e9)


def _phase(model, recipe, phase: Phase, split, device, engine, processes):
    """Return the seconds of a phase's steps, and the bytes of one."""
    engine = engine or Engine()
    limits = recipe.model.shortest, recipe.model.longest
    order = BatchOrder(split, phase, recipe.seed, device=device)
    trainer = PhaseTrainer(
        model, phase, recipe, split.categories, OneProcess(device), engine
    )
    images = max(phase.batch_size // processes, 1)
    tried = min(images, max(PIXELS // (limits[0] * limits[1]), 2))

    def step(count: int) -> float:
        share = Share(0, max(phase.batch_size // count, 1))
        start = time.perf_counter()
        trainer.step(0, [order.batch(0, share.rank, share.processes, limits)])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    step(1)
    small = _memory(device)
    step(tried)
    large = _memory(device)
    seconds = step(tried) * images / tried * phase.steps
    at_once = images / engine.accumulate
    growth = max(large - small, 0) / max(tried - 1, 1)
    return seconds, small + growth * max(at_once - 1, 0)


def _memory(device: torch.device) -> int:
    """Return the most bytes that were taken so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def objections(recipe: Recipe, split: Split) -> list[str]:
    """Return a sentence for each setting that does not go with the data.

    split: has `segment_counts`, the true segments of each image; of others
    nothing can be said.
    """
    counts = getattr(split, "segment_counts", None)
    if not counts:
        return []
    sentences = []
    queries, fullest = recipe.model.num_queries, max(counts)
    if fullest > queries:
        sentences.append(
            f"The fullest image has {fullest} segments and the model "
            f"{queries} queries, so some are never learned; load the weights "
            f"with num_queries={fullest} or more."
        )
    mean = min(sum(counts) / len(counts), queries)
    weight = recipe.no_object_weight
    # What a query that has not looked says best: chapter 2.
    sure = mean / (mean + weight * (queries - mean)) if mean else 0.5
    if not 0.2 < sure < 0.85:
        even = mean / max(queries - mean, 1)
        sentences.append(
            f"Images have {mean:.1f} segments on average and the model "
            f"{queries} queries; with {weight:g} as the weight of no object, "
            f"queries begin at {sure:.0%} for an object. A weight near "
            f"{even:.2f} makes it a half."
        )
    return sentences
