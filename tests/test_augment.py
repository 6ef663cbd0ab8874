"""The training recipe: what it can give, and that segments follow."""

from dataclasses import replace

import pytest
import torch
from torchvision import tv_tensors

from detr_lite.data.batch import make_targets
from detr_lite.data.resizing import resize_sample
from detr_lite.data.sample import Sample, flip, with_pixels
from detr_lite.data.transforms import SCALES, TrainTransform, random_part
from detr_lite.errors import ConfigError
from detr_lite.targets import boxes_from_id_map
from detr_lite.training.batches import BatchOrder
from detr_lite.training.recipes import Phase

SMALL = {
    "shortest": (24, 32, 40),
    "longest": 66,
    "before": (20, 25, 30),
    "sides": (16, 28),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("image", "id_map", "segment_ids", "labels", "crowd")
    )


def part(sample, sides, seed):
    pair = tv_tensors.Image(sample.image), tv_tensors.Mask(sample.id_map)
    return with_pixels(sample, *random_part(pair, sides, seeded(seed)))


@pytest.fixture
def coded():
    """An image whose colors say the place and whose ids follow it."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    id_map = (1 + y // 10 * 6 + x // 10).int()
    ids = torch.arange(1, 25)
    return Sample(
        torch.stack((y * 6, x * 4, id_map * 10)).to(torch.uint8),
        id_map,
        ids,
        ids % 3,
        ids == 5,
        1,
        "coded",
    )


@pytest.mark.parametrize("seed", range(30))
def test_segments_follow_their_pixels(coded, seed):
    changed = TrainTransform(**SMALL)(coded, seeded(seed))
    there = set(changed.id_map.unique().tolist())
    assert there == set(changed.segment_ids.tolist())
    assert changed.image.shape[1:] == changed.id_map.shape
    assert torch.equal(changed.labels, changed.segment_ids % 3)
    assert torch.equal(changed.crowd, changed.segment_ids == 5)
    # Colors of neighbors differ by 10 or more, and borders are blurred.
    blue = changed.image[2].int()
    assert (blue - changed.id_map * 10).abs().median() <= 5
    boxes = boxes_from_id_map(changed.id_map, changed.segment_ids)
    for number, box in zip(changed.segment_ids, boxes, strict=True):
        rows, columns = (changed.id_map == number).nonzero(as_tuple=True)
        assert box[0] == columns.min()
        assert box[3] == rows.max() + 1


def test_the_generator_alone_decides(coded):
    transform = TrainTransform(**SMALL)
    first = [transform(coded, seeded(s)) for s in range(10)]
    torch.rand(5)
    again = [transform(coded, seeded(s)) for s in range(10)]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(s.image.shape) for s in first}) > 3
    state = torch.get_rng_state()
    transform(coded, seeded(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_sizes_are_those_of_the_recipe(coded):
    transform = TrainTransform(crop=False, shortest=(24, 32), longest=66)
    shapes = {
        tuple(transform(coded, seeded(s)).id_map.shape) for s in range(40)
    }
    assert shapes == {(24, 36), (32, 48)}


def test_half_are_mirrored_and_half_are_cut(coded):
    whole = TrainTransform(shortest=(40,), longest=60, crop=False)
    mirrored = 0
    for seed in range(200):
        changed = whole(coded, seeded(seed))
        assert same(changed, coded) or same(changed, flip(coded))
        mirrored += same(changed, flip(coded))
    assert 70 < mirrored < 130
    crops = TrainTransform((40,), 60, before=(40,), sides=(10, 20))
    cut = sum(
        len(crops(coded, seeded(seed)).labels) < 24 for seed in range(200)
    )
    assert 70 < cut < 130


def test_pixels_are_resized_as_for_a_prediction(coded):
    """Training and use see the same; ids as large as a PNG's come through."""
    large = replace(
        coded,
        id_map=coded.id_map + 2**24 - 30,
        segment_ids=coded.segment_ids + 2**24 - 30,
    )
    whole = TrainTransform(shortest=(24,), longest=66, crop=False)
    for seed in range(10):
        changed = whole(large, seeded(seed))
        wanted = [resize_sample(s, (24, 36)) for s in (large, flip(large))]
        assert type(changed.image) is type(changed.id_map) is torch.Tensor
        assert changed.id_map.dtype == torch.int32
        assert any(same(changed, s) for s in wanted)


def test_sides_of_parts_reach_from_least_to_most(coded):
    shapes = [part(coded, (3, 5), s).id_map.shape for s in range(100)]
    for side in (0, 1):
        assert {shape[side] for shape in shapes} == {3, 4, 5}
    corners = [
        part(coded, (3, 5), s).image[:2, 0, 0].tolist() for s in range(600)
    ]
    # The first and the last that fit; a part of 3 rows may start in row 37.
    assert {min(axis) for axis in zip(*corners, strict=True)} == {0}
    assert max(y for y, _ in corners) == 37 * 6
    assert max(x for _, x in corners) == 57 * 4


def test_a_picture_smaller_than_a_part_is_taken_whole(coded):
    assert same(part(coded, (100, 200), 0), coded)


def test_the_longest_side_does_not_limit_what_parts_are_cut_of(coded):
    """As in the original: a panorama is not made small before the cut."""
    wide = replace(
        coded,
        image=coded.image.repeat(1, 1, 4),
        id_map=coded.id_map.repeat(1, 4),
    )
    transform = TrainTransform((40,), 60, before=(40,), sides=(40, 40))
    shapes = {tuple(transform(wide, seeded(s)).id_map.shape) for s in range(9)}
    assert shapes == {(40, 40), (10, 60)}


def test_a_part_without_segments_is_a_sample(coded):
    none = torch.zeros(0, dtype=torch.int64)
    empty = replace(
        coded,
        id_map=torch.zeros_like(coded.id_map),
        segment_ids=none,
        labels=none,
        crowd=none.bool(),
    )
    for seed in range(5):
        changed = TrainTransform(**SMALL)(empty, seeded(seed))
        assert make_targets([changed]).boxes.shape == (0, 4)


def test_the_defaults_are_the_papers():
    transform = TrainTransform()
    assert SCALES == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert transform.longest == 1333
    assert transform.before == (400, 500, 600)
    assert transform.sides == (384, 600)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"shortest": ()}, "shorter side"),
        ({"shortest": (0, 5)}, "shorter side"),
        ({"shortest": (67,)}, "at most 66"),
        ({"before": ()}, "before a part is cut"),
        ({"sides": (9, 8)}, "9 to 8"),
        ({"sides": (0, 8)}, "0 to 8"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        TrainTransform(**SMALL | wrong)


def test_training_takes_the_recipe(scenes):
    phase = Phase("boxes", 1, 4, 1e-3)
    order = BatchOrder(scenes, phase, 0, TrainTransform(**SMALL))
    batch = order.batch(0, 0, 1, (96, 160))
    assert batch.images.shape[0] == 4
    assert max(batch.images.shape[2:]) <= 66
