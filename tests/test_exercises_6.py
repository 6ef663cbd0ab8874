"""Chapter 6: its exercises take right answers alone, its table is measured."""

import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from detr_lite import load_model
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.inference.evaluation import evaluate
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.exercises import check
from detr_lite.teaching.exercises.chapter6 import Noisy
from detr_lite.training.recipes import Phase, preset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import measure  # noqa: E402  (it lies in tools/, which is no package)

NOTEBOOK = ROOT / "book" / "06_train_and_evaluate.ipynb"
TEXT = ROOT / "book" / "text" / "06_train_and_evaluate.md"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


@pytest.fixture
def say(capsys):
    """Return what the checker of an exercise says to an answer."""

    def run(exercise, answer):
        check(f"6.{exercise}", answer)
        return capsys.readouterr().out

    return run


def names():
    """Return what the cells of the exercises find in the notebook."""
    return {
        "check": check,
        "evaluate": evaluate,
        "Noisy": Noisy,
        "preset": preset,
        "replace": replace,
        "shipped": load_model("scenes", "cpu"),
        "validation": SceneSplit(VALIDATION_SEED, 64),
    }


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_books_solution_is_right(cells, capsys, exercise):
    title = f"#@title Solution to exercise 6.{exercise}"
    (cell,) = (c for c in cells if c.source.startswith(title))
    assert "solution" in cell.metadata["tags"]
    exec(cell.source, names())
    assert f"Exercise 6.{exercise}: right." in capsys.readouterr().out


@pytest.mark.parametrize("exercise", range(1, 6))
def test_the_untouched_exercise_is_unanswered(cells, capsys, exercise):
    (cell,) = (
        c
        for c in cells
        if f'check("6.{exercise}"' in c.source and "#@title" not in c.source
    )
    exec(cell.source, names())
    out = capsys.readouterr().out
    assert out == f"Exercise 6.{exercise}: not answered yet.\n"


@pytest.mark.parametrize(
    "answer", [8 / 13, 0.615, torch.tensor(8 / 13), np.float32(8 / 13)]
)
def test_1_takes_any_number(say, answer):
    assert "right" in say(1, answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.8, "That is SQ"),
        (5 / 6.5, "That is RQ"),
        (0.5, "one half"),
        (4 / 7, "FP and FN both count"),
        (4.0, "Divide the sum"),
        (61.5, "from 0 to 1"),
        ("much", "a single number"),
        ([0.6, 0.7], "a single number"),
    ],
)
def test_1_names_the_mistake(say, answer, words):
    out = say(1, answer)
    assert "not yet" in out
    assert words in out


def test_2_takes_a_list_in_the_order_of_the_phases(say):
    def epochs(recipe, count):
        return [
            torch.tensor(p.steps * p.batch_size) / count for p in recipe.phases
        ]

    assert "right" in say(2, epochs)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (lambda p, n: p.steps / n, "more than one picture"),
        (lambda p, n: p.steps * p.batch_size // n, "Do not round"),
        (lambda p, n: p.steps * n / p.batch_size, "Count the pictures"),
        (lambda p, n: "three", "a single number"),
        (lambda p, n: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_2_names_the_mistake(say, each, words):
    out = say(2, lambda r, n: {p.name: each(p, n) for p in r.phases})
    assert "not yet" in out
    assert words in out


def test_2_wants_every_phase(say):
    out = say(2, lambda r, n: {"boxes": 750 * 32 / 8192})
    assert "leaves out phase masks" in out
    assert "the name of each phase" in say(2, lambda r, n: 2.9)


@pytest.mark.parametrize("exercise", [2, 4])
def test_2_and_4_want_a_function(say, exercise):
    assert "The answer is a function" in say(exercise, 3)


def test_3_takes_a_recipe_written_out(say):
    phase = Phase("masks", 120, 16, 3e-3, clip=1.0)
    assert "right" in say(3, replace(preset("quick"), phases=[phase]))


QUICK = preset("quick")
MASKS = replace(QUICK.phases[-1], steps=120)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (MASKS, "is a Recipe"),
        (QUICK, "not boxes, masks"),
        (replace(QUICK, phases=QUICK.phases[:1]), "not boxes"),
        (replace(QUICK, phases=()), "not none"),
        (replace(QUICK, phases=QUICK.phases[1:]), "not 240"),
        (replace(QUICK, phases=(replace(MASKS, lr=1e-3),)), "but the steps"),
        (replace(QUICK, phases=(MASKS,), seed=1), "but the phases"),
    ],
)
def test_3_names_the_mistake(say, answer, words):
    out = say(3, answer)
    assert "not yet" in out
    assert words in out


