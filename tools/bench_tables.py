"""The tables and charts of book/fast_and_exact.md, of what was measured.

python tools/bench_tables.py    put the tables between the marks of the page,
                                and the charts beside it
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bench_charts import Row, dots  # noqa: E402

RESULTS = ROOT / "tools" / "bench.json"
GPU_RESULTS = ROOT / "tools" / "bench_gpu.json"
PAGE = ROOT / "book" / "fast_and_exact.md"
CHARTS = ROOT / "book" / "_assets"
CASES = {
    "inference_480x640": "image to ids, 480x640",
    "inference_480x640_batch_4": "four images to ids, 480x640",
    "inference_800x1066": "image to ids, 800x1066",
    "inference_800x1066_batch_4": "four images to ids, 800x1066",
    "scenes_20_pictures": "20 scenes to ids, the shipped model",
    "mask_step_480x640": "training step, masks, 480x640",
    "box_step_480x640": "training step, boxes, 480x640",
    "post_processing_800x1066": "15 masks to ids, 800x1066",
    "matcher_batch_64": "six matchings of 64 images",
}
PARTS = {  # case: what the part is called, and in the results of memory
    "backbone_800x1066": ("backbone", "backbone"),
    "transformer_800x1066": ("encoder and decoder", "transformer"),
    "mask_head_800x1066": ("attention maps and mask head", "mask_head"),
    "post_processing_800x1066": ("masks to ids", "rest"),
}
# case: how many times less is aimed at, as (side, key, factor)
TARGETS = {
    "inference_800x1066": [
        ("transformers", "seconds", 10),
        ("transformers", "growth_mb", 40),
        ("reference", "seconds", 3.2),
        ("reference", "growth_mb", 10),
    ],
    "inference_480x640": [
        ("transformers", "seconds", 8),
        ("reference", "seconds", 3),
    ],
    "mask_step_480x640": [
        ("transformers", "seconds", 10),
        ("transformers", "growth_mb", 12),
        ("reference", "seconds", 5),
        ("reference", "growth_mb", 4),
    ],
    "post_processing_800x1066": [("reference", "seconds", 2)],
    "matcher_batch_64": [("transformers", "seconds", 3)],
}
NAMES = {"reference": "savings off", "transformers": "`transformers`"}


def markdown(*rows: list[str]) -> str:
    """Return a table; the first row is its head."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(one: dict, form: str = ".3g") -> str:
    """Return " (lowest to highest)" of a side's seconds in several runs."""
    seconds = one.get("seconds_of_runs")
    if seconds is None:
        return ""
    return f" ({min(seconds):{form}} to {max(seconds):{form}})"


def ratios(case: dict, side: str, key: str = "seconds") -> list[float]:
    """Return how many times ours a side takes, in each run of a case."""
    sides = case["ours"], case[side]
    if key == "seconds" and "seconds_of_runs" in case[side]:
        ours, others = (one["seconds_of_runs"] for one in sides)
    else:
        ours, others = ([one[key]] for one in sides)
    return [b / a for a, b in zip(ours, others, strict=True)]


def times_ours(case: dict, side: str, key: str = "seconds") -> str:
    """Return the median of the runs' ratios, and their range."""
    found = ratios(case, side, key)
    text = f"{median(found):.1f} times"
    if len(found) > 1:
        text += f", {min(found):.1f} to {max(found):.1f}"
    return text


def compared(results: dict, key: str, form: str, unit: str) -> str:
    """Return a table of one key: ours, and how many times that the others."""
    rows = [["what", f"ours, {unit}", "savings off", "`transformers`"]]
    for name, label in CASES.items():
        case = results.get(name, {})
        if key not in case.get("ours", {}):
            continue
        ours = case["ours"]
        row = [label, format(ours[key], form)]
        if key == "seconds":
            row[-1] += spread(ours)
        for side in NAMES:
            if side not in case:
                row.append("not run")
                continue
            times = times_ours(case, side, key)
            row.append(f"{case[side][key]:{form}} ({times})")
        rows.append(row)
    return markdown(*rows)


def times(results: dict) -> str:
    """Return the table of times, and on what they were measured."""
    machines = sorted({case["machine"] for case in results.values()})
    table = compared(results, "seconds", ".3g", "seconds")
    return f"{table}\n\nMeasured on: {'; '.join(machines)}."


