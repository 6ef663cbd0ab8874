"""Measure the numbers in the README; each result is kept in measured.json.

python tools/measure.py              list what can be measured
python tools/measure.py NAME...      measure, and print the tables
python tools/measure.py tables       print the tables of what is there
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from detr_lite import load_model
from detr_lite.data.batch import collate
from detr_lite.data.scenes import VALIDATION_COUNT, VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.losses import MaskLoss
from detr_lite.matching import HungarianMatcher
from detr_lite.models import SCENES_CONFIG
from detr_lite.training.recipes import preset
from detr_lite.training.train import ProgressBar, scenes_data, train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tools" / "measured.json"
METRICS = ("pq", "pq_things", "pq_stuff", "sq", "rq", "box_ap")
ABLATIONS = {  # changes of the model
    "quick": {},
    # So few that a position's sines are nothing beside any feature.
    "no_positions": {"cycles": 1e-30},
    "no_encoder": {"encoder_layers": 0},
    "no_pyramid": {"pyramid": False},
    "softmax_each": {"joint_softmax": False},
}
QUERIES = {f"queries_{n}": {"num_queries": n} for n in (8, 24)}
LONGER = {"longer": {}, "longer_no_encoder": {"encoder_layers": 0}}
LONGER_STEPS = 1800  # of phase boxes
SEEDS = (0, 1, 2)
ROWS = {  # of the table of ablations
    "quick": ("quick", "the whole model, 12 queries"),
    "no_positions": ("quick", "without positional encodings"),
    "no_encoder": ("quick", "without the encoder"),
    "no_pyramid": ("quick", "without the pyramid"),
    "softmax_each": ("quick", "one softmax for each head"),
    "queries_8": ("quick", "8 queries"),
    "queries_24": ("quick", "24 queries"),
    "longer": ("1,800 steps of boxes", "the whole model, 12 queries"),
    "longer_no_encoder": ("1,800 steps of boxes", "without the encoder"),
    "full": ("full", "the whole model, 12 queries"),
    "full_no_pyramid": ("full, same detector", "without the pyramid"),
}
NUCLEI = {  # chapter 7's micrograph: what is changed, and its row's name
    "nuclei": ({}, "from the scenes' weights, 12 queries, weight 0.5"),
    "nuclei_backbone": ({"start": None}, "from the backbone alone"),
    "nuclei_weight": ({"no_object_weight": 0.2}, "weight 0.2"),
    "nuclei_queries": ({"num_queries": 24}, "24 queries"),
}
NUCLEI_LONGER = {
    "nuclei_longer": ({"times": 3}, "three times as many steps"),
    "nuclei_longer_backbone": (
        {"times": 3, "start": None},
        "the same, from the backbone alone",
    ),
}
CHAPTER = "book/text/06_train_and_evaluate.md"
REAL_IMAGES = "book/text/07_real_images.md"
PLACES = (  # file, the lines before and after, and what to put between them
    ("README.md", "<!-- measured -->", "<!-- /measured -->", "tables"),
    (CHAPTER, "<!-- ablations -->", "<!-- /ablations -->", "ablations"),
    (REAL_IMAGES, "<!-- nuclei -->", "<!-- /nuclei -->", "nuclei_table"),
    (CHAPTER, "# As measured:", "# A dot is a seed.", "ablation_rows"),
)


def seeded(name: str, seed: int) -> str:
    """Return the name of a measurement that is repeated with a seed."""
    return f"{name}_seed{seed}" if seed else name


def machine() -> str:
    """Return what the numbers were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(": ")[1]
    return f"{model}, threads: {torch.get_num_threads()}"


def quick(
    seed: int = 0, changes: dict | None = None, steps: int | None = None
) -> dict:
    """Train the quick preset; return its seconds and its metrics.

    changes: of the model; steps: of phase boxes, instead of the preset's.
    """
    recipe = preset("quick", seed=seed)
    if steps:
        boxes, *rest = recipe.phases
        phases = (replace(boxes, steps=steps), *rest)
        recipe = replace(recipe, phases=phases)
    recipe = replace(recipe, model=replace(recipe.model, **changes or {}))
    data = scenes_data("quick")
    with tempfile.TemporaryDirectory() as out, ProgressBar(recipe) as bar:
        start = time.monotonic()
        result = train(recipe, *data, out, watch=bar.watch)
        seconds = time.monotonic() - start
    figures = {name: result.evaluation.metrics[name] for name in METRICS}
    return {"seconds": seconds, **figures}


