"""Time the package on a GPU: the original's way and transformers beside it.

python tools/bench_gpu.py                   all but training runs, 8 minutes
python tools/bench_gpu.py --train           and the quick preset's whole run
python tools/bench_gpu.py kernels evaluate  some of the groups
python tools/bench_gpu.py --original DIR    a checkout of facebookresearch/detr
                                            in place of tools/reference.py
python tools/bench_gpu.py --device cpu --small    tiny sizes, to try it out

All sides have the same random weights and see the same images, and the factors
of their products are rounded to TF32 where it doesn't say float32.  In each
round each side warms up and is timed between two waits for the device; a
round's figure is the median of its runs, and the tables show the median of
the rounds and their range.  Compare ratios within a row: how long a launch
takes depends on the machine.  Writes tools/bench_gpu.json (on a CPU nothing,
unless --out names a file) and prints tables in Markdown.

Needs torch, torchvision, transformers and pycocotools beside the package.
"""

import argparse
import copy
import gc
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench
import bench_tables
import bench_training
import reference

from detr_lite.data.coco.format import ids_to_rgb, rgb_to_ids
from detr_lite.data.scenes import VALIDATION_COUNT, VALIDATION_SEED, SceneSplit
from detr_lite.inference.model import build_model, tuned
from detr_lite.inference.speed import Speed, float32_products
from detr_lite.models import ModelConfig
from detr_lite.training.batches import BatchOrder, Share, load_steps
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import Engine, preset
from detr_lite.training.train import make_accelerator
from detr_lite.weights.layouts import convert

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 8  # a group that would begin later is left out
SMALL_MODEL = ModelConfig(
    num_classes=20,
    bottleneck=False,
    depths=(1, 1, 1, 1),
    resnet_width=16,
    width=128,
    encoder_layers=1,
    decoder_layers=2,
    feedforward=32,
    num_queries=20,
    context=128,
)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often."""

    device: torch.device
    original: Path | None
    small: bool

    @property
    def config(self) -> ModelConfig:
        """The model's; the original's own code has no other than the paper's.

        Its weights are random, so what it costs doesn't depend on data.
        """
        if self.small and self.original is None:
            return SMALL_MODEL
        return bench.PAPER

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of the images."""
        return [(64, 96)] if self.small else [(480, 640), (800, 1066)]

    @property
    def batches(self) -> list[int]:
        """Images at a time."""
        return [1, 2] if self.small else [1, 4, 16]

    @property
    def rounds(self) -> int:
        """How often the sides take turns."""
        return 2 if self.small else 3

    def precisions(self) -> list[str]:
        """What the device can compute in."""
        if self.device.type == "cpu":
            return ["float32", "bf16"]
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["float32", "tf32", *(["bf16"] if bf16 else []), "fp16"]

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give memory back that nothing uses, before another side's turn."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def milliseconds(plan: Plan, run: Callable, count: int) -> list[float]:
    """Return how long some runs take, each from idle to idle."""
    times = []
    for _ in range(count):
        plan.wait()
        start = time.perf_counter()
        run()
        plan.wait()
        times.append(1000 * (time.perf_counter() - start))
    return times


