"""The pixelwise argmax, stuff merging, small segments, and resizing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detr_lite.errors import ConfigError
from detr_lite.panoptic import (
    best_masks,
    first_of_stuff,
    panoptic_maps,
    panoptic_results,
)
from detr_lite.ragged import nearest_index, resized_maps

CAR, SKY, SEA = range(3)
IS_THING = (True, False, False)


def segment(labels, logits, mode="union", min_area=0, size=None, out=None):
    """Segment one image whose masks have a value for each pixel.

    Returns for each pixel its mask, -1 where there is none, the masks that
    have a segment, and their areas.
    """
    logits = torch.as_tensor(logits, dtype=torch.float32)
    padded = tuple(logits.shape[1:])
    size = size or padded
    id_maps, numbers, areas = panoptic_maps(
        torch.tensor(labels, dtype=torch.int64)[None],
        logits[None],
        IS_THING,
        padded,
        [size],
        [out or size],
        mode,
        min_area,
    )
    kept = numbers[0].nonzero()[:, 0].tolist()
    assert numbers[0, kept].tolist() == [*range(1, len(kept) + 1)]
    masks = torch.tensor([-1, *kept])[id_maps[0]]
    return masks, kept, areas[0, kept].tolist()


def test_each_pixel_goes_to_the_mask_that_wants_it_most():
    positions, kept, areas = segment(
        [CAR, CAR, SKY],
        [
            [[3, 1, 0], [-1, -5, 2]],
            [[1, 2, 0], [-2, -4, 1]],
            [[0, 0, 1], [-3, -6, 9]],
        ],
    )
    assert positions.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert kept == [0, 1, 2]
    assert areas == [2, 2, 2]


def test_masks_of_one_stuff_class_become_one_segment():
    logits = np.eye(4)[:, :, None].repeat(2, 2)  # mask i wants row i
    positions, kept, areas = segment([SKY, CAR, SKY, CAR], logits)
    assert positions[:, 0].tolist() == [0, 1, 0, 3]
    assert kept == [0, 1, 3]
    assert areas == [4, 2, 2]


def two_skies_and_a_car():
    """Row 0 is a car; of the rest the first sky wants the left, the second
    the right, where the car is the runner-up."""
    first, second, car = np.zeros((3, 6, 6))
    car[0] = 9
    first[1:, :3] = 5
    second[1:, 3:] = 5
    car[1:, 3:] = 1
    return [SKY, SKY, CAR], np.stack((first, second, car))


def test_union_keeps_the_pixels_of_merged_stuff():
    labels, logits = two_skies_and_a_car()
    positions, kept, areas = segment(labels, logits, "union", min_area=4)
    assert kept == [0, 2]
    assert areas == [30, 6]
    assert (positions[1:] == 0).all()


def test_original_gives_the_second_skys_pixels_to_the_runner_up():
    """Merging leaves the second sky no pixel, so that it counts as small;
    what is then computed again is not merged."""
    labels, logits = two_skies_and_a_car()
    positions, kept, areas = segment(labels, logits, "original", min_area=4)
    assert kept == [0, 2]
    assert areas == [15, 21]
    assert (positions[1:, 3:] == 2).all()


def test_small_segments_are_removed_and_the_next_best_gets_their_pixels():
    big, small, third = np.zeros((3, 4, 4))
    small[0] = 5  # four pixels
    third[0, 0], third[1:, :2] = 3, 3
    labels = [CAR, CAR, CAR]
    logits = np.stack((big, small, third))
    _, kept, areas = segment(labels, logits, min_area=4)
    assert kept == [0, 2]
    assert areas == [9, 7]
    _, kept, areas = segment(labels, logits, min_area=3)
    assert kept == [0, 1, 2]
    assert areas == [6, 4, 6]


def test_nothing_is_left_where_every_segment_is_small():
    positions, kept, areas = segment([CAR], np.ones((1, 2, 2)), min_area=4)
    assert (positions == -1).all()
    assert kept == areas == []


@pytest.mark.parametrize("mode", ["union", "original"])
def test_nothing_kept_is_void_everywhere(mode):
    """A place without a mask has the label that is no class."""
    positions, kept, areas = segment([3], np.zeros((1, 3, 4)), mode)
    assert positions.shape == (3, 4)
    assert (positions == -1).all()
    assert kept == areas == []


def test_an_unknown_way_to_merge_is_refused():
    with pytest.raises(ConfigError, match="'both'"):
        segment([CAR], np.ones((1, 2, 2)), mode="both")


def by_definition(labels, logits, mode, min_area):
    """The algorithm in words of its own, with sets of pixels.

    Both start from the argmax, merged.  While a mask is too small, the small
    ones go, and the argmax is taken again: merged ("union") or not
    ("original").  The area of merged stuff counts for its class ("union") or
    for its first mask alone ("original").
    """
    height, width = logits.shape[1:]
    alive, merged = list(range(len(labels))), True
    while alive:
        pixels = {i: set() for i in alive}
        for y in range(height):
            for x in range(width):
                best = max(alive, key=lambda i: logits[i, y, x])
                if merged and not IS_THING[labels[best]]:
                    best = next(i for i in alive if labels[i] == labels[best])
                pixels[best].add((y, x))

        def size(i, pixels=pixels):
            if mode == "union" and not IS_THING[labels[i]]:
                return sum(
                    len(p) for j, p in pixels.items() if labels[j] == labels[i]
                )
            return len(pixels[i])

        small = [i for i in alive if size(i) <= min_area]
        if not small:
            return {i: p for i, p in pixels.items() if p}
        alive = [i for i in alive if i not in small]
        merged = mode == "union"
    return {}


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    st.integers(0, 10**6),
    st.sampled_from(["union", "original"]),
    st.integers(0, 12),
)
def test_result_equals_the_definition(labels, seed, mode, min_area):
    random = np.random.RandomState(seed)
    # Blobs: some masks want a corner more than others.
    logits = random.normal(size=(len(labels), 4, 6)).astype(np.float32)
    logits += 2 * random.normal(size=(len(labels), 1, 1))
    positions, kept, areas = segment(labels, logits, mode, min_area)
    wanted = by_definition(labels, logits, mode, min_area)
    assert kept == sorted(wanted)
    assert areas == [len(wanted[i]) for i in kept]
    for i, pixels in wanted.items():
        assert {
            tuple(p) for p in (positions == i).nonzero().tolist()
        } == pixels


def test_padding_is_cropped_off_before_anything_is_counted():
    """An image in a padded batch gives what it gives alone."""
    alone = torch.randn(3, 6, 8)
    padded = torch.full((3, 12, 16), -5.0)
    padded[0] = 9  # the padding is all one mask's
    padded[:, :6, :8] = alone
    labels = [CAR, CAR, SKY]
    wanted = segment(labels, alone)
    found = segment(labels, padded, size=(6, 8))
    assert torch.equal(found[0], wanted[0])
    assert found[1:] == wanted[1:]


def test_masks_are_enlarged_bilinearly_before_the_argmax():
    """Between a pixel of 3 and one of -1 the zero is not in the middle."""
    logits = torch.tensor([[[[3.0, -1.0]], [[0.0, 0.0]]]])
    there = torch.ones(1, 2, dtype=torch.bool)
    positions = best_masks(logits, there, (1, 16))[0]
    # Pixel x lies at (x + 1/2) / 8 - 1/2; 3 - 4 t = 0 at t = 3/4.
    border = [3 - 4 * ((x + 0.5) / 8 - 0.5) > 0 for x in range(16)]
    assert (positions[0] == 0).tolist() == border


@given(st.integers(1, 700), st.integers(1, 700))
def test_nearest_index_is_pils(source, out):
    line = Image.fromarray(np.arange(source, dtype=np.int32)[None])
    wanted = np.asarray(line.resize((out, 1), Image.Resampling.NEAREST))[0]
    assert nearest_index(source, out).tolist() == wanted.tolist()


def test_the_id_map_is_resized_to_the_picture_the_user_gave():
    logits = torch.tensor([[[2.0, 2.0, 0.0]], [[0.0, 0.0, 2.0]]])
    positions, kept, areas = segment([CAR, CAR], logits, out=(2, 6))
    assert positions.tolist() == [[0, 0, 0, 0, 1, 1]] * 2
    assert kept == [0, 1]
    assert areas == [8, 4]


def test_of_equal_masks_the_first_wins_and_dead_ones_never_do():
    logits = torch.zeros(2, 3, 1, 1)
    logits[:, 0] = 9
    alive = torch.tensor([[True, True, True], [False, True, True]])
    assert best_masks(logits, alive, (2, 2))[:, 0, 0].tolist() == [0, 1]


def test_stuff_joins_the_first_of_its_class_and_things_themselves():
    labels = torch.tensor([[SKY, CAR, SKY, CAR, SEA, SKY], [CAR] * 6])
    flags = torch.tensor(IS_THING)
    assert first_of_stuff(labels, flags).tolist() == [
        [0, 1, 0, 3, 4, 0],
        [0, 1, 2, 3, 4, 5],
    ]


def images_of_a_batch(random, count):
    """Return masks of images with sizes of their own, and those sizes."""
    labels = [random.randint(0, 3, random.randint(0, 6)) for _ in range(count)]
    sizes = [(random.randint(3, 9), random.randint(3, 9)) for _ in labels]
    outs = [(random.randint(2, 12), random.randint(2, 12)) for _ in labels]
    masks = [
        random.normal(size=(len(a), 8, 8)) + random.normal(size=(len(a), 1, 1))
        for a in labels
    ]
    return labels, masks, sizes, outs


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.sampled_from(["union", "original"]),
    st.integers(0, 5),
)
def test_the_images_of_a_batch_get_what_each_gets_alone(
    seed, count, mode, min_area
):
    """Whatever their numbers of masks, their sizes and those of the result."""
    random = np.random.RandomState(seed)
    labels, masks, sizes, outs = images_of_a_batch(random, count)
    most = max(1, *map(len, labels)) + random.randint(2)
    rows = torch.full((count, most), len(IS_THING))
    logits = torch.randn(count, most, 8, 8)
    for i, own in enumerate(labels):
        rows[i, : len(own)] = torch.from_numpy(own)
        logits[i, : len(own)] = torch.from_numpy(masks[i])
    maps, numbers, areas = panoptic_maps(
        rows, logits, IS_THING, (8, 8), sizes, outs, mode, min_area
    )
    assert maps.shape == (count, *(max(x) for x in zip(*outs, strict=True)))
    assert maps.dtype == torch.int32
    for i, (height, width) in enumerate(outs):
        if not len(labels[i]):
            assert (maps[i] == 0).all()
            assert (numbers[i] == 0).all()
            continue
        positions, kept, its_areas = segment(
            labels[i], masks[i], mode, min_area, sizes[i], outs[i]
        )
        assert numbers[i].nonzero()[:, 0].tolist() == kept
        assert areas[i, kept].tolist() == its_areas
        found = torch.tensor([-1, *kept])[maps[i]]
        assert torch.equal(found[:height, :width], positions)
        assert (maps[i, height:] == 0).all()
        assert (maps[i, :, width:] == 0).all()


@given(st.integers(0, 10**6))
def test_maps_of_a_batch_are_resized_one_by_one(seed):
    random = np.random.RandomState(seed)
    sizes = [tuple(random.randint(1, 7, 2)) for _ in range(3)]
    outs = [tuple(random.randint(1, 12, 2)) for _ in range(3)]
    maps = torch.from_numpy(random.randint(0, 50, (3, 6, 6)))
    resized = resized_maps(maps, sizes, outs, beyond=99)
    for i, (height, width) in enumerate(outs):
        own = maps[i, : sizes[i][0], : sizes[i][1]].numpy().astype(np.int32)
        picture = Image.fromarray(own)
        wanted = picture.resize((width, height), Image.Resampling.NEAREST)
        assert np.array_equal(resized[i, :height, :width], wanted)
        assert (resized[i, height:] == 99).all()
        assert (resized[i, :, width:] == 99).all()


def output(probabilities, mask_logits, image_index, query_index):
    """Return what panoptic_results reads of a PanopticOutput."""
    probabilities = torch.tensor(probabilities)
    return SimpleNamespace(
        class_logits=probabilities.log(),
        boxes=torch.rand(*probabilities.shape[:2], 4),
        mask_logits=torch.as_tensor(mask_logits, dtype=torch.float32),
        image_index=torch.tensor(image_index, dtype=torch.int64),
        query_index=torch.tensor(query_index, dtype=torch.int64),
    )


@pytest.fixture
def two_pictures():
    """Two images; the first has queries 0 and 2, the second none."""
    car, sky, none = [
        [0.7, 0.1, 0.1, 0.1],
        [0.1, 0.6, 0.2, 0.1],
        [0.1, 0.1, 0.1, 0.7],
    ]
    masks = torch.zeros(2, 6, 6)
    masks[0, :2], masks[1, 2:] = 1, 1
    probabilities = [[sky, none, car], [none, none, none]]
    return output(probabilities, masks, [0, 0], [0, 2])


def test_segments_are_numbered_from_one_and_say_what_they_are(two_pictures):
    first, _ = panoptic_results(
        two_pictures, IS_THING, (6, 6), [(6, 6), (6, 6)]
    )
    assert (first.id_map[:2] == 1).all()
    assert (first.id_map[2:] == 2).all()
    assert [s.id for s in first.segments] == [1, 2]
    assert [s.label for s in first.segments] == [SKY, CAR]
    assert [s.query for s in first.segments] == [0, 2]
    assert [s.area for s in first.segments] == [12, 24]
    scores = [s.score for s in first.segments]
    assert scores == pytest.approx([0.6, 0.7])
    for s in first.segments:
        assert list(s.box) == two_pictures.boxes[0, s.query].tolist()


def test_a_picture_in_which_nothing_was_found_is_all_void(two_pictures):
    _, second = panoptic_results(
        two_pictures, IS_THING, (6, 6), [(6, 6), (4, 5)]
    )
    assert second.segments == ()
    assert second.id_map.shape == (4, 5)
    assert second.id_map.dtype == torch.int32
    assert (second.id_map == 0).all()


def test_areas_of_the_segments_are_those_of_the_id_map(two_pictures):
    first, _ = panoptic_results(
        two_pictures, IS_THING, (6, 6), [(6, 6), (6, 6)], [(9, 13), (6, 6)]
    )
    assert first.id_map.shape == (9, 13)
    for s in first.segments:
        assert s.area == (first.id_map == s.id).sum()