def nuclei(
    seed: int = 0,
    start: str | None = "scenes",
    num_queries: int = 12,
    no_object_weight: float = 0.5,
    times: int = 1,
) -> dict:
    """Train on chapter 7's micrograph; return seconds and metrics.

    start: weights to go on from; None: the backbone's, with a new rest.
    tp, fp, fn are of the nuclei.
    """
    from detr_lite.teaching import nuclei as cells

    cells.install()
    found = cells.micrograph()
    if not found.real:
        sys.exit(f"There is nothing to measure on. {found.about}")
    learn, judge = cells.nuclei_splits(
        cells.panoptic_sample(cells.visible(found.stored), found.nuclei)
    )
    torch.manual_seed(seed)
    model, config = (
        None,
        replace(SCENES_CONFIG, num_classes=2, num_queries=num_queries),
    )
    if start is not None:
        model = load_model(
            start, categories=cells.NUCLEI, num_queries=num_queries
        )
        config = model.config
    recipe = cells.nuclei_recipe(config, no_object_weight, seed, times)
    with tempfile.TemporaryDirectory() as out, ProgressBar(recipe) as bar:
        begin = time.monotonic()
        result = train(
            recipe,
            learn,
            judge,
            out,
            watch=bar.watch,
            evaluations=1,
            transform=cells.random_crop,
            start=model,
        )
        seconds = time.monotonic() - begin
    metrics = result.evaluation.metrics
    counted = result.evaluation.per_class["nucleus"]
    return {
        "seconds": seconds,
        **{name: metrics[name] for name in METRICS},
        **{name: counted[name] for name in ("tp", "fp", "fn")},
    }


def full_without_pyramid() -> dict:
    """Train the full preset's masks again, on its detector, no pyramid.

    The pyramid has no part in the phases before.
    """
    recipe = preset("full")
    recipe = replace(
        recipe,
        phases=recipe.phases[-1:],
        model=replace(recipe.model, pyramid=False),
    )
    detector = load_model("scenes").detr
    data = scenes_data("full")
    with tempfile.TemporaryDirectory() as out, ProgressBar(recipe) as bar:
        result = train(recipe, *data, out, watch=bar.watch, detector=detector)
    return {name: result.evaluation.metrics[name] for name in METRICS}


def shipped() -> dict:
    """Evaluate the shipped weights on the validation split."""
    split = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    metrics = evaluate(load_model("scenes"), split).metrics
    return {name: metrics[name] for name in METRICS}


def mask_step() -> dict:
    """Time a step of phase "masks", with matched masks only and with all.

    The same batch of 16 scenes, no optimizer; "loss_difference" is how far
    the two losses are apart.
    """
    model, matcher = load_model("scenes", "cpu"), HungarianMatcher()
    model.detr.requires_grad_(False)
    batch = collate(list(SceneSplit(VALIDATION_SEED, 16)))
    targets = batch.targets
    segments = torch.arange(len(targets.labels))
    count = float(len(segments))
    num_queries = model.config.num_queries
    everyone = (
        torch.arange(16).repeat_interleave(num_queries),
        torch.arange(num_queries).repeat(16),
    )

    def step(every_query: bool) -> tuple[float, float]:
        start = time.perf_counter()
        found = model.detr(batch.images)
        last = found.layer_logits[-1:], found.layer_boxes[-1:]
        queries = matcher(*last, targets)[0]
        if every_query:
            masks = model.add_masks(found, *everyone).mask_logits
            masks = masks[targets.image * num_queries + queries]
        else:
            masks = model.add_masks(found, targets.image, queries).mask_logits
        losses = MaskLoss()(masks, segments, targets, count)
        losses["loss"].backward()
        return time.perf_counter() - start, losses["loss"].item()

    times = {False: [], True: []}
    for _ in range(6):  # in turn; the first round warms up
        losses = {}
        for every_query in times:
            seconds, losses[every_query] = step(every_query)
            times[every_query].append(1000 * seconds)
    return {
        "matched_ms": statistics.median(times[False][1:]),
        "all_ms": statistics.median(times[True][1:]),
        "loss_difference": abs(losses[True] - losses[False]),
    }


def inference() -> dict:
    """Time one scene from image to panoptic ids, shipped weights."""
    model = load_model("scenes")
    split = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    images = [split[i].image for i in range(110)]
    times = []
    for image in images:
        start = time.perf_counter()
        model.predict(image)
        times.append(time.perf_counter() - start)
    return {"milliseconds": 1000 * statistics.median(times[10:])}


