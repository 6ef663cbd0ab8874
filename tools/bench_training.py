"""Time the steps of training, and say what COCO would cost.

python tools/bench_training.py                      DETR-R50, batch 1 and 2
python tools/bench_training.py --batch 4 8 --precision bf16 --device cuda
python tools/bench_training.py --tiny               a small model, seconds

A step is the whole of it: forward, matching, losses, backward, optimizer;
images are made up, with 12 segments each, and lie in memory.  Each row is
measured in a process of its own.  Memory is the most that was held at once:
by tensors on a GPU, by the process on a CPU.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from detr_lite.data.categories import Categories, Category
from detr_lite.data.sample import Sample
from detr_lite.inference.model import build_model
from detr_lite.models import SCENES_CONFIG, ModelConfig
from detr_lite.training.batches import BatchOrder, Share, load_steps
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import COCO_IMAGES, PRESETS, Engine, Phase
from detr_lite.training.train import make_accelerator

SEGMENTS = 12
WARM_UP = 2  # steps before those that count
EPOCHS = {"boxes": 300, "masks": 25}
PAPER = "The paper's boxes, 300 epochs: 3 days on 16 V100, 1,152 GPU hours."


@dataclass(frozen=True)
class Row:
    """One measurement: what is timed, on what."""

    phase: str
    height: int
    width: int
    batch: int
    device: str
    engine: Engine
    repeats: int
    tiny: bool


class Pictures:
    """Noise with segments in a grid of 3 x 4, classes in turn."""

    def __init__(self, row: Row, classes: int):
        self.row = row
        self.categories = Categories(
            Category(i + 1, str(i), True, (0, 0, 0)) for i in range(classes)
        )

    def __len__(self) -> int:
        return self.row.batch

    def __getitem__(self, index: int) -> Sample:
        height, width = self.row.height, self.row.width
        noise = torch.Generator().manual_seed(index)
        size = (3, height, width)
        image = torch.randint(256, size, generator=noise, dtype=torch.uint8)
        down = torch.arange(height)[:, None] * 3 // height
        along = torch.arange(width) * 4 // width
        ids = torch.arange(1, SEGMENTS + 1)
        return Sample(
            image=image,
            id_map=(down * 4 + along + 1).to(torch.int32),
            segment_ids=ids,
            labels=ids % len(self.categories),
            crowd=torch.zeros(SEGMENTS, dtype=torch.bool),
            image_id=index,
            name=f"{index}",
        )


def measure(row: Row) -> dict:
    """Return the seconds of steps, their median, and the peak in GiB."""
    config = ModelConfig(num_classes=133)
    if row.tiny:
        config = replace(SCENES_CONFIG, num_queries=20)
    # Sides as they are: the images have the size that is asked for.
    sides = sorted((row.height, row.width))
    config = replace(config, shortest=sides[0], longest=sides[1])
    pictures = Pictures(row, config.num_classes)
    torch.manual_seed(0)
    model = build_model(config, pictures.categories)
    phase = Phase(row.phase, WARM_UP + row.repeats, row.batch, lr=1e-5)
    recipe = replace(PRESETS["coco"], phases=(phase,), model=config)
    order = BatchOrder(pictures, phase, seed=0)
    share = Share(parts=row.engine.accumulate)
    accelerator = make_accelerator(row.device)
    cuda = accelerator.device.type == "cuda"
    (batches,) = load_steps(order, range(1), share, tuple(sides), overlap=cuda)
    model.to(accelerator.device)
    trainer = PhaseTrainer(
        model, phase, recipe, pictures.categories, accelerator, row.engine
    )
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for step in range(WARM_UP + row.repeats):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        losses = trainer.step(step, batches)
        losses["loss"].item()
        if cuda:  # the loss is there before the weights have changed
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if cuda:
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = _peak_of_this_process()
    times = times[WARM_UP:]
    return {
        "seconds": statistics.median(times),
        "all_seconds": times,
        "gib": peak / 2**30,
    }


def _peak_of_this_process() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def name_of(device: str) -> str:
    """Return what the figures were measured on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    models = [
        line.split(": ")[1]
        for line in (info.read_text().splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    return (
        f"{models[0] if models else 'CPU'}, {torch.get_num_threads()} threads"
    )


def table(results: list[tuple[Row, dict]]) -> str:
    """Return the measurements, and COCO's hours by 1, 8 and 64 devices."""
    lines = [
        "| phase | images | batch | steps/s | images/s | peak GiB | "
        "epochs of COCO | hours on 1 | on 8 | on 64 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row, found in results:
        rate = row.batch / found["seconds"]
        epochs = EPOCHS[row.phase]
        hours = epochs * COCO_IMAGES / rate / 3600
        cells = [
            row.phase,
            f"{row.height} x {row.width}",
            f"{row.batch}",
            f"{1 / found['seconds']:.3g}",
            f"{rate:.3g}",
            f"{found['gib']:.2f}",
            f"{epochs}",
            *(f"{hours / devices:,.1f}" for devices in (1, 8, 64)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=usual, choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--checkpoint-masks", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    engine = Engine(args.precision, args.accumulate, args.checkpoint_masks)
    sizes = [(48, 64)] if args.tiny else [(480, 640), (800, 1066)]
    rows = [
        Row(phase, *size, batch, args.device, engine, args.repeats, args.tiny)
        for phase in EPOCHS
        for size in sizes
        for batch in args.batch
    ]
    results = []
    for row in rows:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            results.append((row, alone.submit(measure, row).result()))
    print(f"{name_of(args.device)}; torch {torch.__version__}; {engine}")
    print(table(results))
    print(
        "Hours on several devices are those on one, divided by their number: "
        "it is assumed that loading and communication cost nothing."
    )
    print(PAPER)
    if args.json:
        found = [
            {**vars(row), "engine": vars(engine), **x} for row, x in results
        ]
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
