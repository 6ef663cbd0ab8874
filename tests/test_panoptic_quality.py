"""PQ against torchmetrics, and against panopticapi's definition."""

import numpy as np
import pytest
import torch
from panopticapi_pq import averages, count, segments_info, to_colors, to_ids
from support import sampled
from torchmetrics.detection import PanopticQuality as TheirQuality

from detr_lite.errors import DataError
from detr_lite.panoptic_quality import PanopticQuality

CLASSES = 4
UNKNOWN = 99  # torchmetrics takes a class it was not told of for void


def painted(random, size, count, void):
    """Return an id map of overlapping rectangles, and id -> label.

    Without void, id 1 fills what the others leave.
    """
    id_map = np.zeros((size, size), np.int64)
    for number in range(1, count + 1):
        y, x = random.randint(0, size, 2)
        h, w = random.randint(1, size, 2)
        if number == 1 and not void:
            y, x, h, w = 0, 0, size, size
        id_map[y : y + h, x : x + w] = number
    labels = {
        int(i): int(random.randint(CLASSES)) for i in np.unique(id_map) if i
    }
    return id_map, labels


def changed(random, id_map, labels):
    """Return a prediction like the truth: shifted, relabeled, renumbered."""
    shift = random.randint(-2, 3, 2)
    moved = np.roll(id_map, shift, (0, 1))
    moved[moved == 0] = moved.max() + 1
    ids = np.unique(moved)
    numbers = 1 + random.permutation(99)[: len(ids)]
    new = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
    result = np.vectorize(new.get)(moved)
    return result, {
        number: (
            labels[i]
            if i in labels and random.rand() < 0.8
            else int(random.randint(CLASSES))
        )
        for i, number in new.items()
    }


def pictures(seed, count, void):
    random = np.random.RandomState(seed)
    made = []
    for _ in range(count):
        truth = painted(random, 12, random.randint(1, 7), void)
        if random.rand() < 0.7:
            found = changed(random, *truth)
        else:
            found = painted(random, 12, random.randint(1, 7), void=False)
        made.append((found, truth))
    return made


def as_colors(id_map, labels):
    """Return the (1, H, W, 2) classes and numbers that torchmetrics reads."""
    classes = np.vectorize(lambda i: labels.get(int(i), UNKNOWN))(id_map)
    return torch.from_numpy(np.stack((classes, id_map), -1))[None]