def loader() -> dict:
    """Count the scenes a second from a warm cache into batches."""
    split = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    collate([split[i] for i in range(32)])
    start = time.perf_counter()
    for first in range(0, len(split), 32):
        collate([split[i] for i in range(first, first + 32)])
    return {"per_second": len(split) / (time.perf_counter() - start)}


def photographs() -> dict:
    """Time the loader of photographs against bare decoding."""
    import bench_loader

    return bench_loader.measure()


def pq_speed() -> dict:
    """Time panoptic quality against panopticapi's algorithm."""
    import bench_pq

    return bench_pq.measure()


def timed_make(target: str) -> dict:
    """Run `make TARGET`, its environment being there; return its minutes."""
    start = time.monotonic()
    done = subprocess.run(["make", target], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"make {target} failed; see above.")
    return {"seconds": time.monotonic() - start}


MEASUREMENTS: dict[str, Callable[[], dict]] = {
    "shipped": shipped,
    "inference": inference,
    "loader": loader,
    "mask_step": mask_step,
    "photographs": photographs,
    "pq_speed": pq_speed,
    **{
        seeded(name, seed): lambda s=seed, c=changes: quick(s, c)
        for name, changes in ABLATIONS.items()
        for seed in SEEDS
    },
    **{
        name: lambda c=changes: quick(0, c)
        for name, changes in QUERIES.items()
    },
    **{
        seeded(name, seed): lambda s=seed, c=changes: quick(s, c, LONGER_STEPS)
        for name, changes in LONGER.items()
        for seed in SEEDS
    },
    **{
        seeded(name, seed): lambda s=seed, c=changes: nuclei(s, **c)
        for name, (changes, _) in NUCLEI.items()
        for seed in SEEDS
    },
    **{
        name: lambda c=changes: nuclei(0, **c)
        for name, (changes, _) in NUCLEI_LONGER.items()
    },
    "full_no_pyramid": full_without_pyramid,
    "make_book": lambda: timed_make("book"),
    "make_test": lambda: timed_make("test"),
}


def tables(results: dict) -> str:
    """Return the README's tables, Markdown, of what has been measured."""

    def value(name: str, key: str, form: str = ".3f") -> str:
        found = results.get(name, {}).get(key)
        return "not measured" if found is None else format(found, form)

    def minutes(name: str) -> str:
        seconds = results.get(name, {}).get("seconds")
        return "not measured" if seconds is None else f"{seconds / 60:.1f} min"

    def ratio(name: str, above: str, below: str) -> str:
        found = results.get(name)
        return (
            f"{found[above] / found[below]:.2f}" if found else "not measured"
        )

    rows = [
        "| what | measured |",
        "| --- | --- |",
        "| shipped weights, 512 validation scenes | "
        f"PQ {value('shipped', 'pq')}, PQ of things "
        f"{value('shipped', 'pq_things')}, box AP "
        f"{value('shipped', 'box_ap')} |",
        f"| full preset, from nothing, {minutes('full')} | "
        f"PQ {value('full', 'pq')}, box AP {value('full', 'box_ap')} |",
        f"| quick preset, from the shipped backbone, {minutes('quick')} | "
        f"PQ {value('quick', 'pq')}, box AP {value('quick', 'box_ap')} |",
        "| quick preset, PQ with three seeds | "
        + ", ".join(value(seeded("quick", seed), "pq") for seed in SEEDS)
        + " |",
        "| one scene to panoptic ids, shipped weights | "
        f"{value('inference', 'milliseconds', '.1f')} ms |",
        "| scenes read into batches, per second, one process | "
        f"{value('loader', 'per_second', '.0f')} |",
        "| reading 640 \N{MULTIPLICATION SIGN} 480 photographs with their "
        "targets takes this many times as long as decoding them | "
        f"{ratio('photographs', 'loading_ms', 'decoding_ms')} |",
        "| PQ: panopticapi's algorithm takes this many times as long as ours, "
        "reading colors; reading ids | "
        f"{ratio('pq_speed', 'colors_theirs_ms', 'colors_ours_ms')}; "
        f"{ratio('pq_speed', 'ids_theirs_ms', 'ids_ours_ms')} |",
        f"| `make book`, environment set up | {minutes('make_book')} |",
        *(
            [f"| `make test`, environment set up | {minutes('make_test')} |"]
            if "make_test" in results
            else []
        ),
        "",
        ablations(results),
    ]
    machines = sorted({r["machine"] for r in results.values()})
    return "\n".join([*rows, "", "Measured on: " + "; ".join(machines) + "."])