def test_4_takes_the_packages_own_count(say):
    def missed(prediction, sample):
        quality = PanopticQuality(8)
        ids, labels = sample.segment_ids.tolist(), sample.labels.tolist()
        found = {s.id: s.label for s in prediction.segments}
        true = dict(zip(ids, labels, strict=True))
        quality.update(prediction.id_map, found, sample.id_map, true)
        return quality.fn.sum()

    assert "right" in say(4, missed)


def counted(hit):
    """Return an FN that has the mistake that `hit` has.

    hit: whether found segment s, with its mask, is a match for a true one,
    with its mask, label and id.
    """

    def missed(prediction, sample):
        count = 0
        for number, label in zip(
            sample.segment_ids, sample.labels, strict=True
        ):
            true = sample.id_map == number
            count += not any(
                hit(prediction.id_map == s.id, true, s, label, number)
                for s in prediction.segments
            )
        return count

    return missed


def iou(mask, true):
    return (mask & true).sum() / (mask | true).sum()


@pytest.mark.parametrize(
    ("hit", "words"),
    [
        (lambda m, t, s, c, n: iou(m, t) > 0.5, "called a crate"),
        (
            lambda m, t, s, c, n: iou(m, t) >= 0.5 and s.label == c,
            "its IoU is 1/2",
        ),
        (
            lambda m, t, s, c, n: 2 * (m & t).sum() > t.sum() and s.label == c,
            "far too large",
        ),
        (
            lambda m, t, s, c, n: (
                s.id == n and iou(m, t) > 0.5 and s.label == c
            ),
            "ids are others",
        ),
        (lambda m, t, s, c, n: s.label == c, "called a crate"),
    ],
    ids=["any class", "half is enough", "covered", "same id", "class alone"],
)
def test_4_names_the_case_that_goes_wrong(say, hit, words):
    out = say(4, counted(hit))
    assert "not yet" in out
    assert words in out


def test_5_takes_any_amplitude_that_halves_pq(say):
    assert "right" in say(5, torch.tensor(80.0))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (20, "It can take more noise"),
        (200, "Use less noise"),
        (-1, "0 or more"),
        (1000, "less than 256"),
        ("loud", "a single number"),
    ],
)
def test_5_says_where_to_look(say, answer, words):
    out = say(5, answer)
    assert "not yet" in out
    assert words in out


def test_noise_is_the_same_each_time_and_leaves_the_truth_alone():
    split = SceneSplit(VALIDATION_SEED, 4)
    noisy, again = Noisy(split, 2, 30.0), Noisy(split, 2, 30.0)
    assert len(noisy) == 2
    assert noisy.categories == split.categories
    assert torch.equal(noisy[1].image, again[1].image)
    assert torch.equal(noisy[1].id_map, split[1].id_map)
    off = noisy[1].image.float() - split[1].image.float()
    assert 25 < off.std() < 32
    assert torch.equal(Noisy(split, 2, 0.0)[0].image, split[0].image)


def test_the_table_of_ablations_is_the_measured_one(cells):
    table = measure.ablations(measure.read_results())
    marked = f"<!-- ablations -->\n{table}\n<!-- /ablations -->"
    assert marked in TEXT.read_text("utf-8")
    assert table in "\n".join(c.source for c in cells)