def in_turn(
    plan: Plan, runs: dict[str, Callable], count: int = 5
) -> dict[str, list[float]]:
    """Return milliseconds of each run, the median of each round.

    A run whose memory runs out is left out from then on.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(plan.rounds):
        for name in list(found):
            try:
                (warm,) = milliseconds(plan, runs[name], 1)
                often = 1 if plan.small or warm > 1000 else count
                times = milliseconds(plan, runs[name], often)
                found[name].append(statistics.median(times))
            except torch.OutOfMemoryError:
                del found[name]
            plan.release()
    return found


def peak_megabytes(plan: Plan, run: Callable) -> float | None:
    """Return what a run holds at its peak, beyond what was there before."""
    if plan.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    plan.wait()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


class Ours:
    """The package as it is."""

    def __init__(self, model):
        self.model = model

    def forward(self, images):
        """Find boxes, and make masks for the queries that found something."""
        return self.model(images)

    def ids(self, images):
        """Return the segmentation of each image, on the host."""
        return bench.our_results(self.model, images)

    def queries(self, found) -> torch.Tensor:
        """Return which query each pixel goes to, from what `ids` returns."""
        return bench.query_maps(found)


class LongWay:
    """The original's algorithm, or transformers' model with it behind.

    Args:
        model: ours; `other` is None: with all savings off.
        other: transformers' model.
    """

    def __init__(self, model, other=None):
        self.model, self.other = model, other

    def forward(self, images):
        """Return classes and masks of all queries."""
        return bench.their_forward(self.model, self.other, images)

    def ids(self, images):
        """Return which query each pixel goes to, (B, H, W)."""
        size = tuple(images.shape[-2:])
        return bench.long_way_to_ids(self.model, *self.forward(images), size)

    def queries(self, found) -> torch.Tensor:
        """Return what `ids` returns."""
        return found


class OwnCode:
    """The original's own code, of a checkout of its repository.

    Args:
        path: the checkout.
        model: ours, for its weights, threshold and classes.
    """

    def __init__(self, path: Path, model):
        sys.path.insert(0, str(path))
        from models import (
            backbone,
            detr,
            position_encoding,
            segmentation,
            transformer,
        )

        backbone.is_main_process = lambda: False  # who would fetch weights
        # What newer libraries lack, or others than those named above have.
        segmentation.interpolate = F.interpolate
        segmentation.id2rgb = lambda ids: ids_to_rgb(torch.from_numpy(ids))
        segmentation.rgb2id = lambda rgb: rgb_to_ids(rgb).numpy()
        config = model.config
        body = backbone.Backbone("resnet50", True, True, False)
        encoding = position_encoding.PositionEmbeddingSine(128, normalize=True)
        joined = backbone.Joiner(body, encoding)
        joined.num_channels = body.num_channels
        layers = transformer.Transformer(
            d_model=config.width, return_intermediate_dec=True
        )
        detector = detr.DETR(
            joined, layers, config.num_classes, config.num_queries
        )
        self.model = segmentation.DETRsegm(detector).eval()
        self.model.load_state_dict(convert(model.state_dict(), "original"))
        self.model.to(next(model.parameters()).device)
        self.things = {i: c.isthing for i, c in enumerate(model.categories)}
        self.results = segmentation.PostProcessPanoptic(
            self.things, model.threshold
        )

    def forward(self, images):
        """Return classes and masks of all queries."""
        return self.model(list(images))

    def ids(self, images):
        """Return a PNG and a list of segments for each image."""
        sizes = [tuple(image.shape[-2:]) for image in images]
        return self.results(self.forward(images), sizes)

    def queries(self, found) -> torch.Tensor:
        """Return which query each pixel goes to, from what `ids` returns."""
        kept = bench.KEPT  # each has another class; see bench.sample
        of_class = {i * len(self.things) // kept: i for i in range(kept)}
        maps = []
        for one in found:
            png = Image.open(io.BytesIO(one["png_string"]))
            ids = rgb_to_ids(np.asarray(png)).long()
            rows = sorted(one["segments_info"], key=lambda row: row["id"])
            query = [of_class[row["category_id"]] for row in rows]
            maps.append(torch.tensor(query)[ids])
        return torch.stack(maps)


@contextmanager
def sides(
    plan: Plan, size: tuple[int, int], precision: str
) -> Iterator[tuple[dict, torch.Tensor]]:
    """Yield the three sides by name, and an image for all of them.

    precision: "float32" or "tf32", of all sides.
    """
    model, image = bench.sample(plan.config, size)
    model = tuned(model, Speed(precision=precision))
    with ExitStack() as stack:
        stack.enter_context(float32_products(plan.device, precision))
        made = {"ours": Ours(model.to(plan.device))}
        if plan.original is None:
            other = copy.deepcopy(model)
            made["original"] = LongWay(
                stack.enter_context(reference.savings_off(other))
            )
        else:
            made["original"] = OwnCode(plan.original, model)
        other = bench.theirs(model, plan.config).to(plan.device)
        made["transformers"] = LongWay(model, other)
        yield made, image.to(plan.device)


def inference(plan: Plan) -> list[dict]:
    """Time image to ids and the forward alone, and take the peak memory."""
    rows = []
    for size in plan.sizes:
        with sides(plan, size, "tf32") as (made, image):
            for batch in plan.batches:
                images = image.repeat(batch, 1, 1, 1)
                rows.append(
                    {"size": size, "images": batch}
                    | one_row(plan, made, images)
                )
    return rows


@torch.inference_mode()
def one_row(plan: Plan, made: dict, images: torch.Tensor) -> dict:
    """Return the figures of each side that has the memory for the images."""
    row, maps = {}, {}
    for name, side in made.items():
        try:
            peak = peak_megabytes(plan, partial(side.ids, images))
            maps[name] = side.queries(side.ids(images))
            row[name] = {"peak_mb": peak}
        except torch.OutOfMemoryError:
            pass
        plan.release()
    for what in ("ids", "forward"):
        runs = {
            name: partial(getattr(made[name], what), images) for name in row
        }
        for name, times in in_turn(plan, runs).items():
            row[name][what] = times
    done = {n: one for n, one in row.items() if {"ids", "forward"} <= {*one}}
    for name, one in done.items():
        one["different"] = (maps["ours"] != maps[name]).sum().item()
    return done


def precision(plan: Plan) -> dict:
    """Time our forward in each precision, with the most and largest images."""
    size, batch = plan.sizes[-1], plan.batches[-1]
    model, image = bench.sample(plan.config, size)
    model.to(plan.device)
    images = image.to(plan.device).repeat(batch, 1, 1, 1)
    runs = {
        name: partial(tuned(model, Speed(precision=name)), images)
        for name in plan.precisions()
    }
    with torch.inference_mode():
        times = in_turn(plan, runs)
    return {"size": size, "images": batch, "forward": times}


@torch.no_grad()
def exactness(plan: Plan) -> list[dict]:
    """Compare the ids of one image with those that a CPU finds in float32."""
    rows = []
    for size in plan.sizes:
        expected = bench.our_ids(*bench.sample(plan.config, size))
        found = {}
        with sides(plan, size, "float32") as (made, image):
            for name, side in made.items():
                ids = side.queries(side.ids(image))
                found[f"{name}, float32"] = ids.cpu()
            ours = made["ours"].model
            for name in plan.precisions()[1:]:
                other = tuned(ours, Speed(precision=name))
                found[f"ours, {name}"] = bench.our_ids(other, image)
        gap = bench.gaps(plan.config, size)
        for what, ids in found.items():
            apart = gap[ids != expected]
            rows.append(
                {
                    "size": size,
                    "what": what,
                    "of": gap.numel(),
                    "different": apart.numel(),
                    "not_tied": int((apart >= 1e-5).sum()),
                    "widest_gap": max(apart.tolist(), default=0.0),
                }
            )
        plan.release()
    return rows


def steps(plan: Plan) -> list[dict]:
    """Time steps of training: images a second, and the peak memory."""
    shapes = [((480, 640), 8), ((480, 640), 32), ((800, 1066), 8)]
    if plan.small:
        shapes = [((48, 64), 2)]
    rows = []
    for phase in ("boxes", "masks"):
        for size, batch in shapes:
            for name in plan.precisions():
                row = bench_training.Row(
                    *(phase, *size, batch, plan.device.type, Engine(name)),
                    repeats=1 if plan.small else 5,
                    tiny=plan.small,
                )
                about = {"phase": phase, "size": size, "images": batch}
                about["precision"] = name
                try:
                    found = bench_training.measure(row)
                    rates = [batch / s for s in found.pop("all_seconds")]
                    about |= {"images_per_second": rates, "gib": found["gib"]}
                except torch.OutOfMemoryError:
                    about["out_of_memory"] = True
                rows.append(about)
                plan.release()
    return rows


def kernels(plan: Plan) -> list[dict]:
    """Compare steps of training on scenes, loading and all, with kernels.

    On a CPU, which has none, its operators' own time stands for theirs.
    """
    recipe = preset("quick")
    count = 16 if plan.small else VALIDATION_COUNT
    split = SceneSplit(VALIDATION_SEED, count, cache=not plan.small)
    accelerator = make_accelerator(plan.device.type)
    warm, often, rounds = (1, 1, 1) if plan.small else (20, 20, plan.rounds)
    rows = []
    for phase in recipe.phases:
        if plan.small:
            phase = replace(phase, batch_size=2)
        torch.manual_seed(0)
        model = build_model(recipe.model, split.categories)
        model.to(accelerator.device)
        trainer = PhaseTrainer(
            model, phase, recipe, split.categories, accelerator, Engine()
        )
        order = BatchOrder(split, phase, 0, device=accelerator.device)
        numbers = range(warm + (rounds + 1) * often)
        limits = recipe.model.shortest, recipe.model.longest
        cuda = plan.device.type == "cuda"
        loaded = enumerate(
            load_steps(order, numbers, Share(), limits, 0, cuda)
        )

        def run(count: int, trainer=trainer, loaded=loaded) -> None:
            for step, batches in islice(loaded, count):
                trainer.step(step, batches)

        run(warm)
        times = [
            milliseconds(plan, lambda: run(often), 1)[0] / often
            for _ in range(rounds)
        ]
        kind = torch.profiler.ProfilerActivity
        kinds = [kind.CUDA if cuda else kind.CPU]
        with torch.profiler.profile(activities=kinds) as profile:
            run(often)
            plan.wait()
        of_kernels = kernel_milliseconds(profile.events(), cuda) / often
        rows.append(
            {
                "phase": phase.name,
                "images": phase.batch_size,
                "step": times,
                "kernels": of_kernels,
            }
        )
        accelerator.free_memory()
    return rows


def kernel_milliseconds(events, cuda: bool) -> float:
    """Return the time that kernels took, copies left out."""
    if not cuda:
        return sum(
            event.self_cpu_time_total / 1000
            for event in events
            if event.name.startswith("aten::")
        )
    device = torch.autograd.DeviceType.CUDA
    return sum(
        event.time_range.elapsed_us() / 1000
        for event in events
        if event.device_type == device
        and not event.is_user_annotation
        and not event.name.startswith(("Memcpy", "Memset"))
    )


# What `detr-lite evaluate` imports, then the command itself.
EVALUATE = """
import json, sys, time
start = time.perf_counter()
from pycocotools import coco, cocoeval
from detr_lite.cli import evaluate, main
from detr_lite.data.coco import writer
from detr_lite.inference import evaluation, loading
imported = time.perf_counter()
code = main.main(sys.argv[1:])
done = time.perf_counter()
print()
print(json.dumps({"imports": imported - start, "rest": done - imported}))
sys.exit(code)
"""


def evaluate(plan: Plan) -> dict:
    """Time `detr-lite evaluate` of the scenes: imports, and all the rest."""
    count = 4 if plan.small else VALIDATION_COUNT
    SceneSplit(VALIDATION_SEED, count)  # drawn once, kept in the cache
    words = ["evaluate", "--count", f"{count}", "--device", plan.device.type]
    found: dict[str, list[float]] = {"imports": [], "rest": []}
    for _ in range(1 if plan.small else plan.rounds):
        done = subprocess.run(
            [sys.executable, "-c", EVALUATE, *words],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            found[name].append(value)
    return {"images": count, **found}


def train(plan: Plan, name: str = "quick") -> dict:
    """Time the whole command that trains a preset; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        words = ["train", "--preset", name, "--out", str(out)]
        words += ["--device", plan.device.type]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "detr_lite", *words], check=True)
        seconds = time.perf_counter() - start
        text = (out / "metrics.json").read_text("utf-8")
    metrics = json.loads(text)["metrics"]
    return {
        "preset": name,
        "seconds": seconds,
        "pq": metrics["pq"],
        "box_ap": metrics["box_ap"],
    }