def ablations(results: dict) -> str:
    """Return the table of what each part is worth, Markdown.

    What has not been measured has no row.  Where there are several seeds:
    their mean, and the lowest and highest.
    """
    rows = [
        "| trained with | model | seeds | PQ | of things | SQ | box AP |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (training, label) in ROWS.items():
        names = [seeded(name, seed) for seed in SEEDS]
        runs = [results[n] for n in names if n in results]
        if not runs:
            continue
        cells = [training, label, str(len(runs))]
        for key in ("pq", "pq_things", "sq", "box_ap"):
            cells.append(ranged([run[key] for run in runs], 3))
        rows.append("| " + " | ".join(cells) + " |")
    step = results.get("mask_step")
    if step:
        apart = step["loss_difference"]
        rows += [
            "",
            "| a step of phase masks, with the masks of | milliseconds |",
            "| --- | --- |",
            f"| the matched queries only | {step['matched_ms']:.0f} |",
            f"| all queries: losses differ by {apart:g} "
            f"| {step['all_ms']:.0f} |",
        ]
    return "\n".join(rows)


def ablation_rows(results: dict) -> str:
    """Return the same as Python, for the drawing in chapter 6."""
    lines = ["rows = ["]
    for name, (training, label) in ROWS.items():
        names = [seeded(name, seed) for seed in SEEDS]
        runs = [results[n] for n in names if n in results]
        if not runs:
            continue
        pq, ap = (
            ", ".join(f"{run[key]:.3f}" for run in runs)
            for key in ("pq", "box_ap")
        )
        lines.append(f'    ("{training}", "{label}",')
        lines.append(f"     [{pq}], [{ap}]),")
    return "\n".join([*lines, "]"])


def nuclei_table(results: dict) -> str:
    """Return the table of chapter 7's micrograph, Markdown.

    Of several seeds the mean, the lowest and the highest, and the sums of
    what was found, wrong and missed.
    """
    rows = [
        "| trained | seeds | PQ of nuclei | found | wrong | missed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (_, label) in (NUCLEI | NUCLEI_LONGER).items():
        names = [seeded(name, seed) for seed in SEEDS]
        runs = [results[n] for n in names if n in results]
        if not runs and name in NUCLEI_LONGER:
            continue
        columns = {
            key: [run[key] for run in runs]
            for key in ("pq_things", "tp", "fp", "fn")
        }
        cells = [label, str(len(runs))]
        for key, values in columns.items():
            if not runs:
                cells.append("not measured")
            elif key in ("tp", "fp", "fn"):
                cells.append(f"{sum(values):.0f}")
            else:
                cells.append(ranged(values, 2))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def ranged(values: list[float], digits: int) -> str:
    """Return a mean, and of several values the lowest and the highest."""
    low, mean, high = (
        f"{x:.{digits}f}"
        for x in (min(values), statistics.mean(values), max(values))
    )
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def write_readme() -> None:
    """Put what was measured into the README and into chapter 6."""
    for name, first, last, function in PLACES:
        path = ROOT / name
        text = path.read_text("utf-8")
        head, begin, rest = text.partition(f"{first}\n")
        _, end, tail = rest.partition(f"{last}\n")
        if not begin or not end:
            sys.exit(f"{name} has no lines {first!r} and {last!r}.")
        table = globals()[function](read_results())
        path.write_text(f"{head}{begin}{table}\n{end}{tail}", "utf-8")


def read_results() -> dict:
    """Return what has been measured so far, by name."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(name: str, figures: dict) -> None:
    """Add a result to the file."""
    rounded = {k: round(v, 4) for k, v in figures.items()}
    results = read_results() | {name: rounded | {"machine": machine()}}
    text = json.dumps(dict(sorted(results.items())), indent=1) + "\n"
    RESULTS.write_text(text)


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="names: all, tables, readme, " + ", ".join(MEASUREMENTS),
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    if not names:
        parser.print_help()
        return
    if names == ["all"]:
        names = list(MEASUREMENTS)
    for name in names:
        if name == "readme":
            write_readme()
        if name in ("readme", "tables"):
            continue
        if name not in MEASUREMENTS:
            sys.exit(f"There is no measurement {name}; see --help.")
        keep(name, MEASUREMENTS[name]())
    print(tables(read_results()))


if __name__ == "__main__":
    main()