def memory(results: dict) -> str:
    """Return the table of how far memory grows."""
    return compared(results, "growth_mb", ".0f", "MB")


def targets(results: dict) -> str:
    """Return the table of what was aimed at and what came out."""
    keys = {"seconds": "time", "growth_mb": "memory"}
    rows = [["what", "compared with", "metric", "aim", "measured", "reached"]]
    for name, aims in TARGETS.items():
        case = results.get(name)
        if case is None:
            continue
        for side, key, aim in aims:
            factor = median(ratios(case, side, key))
            reached = "yes" if factor >= aim else "no"
            row = [CASES[name], NAMES[side], keys[key]]
            rows.append([*row, f"{aim} times", f"{factor:.1f} times", reached])
    return markdown(*rows)


def parts(results: dict) -> str:
    """Return the table of the parts of the inference, ours and not."""
    rows = [
        [
            "part",
            "multiply-adds, 10⁹",
            "savings off",
            "seconds",
            "savings off",
            "MB at the peak",
            "savings off",
        ]
    ]
    whole = results.get("inference_800x1066", {})
    for name, (label, part) in PARTS.items():
        if name not in results:
            continue
        sides = [results[name][side] for side in ("ours", "reference")]
        counts = [one.get("giga_multiply_adds") for one in sides]
        rows.append(
            [label]
            + ["none" if c is None else f"{c:.1f}" for c in counts]
            + [f"{one['seconds']:.3g}" for one in sides]
            + [
                format(grown[part], ".0f") if grown else "not measured"
                for grown in (
                    whole.get(side, {}).get("growth_by_part_mb")
                    for side in ("ours", "reference")
                )
            ]
        )
    return markdown(*rows)


def settings(results: dict) -> str:
    """Return the table of the settings that trade, of those measured."""
    rows = [
        [
            "`Speed(...)`",
            "seconds",
            "the default, in turn",
            "MB",
            "pixels with another id",
        ]
    ]
    for name in ("settings_480x640", "compile_480x640"):
        case = results.get(name, {})
        for setting, one in case.items():
            if not isinstance(one, dict) or setting == "ours":
                continue
            grown = one.get("growth_mb")
            rows.append(
                [
                    f"`{setting}`",
                    f"{one['seconds']:.3g}",
                    f"{case['ours']['seconds']:.3g}",
                    "not measured" if grown is None else f"{grown:.0f}",
                    f"{one['different'] / case['of']:.2%}",
                ]
            )
    return markdown(*rows) if len(rows) > 1 else "Not measured yet."


def agreement(results: dict) -> str:
    """Return the table of pixels that differ, and why."""
    rows = [
        [
            "what",
            "compared with",
            "pixels that differ",
            "of these, gap above 10⁻⁵ (no tie)",
            "widest gap among them",
        ]
    ]
    notes = []
    for name in ("inference_480x640", "inference_800x1066"):
        case = results.get(name)
        if case is None:
            continue
        for side, label in NAMES.items():
            one = case[side]
            cells = [CASES[name], label, f"{one['different']} of {case['of']}"]
            cells.append(f"{one['different_not_tied']}")
            rows.append([*cells, f"{one['widest_gap']:.1g}"])
        far = case["rounding"]
        notes.append(
            f"At {name.split('_')[1]} our logits are within {far['ours']:.1g} "
            "of those computed in float64, the logits with the savings off "
            f"within {far['reference']:.1g}, and those of `transformers` "
            f"within {far['transformers']:.1g}; the largest logit is "
            f"{far['largest_logit']:.2g}."
        )
    return markdown(*rows) + "\n\n" + "\n".join(notes)


NOT_ON_A_GPU = (
    "This version has not been measured on a GPU. "
    "On a machine that has one, `python tools/bench_gpu.py` does it in at "
    "most 8 minutes, and `python tools/bench_tables.py` then puts the tables "
    "here."
)
GPU_SIDES = {"original": "the original", "transformers": "`transformers`"}


def ranged(values: Sequence[float], form: str = ".3g") -> str:
    """Return the median and, of several values, the range."""
    text = format(median(values), form)
    if len(values) > 1:
        text += f" ({min(values):{form}} to {max(values):{form}})"
    return text


