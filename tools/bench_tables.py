"""The tables of book/fast_and_exact.md, of what bench.py has measured.

python tools/bench_tables.py    put them between the marks of the page
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tools" / "bench.json"
PAGE = ROOT / "book" / "fast_and_exact.md"
CASES = {
    "inference_480x640": "picture to ids, 480x640",
    "inference_480x640_batch_4": "four pictures to ids, 480x640",
    "inference_800x1066": "picture to ids, 800x1066",
    "inference_800x1066_batch_4": "four pictures to ids, 800x1066",
    "scenes_20_pictures": "20 scenes to ids, the shipped model",
    "mask_step_480x640": "training step of masks, 480x640",
    "box_step_480x640": "training step of boxes, 480x640",
    "post_processing_800x1066": "15 masks to ids, 800x1066",
    "matcher_batch_64": "six matchings of 64 pictures",
}
PARTS = {  # case: what the part is called, and in the figures of memory
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
    rows = [["what", f"ours, {unit}", "savings off", "`transformers`", "load"]]
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
        rows.append([*row, str(case["load"])])
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
    rows = [["what", "against", "of", "aim", "measured", "reached"]]
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
            "MB at its peak",
            "savings off",
            "load average",
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
            + [str(results[name]["load"])]
        )
    return markdown(*rows)


def settings(results: dict) -> str:
    """Return the table of the settings that trade, of those measured."""
    rows = [
        [
            "`Speed(...)`",
            "seconds",
            "the default's, in turn",
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
            "against",
            "pixels that differ",
            "of which not tied within 10⁻⁵",
            "widest gap there",
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
            f"At {name.split('_')[1]} the logits of ours are at most "
            f"{far['ours']:.1g} from those computed in float64, with the "
            f"savings off {far['reference']:.1g}, those of `transformers` "
            f"{far['transformers']:.1g}; the largest logit is "
            f"{far['largest_logit']:.2g}."
        )
    return markdown(*rows) + "\n\n" + "\n".join(notes)


TABLES: dict[str, Callable[[dict], str]] = {
    function.__name__: function
    for function in (times, memory, targets, parts, settings, agreement)
}


def filled(text: str, results: dict) -> str:
    """Return the page's text with the tables between their marks."""
    for name, function in TABLES.items():
        head, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        text = f"{head}{begin}\n{function(results)}\n{end}{tail}"
    return text


if __name__ == "__main__":
    measured = json.loads(RESULTS.read_text("utf-8"))
    PAGE.write_text(filled(PAGE.read_text("utf-8"), measured), "utf-8")