@pytest.fixture
def _double_precision():
    """torchmetrics divides pixel counts in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def update(quality, found, truth, crowd=()):
    """Count one image; found, truth: a map, and id -> label."""
    quality.update(
        torch.as_tensor(found[0]), found[1],
        torch.as_tensor(truth[0]), truth[1], crowd,
    )  # fmt: skip


# Both know void in the truth.  Void in the prediction torchmetrics also takes
# off the union and off the misses, which neither the paper nor panopticapi
# does: predictions here have none, and a test below pins what we do.
@pytest.mark.usefixtures("_double_precision")
@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("seed", sampled(range(300), 75))
def test_quality_equals_torchmetrics(seed, void):
    made = pictures(seed, 1 + seed % 3, void)
    theirs = TheirQuality(
        things=set(range(CLASSES)),
        stuffs=set(),
        return_sq_and_rq=True,
        return_per_class=True,
    )
    mean = TheirQuality(set(range(CLASSES)), set(), return_sq_and_rq=True)
    quality = PanopticQuality(CLASSES)
    for found, truth in made:
        update(quality, found, truth)
        for other in (theirs, mean):
            other.update(as_colors(*found), as_colors(*truth))
    for label, (pq, sq, rq) in enumerate(theirs.compute().tolist()):
        mine = quality.compute([label])
        assert mine["pq"] == pytest.approx(pq, abs=1e-9)
        assert mine["sq"] == pytest.approx(sq, abs=1e-9)
        assert mine["rq"] == pytest.approx(rq, abs=1e-9)
    result = quality.compute()
    assert [result[k] for k in ("pq", "sq", "rq")] == pytest.approx(
        mean.compute().tolist(), abs=1e-9
    )


def shifted(random, id_map, labels):
    return np.roll(id_map, random.randint(-4, 5, 2), (0, 1)), labels


def merged(random, id_map, labels):
    """Two segments become one."""
    first, second = random.choice([*labels], 2)
    return np.where(id_map == second, first, id_map), labels


def split(random, id_map, labels):
    """A segment is cut in two, of which each keeps the class."""
    number = random.choice([*labels])
    new = int(random.randint(1, 2**24))
    right = np.arange(id_map.shape[1]) > random.randint(id_map.shape[1])
    cut = np.where((id_map == number) & right, new, id_map)
    return cut, {**labels, new: labels[number]}


def dropped(random, id_map, labels):
    return np.where(id_map == random.choice([*labels]), 0, id_map), labels


def flipped(random, id_map, labels):
    """A segment gets another class."""
    number = int(random.choice([*labels]))
    return id_map, {**labels, number: (labels[number] + 1) % CLASSES}


def holed(random, id_map, labels):
    return np.where(random.rand(*id_map.shape) < 0.3, 0, id_map), labels


def renumbered(random, id_map, labels):
    numbers = np.unique(random.randint(1, 2**24, 2 * len(labels)))
    numbers = random.permutation(numbers)[: len(labels)].tolist()
    new = dict(zip(labels, numbers, strict=True))
    result = np.zeros_like(id_map)
    for i, n in new.items():
        result[id_map == i] = n
    return result, {new[i]: label for i, label in labels.items()}


CHANGES = (shifted, merged, split, dropped, flipped, holed, renumbered)


def present(id_map, labels):
    """Return the labels of the segments that have pixels."""
    ids = np.unique(id_map)
    return {int(i): label for i, label in labels.items() if i in ids}


def perturbed(seed):
    """Return a result, the truth that it was made from, and its crowds."""
    random = np.random.RandomState(seed)
    truth = renumbered(random, *painted(random, 24, 7, seed % 2))
    if not truth[1]:
        truth = np.full((24, 24), 2**24 - 1), {2**24 - 1: 0}
    crowd = [t for t in truth[1] if random.rand() < 0.15]
    found = truth
    for change in random.choice(CHANGES, random.randint(1, 4)):
        found = change(random, *found)
        found = found[0], present(*found)
        if not found[1]:
            break
    return found, truth, crowd


def counts(quality):
    return np.stack((quality.iou, quality.tp, quality.fp, quality.fn), 1)


@pytest.mark.parametrize("first", sampled(range(0, 50_000, 1000), 1))
def test_a_thousand_perturbed_results_score_as_panopticapi_has_it(first):
    ours, theirs = PanopticQuality(CLASSES), np.zeros((CLASSES, 4))
    rows = []
    for seed in range(first, first + 1000):
        found, truth, crowd = perturbed(seed)
        one, table = PanopticQuality(CLASSES), np.zeros((CLASSES, 4))
        for quality, other in ((ours, theirs), (one, table)):
            update(quality, found, truth, crowd)
            count(
                other,
                to_ids(to_colors(found[0])), segments_info(*found),
                to_ids(to_colors(truth[0])), segments_info(*truth, crowd),
            )  # fmt: skip
        assert counts(one) == pytest.approx(table, abs=1e-9), seed
        if table[:, 1:].any():
            result = one.compute()
            assert [*result.values()] == pytest.approx(
                averages(table), abs=1e-9
            ), seed
        rows.append(table)
    assert counts(ours) == pytest.approx(theirs, abs=1e-9)
    assert [*ours.compute().values()] == pytest.approx(
        averages(theirs), abs=1e-9
    )
    # Of everything there was enough, so that agreement means something.
    matched, false, missed = np.sum(rows, (0, 1))[1:]
    assert min(matched, false, missed) > 500


def quality_of(found_map, found, true_map, true, crowd=()):
    quality = PanopticQuality(CLASSES)
    update(quality, (found_map, found), (true_map, true), crowd)
    return quality


def test_pictures_that_were_counted_apart_are_added_up():
    whole, first, rest = (PanopticQuality(CLASSES) for _ in range(3))
    for seed in range(30):
        for quality in (whole, first if seed < 10 else rest):
            update(quality, *perturbed(seed))
    first.add(rest)
    assert counts(first) == pytest.approx(counts(whole))
    assert first.compute() == pytest.approx(whole.compute())


def test_perfect_predictions_give_one():
    for _, (true_map, true) in pictures(3, 5, void=True):
        renamed = np.where(true_map, true_map + 40, 0)
        found = {t + 40: label for t, label in true.items()}
        quality = quality_of(renamed, found, true_map, true)
        if true:
            assert quality.compute() == {"pq": 1.0, "sq": 1.0, "rq": 1.0}


def test_an_overlap_of_exactly_one_half_is_no_match():
    quality = quality_of([[1, 2]], {1: 0, 2: 1}, [[1, 1]], {1: 0})
    assert quality.tp.sum() == 0
    assert quality.fn.tolist() == [1, 0, 0, 0]
    assert quality.fp.tolist() == [1, 1, 0, 0]


def test_a_match_of_another_class_is_a_miss_and_a_false_alarm():
    quality = quality_of([[1, 1]], {1: 2}, [[1, 1]], {1: 0})
    assert quality.fn.tolist() == [1, 0, 0, 0]
    assert quality.fp.tolist() == [0, 0, 1, 0]


def test_a_segment_half_of_it_on_void_is_still_a_false_alarm():
    quality = quality_of([[1, 1]], {1: 0}, [[0, 2]], {2: 1})
    assert quality.fp.tolist() == [1, 0, 0, 0]
    more = quality_of([[1, 1, 1]], {1: 0}, [[0, 0, 2]], {2: 1})
    assert more.fp.tolist() == [0, 0, 0, 0]


def test_void_in_the_prediction_does_not_excuse_a_miss():
    quality = quality_of([[0, 0, 1]], {1: 0}, [[1, 1, 1]], {1: 0})
    assert quality.fn.tolist() == [1, 0, 0, 0]
    assert quality.fp.tolist() == [1, 0, 0, 0]


def test_classes_that_do_not_occur_are_left_out_of_the_mean():
    quality = quality_of([[1, 1]], {1: 2}, [[5, 5]], {5: 2})
    assert quality.compute()["pq"] == 1.0
    assert quality.compute([0, 1]) == {"pq": 0.0, "sq": 0.0, "rq": 0.0}


def test_ids_as_large_as_a_png_holds_are_counted():
    big = 2**24 - 1
    quality = quality_of([[big, 1]], {big: 0, 1: 1}, [[big, 1]],
                         {big: 0, 1: 1})  # fmt: skip
    assert quality.compute()["pq"] == 1.0


def test_runs_of_pixels_go_on_from_row_to_row():
    """The last pixel of a row and the first of the next are neighbors."""
    quality = quality_of(
        [[5, 5], [5, 7], [7, 7]], {5: 0, 7: 1},
        [[1, 1], [1, 1], [2, 2]], {1: 0, 2: 1},
    )  # fmt: skip
    assert quality.iou.tolist() == [3 / 4, 2 / 3, 0, 0]


def test_id_maps_of_every_integer_type_are_counted():
    for kind in (torch.uint8, torch.int16, torch.int32, torch.int64):
        quality = PanopticQuality(1)
        id_map = torch.tensor([[3, 3], [9, 9]], dtype=kind)
        quality.update(id_map, {3: 0, 9: 0}, id_map.int(), {3: 0, 9: 0})
        assert quality.tp.tolist() == [2]


def test_a_pixel_of_an_unlisted_segment_is_refused():
    with pytest.raises(DataError, match="segment 8, which is not in"):
        quality_of([[1, 8]], {1: 0}, [[1, 1]], {1: 0})


def test_a_listed_segment_without_pixels_is_refused():
    with pytest.raises(DataError, match="segment 8 has no pixel"):
        quality_of([[1, 1]], {1: 0, 8: 1}, [[1, 1]], {1: 0})


def test_an_unlisted_id_of_the_truth_is_of_no_class_and_no_void():
    """As in panopticapi: it does not excuse what lies on it."""
    quality = quality_of([[1, 1, 1]], {1: 0}, [[4, 4, 2]], {2: 1})
    assert quality.fp.tolist() == [1, 0, 0, 0]
    assert quality.fn.tolist() == [0, 1, 0, 0]


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(DataError, match=r"\(1, 2\).*\(2, 1\)"):
        quality_of([[1, 1]], {1: 0}, [[1], [1]], {1: 0})


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_of_no_class_is_refused(label):
    one = torch.ones(2, 2, dtype=torch.int64)
    for labels in (({1: label}, {1: 0}), ({1: 0}, {1: label})):
        quality = PanopticQuality(num_classes=2)
        with pytest.raises(DataError, match=f"no label {label}"):
            quality.update(one, labels[0], one, labels[1])