def row_of(rows: Sequence[dict], **wanted) -> dict:
    """Return the first of some rows with these values, or {}."""
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()):
            return row
    return {}


def gpu_ratios(found, height, width, images, what, side) -> list[float]:
    """Return how many times ours a side takes, round by round."""
    size = [height, width]
    row = row_of(found.get("inference", ()), size=size, images=images)
    if not {"ours", side} <= {*row}:
        return []
    pairs = zip(row["ours"][what], row[side][what], strict=True)
    return [other / ours for ours, other in pairs]


def gpu_memory(found) -> list[float]:
    """Return the part of transformers' memory that ours needs."""
    size = [800, 1066]
    row = row_of(found.get("inference", ()), size=size, images=4)
    if not {"ours", "transformers"} <= {*row}:
        return []
    return [row["transformers"]["peak_mb"] / row["ours"]["peak_mb"]]


def gpu_rate(found, phase, height, width, images, precision) -> list[float]:
    """Return how many images a second a step of training takes."""
    wanted = {"phase": phase, "size": [height, width], "images": images}
    row = row_of(found.get("steps", ()), precision=precision, **wanted)
    return row.get("images_per_second", [])


def gpu_kernels(found) -> list[float]:
    """Return the time of a step of boxes over that of its kernels."""
    row = row_of(found.get("kernels", ()), phase="boxes")
    return [step / row["kernels"] for step in row.get("step", ())]


def gpu_bf16(found) -> list[float]:
    """Return how many times bf16's forward TF32's takes."""
    times = found.get("precision", {}).get("forward", {})
    if not {"tf32", "bf16"} <= {*times}:
        return []
    pairs = zip(times["tf32"], times["bf16"], strict=True)
    return [slow / fast for slow, fast in pairs]


def gpu_train(found, preset) -> list[float]:
    """Return the seconds of a preset's whole command."""
    row = found.get("train", {})
    return [row["seconds"]] if row.get("preset") == preset else []


# What is measured, what is aimed at, and the numbers of the rounds.
GPU_ROWS: list[tuple[str, str, Callable[[dict], list[float]]]] = [
    (
        "image to ids, 800x1066, 1: `transformers` over ours",
        "5",
        lambda f: gpu_ratios(f, 800, 1066, 1, "ids", "transformers"),
    ),
    (
        "image to ids, 480x640, 16: `transformers` over ours",
        "8",
        lambda f: gpu_ratios(f, 480, 640, 16, "ids", "transformers"),
    ),
    (
        "image to ids, 800x1066, 4: the original over ours",
        "12",
        lambda f: gpu_ratios(f, 800, 1066, 4, "ids", "original"),
    ),
    (
        "forward alone, 480x640, 16: the original over ours",
        "2.5",
        lambda f: gpu_ratios(f, 480, 640, 16, "forward", "original"),
    ),
    ("forward alone, 800x1066, 16: TF32 over bf16", "1.5", gpu_bf16),
    (
        "peak memory, 800x1066, 4: `transformers` over ours",
        "at least 20",
        gpu_memory,
    ),
    ("a step of boxes, scenes, over its kernels' time", "1.3", gpu_kernels),
    (
        "`detr-lite evaluate`, 512 scenes, seconds after the imports",
        "2",
        lambda f: f.get("evaluate", {}).get("rest", []),
    ),
    (
        "training boxes, 480x640, batch of 32, bf16: images a second",
        "250",
        lambda f: gpu_rate(f, "boxes", 480, 640, 32, "bf16"),
    ),
    (
        "training masks, 800x1066, batch of 8, bf16: images a second",
        "120",
        lambda f: gpu_rate(f, "masks", 800, 1066, 8, "bf16"),
    ),
    (
        "`detr-lite train --preset quick`, seconds",
        "30",
        lambda f: gpu_train(f, "quick"),
    ),
    (
        "`detr-lite train --preset full`, seconds",
        "240",
        lambda f: gpu_train(f, "full"),
    ),
]


def gpu_aims(found: dict) -> str:
    """Return the table of what was aimed at on a GPU and what came out."""
    rows = [["what", "aim", "measured"]]
    for what, aim, function in GPU_ROWS:
        values = function(found)
        rows.append([what, aim, ranged(values) if values else "not measured"])
    return markdown(*rows)