GROUPS: dict[str, Callable] = {
    function.__name__: function
    for function in (inference, precision, exactness, kernels, evaluate, steps)
}


def about(plan: Plan) -> dict:
    """Return on what, when and against what it was measured."""
    card = "CPU"
    if plan.device.type == "cuda":
        card = torch.cuda.get_device_name(plan.device)
    own = "the original's own code"
    return {
        "card": card,
        "date": datetime.now(UTC).date().isoformat(),
        "original": "tools/reference.py" if plan.original is None else own,
        "small": plan.small,
        "torch": torch.__version__,
        **{name: version(name) for name in ("torchvision", "transformers")},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line names; print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--original", type=Path, metavar="DIR")
    parser.add_argument(
        "--train",
        nargs="?",
        const="quick",
        choices=("quick", "full"),
        help="time the whole run of a preset, too (default: quick)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    for name in args.groups:
        if name not in GROUPS:
            parser.error(f"there is no {name}; name {', '.join(GROUPS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --small tries it out")
    out = args.out
    if out is None and args.device == "cuda" and not args.small:
        out = bench_tables.GPU_RESULTS
    plan = Plan(torch.device(args.device), args.original, args.small)
    results = about(plan)
    chosen = {name: GROUPS[name] for name in args.groups or GROUPS}
    if args.groups and out is not None and out.exists():
        before = json.loads(out.read_text("utf-8"))
        if all(before.get(key) == value for key, value in results.items()):
            results = before  # measured today on the same: some groups anew
    begun = time.monotonic()
    if args.train:
        chosen["train"] = lambda plan: train(plan, args.train)
    for name, function in chosen.items():
        start = time.monotonic()
        if start - begun > 60 * MINUTES and name != "train":
            print(f"{name}: left out, {MINUTES} minutes are over", flush=True)
            continue
        results[name] = function(plan)
        plan.release()
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
        if out is not None:
            out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(bench_tables.gpu(json.loads(json.dumps(results))))


if __name__ == "__main__":
    main()