def gpu_times(found: dict) -> str:
    """Return the table of the three sides' milliseconds and memory."""
    rows = [
        ["images", "what", "ours", *GPU_SIDES.values()],
    ]
    for row in found["inference"]:
        images = "{1} of {0[0]}x{0[1]}".format(row["size"], row["images"])
        for what, label in (
            ("ids", "image to ids, ms"),
            ("forward", "forward alone, ms"),
        ):
            cells = [images, label, ranged(row["ours"][what])]
            for side in GPU_SIDES:
                if side not in row:
                    cells.append("not enough memory")
                    continue
                pairs = zip(row["ours"][what], row[side][what], strict=True)
                times = ranged([b / a for a, b in pairs], ".2g")
                other = median(row[side][what])
                cells.append(f"{other:.3g}; times ours {times}")
            rows.append(cells)
        peaks = [
            row.get(side, {}).get("peak_mb") for side in ("ours", *GPU_SIDES)
        ]
        if any(peaks):
            cells = ["" if p is None else f"{p:.0f}" for p in peaks]
            rows.append([images, "memory at its peak, MB", *cells])
    return markdown(*rows)


def gpu_steps(found: dict) -> str:
    """Return the table of steps of training."""
    rows = [["phase", "images", "precision", "images a second", "peak GiB"]]
    for row in found["steps"]:
        images = "{1} of {0[0]}x{0[1]}".format(row["size"], row["images"])
        rate = "not enough memory"
        if "gib" in row:
            rate = ranged(row["images_per_second"])
        gib = format(row["gib"], ".1f") if "gib" in row else ""
        rows.append([row["phase"], images, row["precision"], rate, gib])
    return markdown(*rows)


def gpu_kernel_times(found: dict) -> str:
    """Return the table of steps on the scenes, and of their kernels."""
    rows = [["phase", "scenes", "step, ms", "its kernels, ms"]]
    for row in found["kernels"]:
        step, of_kernels = ranged(row["step"]), f"{row['kernels']:.3g}"
        rows.append([row["phase"], f"{row['images']}", step, of_kernels])
    return markdown(*rows)


def gpu_precisions(found: dict) -> str:
    """Return the table of our forward in each precision."""
    row = found["precision"]
    images = "{1} of {0[0]}x{0[1]}".format(row["size"], row["images"])
    names = list(row["forward"])
    times = [ranged(row["forward"][name]) for name in names]
    return markdown(["our forward, ms", *names], [images, *times])


def gpu_exactness(found: dict) -> str:
    """Return the table of pixels that get another id than on a CPU."""
    rows = [
        [
            "image",
            "who",
            "pixels that differ from ours on the CPU",
            "of these, gap above 10⁻⁵ (no tie)",
            "widest gap among them",
        ]
    ]
    for row in found["exactness"]:
        share = f"{row['different']} of {row['of']}"
        size = "{0[0]}x{0[1]}".format(row["size"])
        gap = f"{row['widest_gap']:.1g}"
        rows.append([size, row["what"], share, f"{row['not_tied']}", gap])
    return markdown(*rows)


def gpu(found: dict | None) -> str:
    """Return the page's part on the GPU, of what bench_gpu.py measured.

    None: it has not run.
    """
    if found is None:
        return NOT_ON_A_GPU
    original = found["original"]
    parts = [
        f"Measured on: {found['card']}, {found['date']}, "
        f"torch {found['torch']}, transformers {found['transformers']}; "
        f"the column of the original is {original}. "
        "Medians of the rounds, and their range.",
        "Tiny sizes, to try it out." if found["small"] else gpu_aims(found),
    ]
    for name, function in (
        ("inference", gpu_times),
        ("precision", gpu_precisions),
        ("exactness", gpu_exactness),
        ("kernels", gpu_kernel_times),
        ("steps", gpu_steps),
    ):
        if name in found:
            parts.append(function(found))
    trained = found.get("train")
    if trained:
        parts.append(
            f"The preset {trained['preset']} took {trained['seconds']:.0f} "
            f"seconds and reached a PQ of {trained['pq']:.3f}."
        )
    return "\n\n".join(parts)


# The mask head's 1x1 convolutions: channels in and out, and the stride.
ADAPTERS = ((1024, 128, 16), (512, 64, 8), (256, 32, 4))
QUERIES, SIZE = 100, (800, 1066)  # of the case inference_800x1066


def copies() -> tuple[float, float]:
    """Return what a copy of Res4, Res3 and Res2 for each query costs.

    That is the 10⁹ multiply-adds of the adapters of all copies but one, and
    the GB of all copies in float32.
    """
    products = numbers = 0
    for wide, narrow, stride in ADAPTERS:
        rows, columns = (-(-side // stride) for side in SIZE)
        numbers += wide * rows * columns
        products += wide * narrow * rows * columns
    return (QUERIES - 1) * products / 1e9, QUERIES * 4 * numbers / 1e9


def slower(results: dict) -> str:
    """Return why transformers takes longer than the savings off."""
    case = results["inference_800x1066"]
    sides = ("reference", "transformers")
    counts = [case[side]["giga_multiply_adds"] for side in sides]
    grown = case["transformers"]["growth_mb"] / 1000
    adapters, gigabytes = copies()
    return (
        f"For one image of 800x1066, `transformers` makes {counts[1]:.0f} "
        f"billion multiply-adds where ours with the savings off makes "
        f"{counts[0]:.0f}. That is {counts[1] - counts[0]:.0f} billion more, "
        f"and applying the adapters to 99 more copies takes {adapters:.0f} "
        f"billion. Its memory grows by {grown:.1f} GB, of which 100 copies of "
        f"the wide features are {gigabytes:.1f} GB."
    )


TABLES: dict[str, Callable[[dict], str]] = {
    function.__name__: function
    for function in (
        times,
        slower,
        memory,
        targets,
        parts,
        settings,
        agreement,
    )
}


def chart_rows(results: dict, key: str, form: Callable) -> list[Row]:
    """Return a chart's rows: ours by its value, the others by how many."""
    rows = []
    for name, label in CASES.items():
        case = results.get(name, {})
        sides = [s for s in ("ours", *NAMES) if key in case.get(s, {})]
        if "ours" not in sides:
            continue
        notes = {"ours": form(case["ours"][key])}
        for side in sides[1:]:
            factor = median(ratios(case, side, key))
            notes[side] = f"{factor:.1f}\N{MULTIPLICATION SIGN}"
        values = {side: case[side][key] for side in sides}
        label = label.replace("x1066", "\N{MULTIPLICATION SIGN}1066")
        label = label.replace("x640", "\N{MULTIPLICATION SIGN}640")
        rows.append(Row(label, values, notes))
    return rows


def charts(results: dict) -> dict[str, str]:
    """Return the page's charts, SVG, by the names of their files."""
    seconds = chart_rows(results, "seconds", lambda s: f"{s:#.2g} s")
    grown = chart_rows(results, "growth_mb", lambda mb: f"{mb:.0f} MB")
    return {
        "bench_times.svg": dots(
            "Seconds, on a logarithmic axis",
            seconds,
            {0.01: "0.01", 0.1: "0.1", 1: "1", 10: "10", 100: "100 s"},
            (0.0085, 110),
        ),
        "bench_memory.svg": dots(
            "Growth of memory, on a logarithmic axis",
            grown,
            {100: "100 MB", 1000: "1 GB", 10000: "10 GB"},
            (30, 30000),
        ),
    }


def filled(text: str, results: dict, on_a_gpu: dict | None = None) -> str:
    """Return the page's text with the tables between their marks."""
    tables = {name: table(results) for name, table in TABLES.items()}
    tables["gpu"] = gpu(on_a_gpu)
    for name, table in tables.items():
        head, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def read(path: Path) -> dict | None:
    """Return what a benchmark has written, or None."""
    return json.loads(path.read_text("utf-8")) if path.exists() else None


if __name__ == "__main__":
    filled_page = filled(
        PAGE.read_text("utf-8"), read(RESULTS), read(GPU_RESULTS)
    )
    PAGE.write_text(filled_page, "utf-8")
    for file, svg in charts(read(RESULTS) or {}).items():
        (CHARTS / file).write_text(svg, "utf-8")
