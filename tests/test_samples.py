"""Samples, targets and batches: one truth, from which all else follows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import TWO_CLASSES, sample

from detr_lite.boxes import cxcywh_to_xyxy
from detr_lite.data.batch import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    collate,
    make_targets,
    pad_images,
)
from detr_lite.data.categories import Categories, Category
from detr_lite.data.resizing import fit_image, fit_sample
from detr_lite.data.sample import flip
from detr_lite.data.subsets import split_off
from detr_lite.errors import DataError
from detr_lite.targets import boxes_from_id_map


def test_boxes_hold_the_pixels_edges():
    id_map = torch.zeros(5, 7, dtype=torch.int32)
    id_map[1:3, 2:6] = 4
    id_map[4, 0] = 9
    boxes = boxes_from_id_map(id_map, torch.tensor([9, 4]))
    assert boxes.tolist() == [[0, 4, 1, 5], [2, 1, 6, 3]]


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.integers(0, 3), min_size=36, max_size=36),
)
def test_boxes_are_the_tightest(height, width, numbers):
    id_map = torch.tensor(numbers[: height * width]).view(height, width)
    ids = sorted(set(id_map.flatten().tolist()) - {0})
    boxes = boxes_from_id_map(id_map, torch.tensor(ids, dtype=torch.int64))
    for number, box in zip(ids, boxes.tolist(), strict=True):
        rows, columns = (id_map == number).nonzero(as_tuple=True)
        assert box == [
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        ]


def test_a_segment_without_pixels_is_refused_by_its_number():
    with pytest.raises(DataError, match=r"beach: Segment 8 has no pixel"):
        make_targets([sample([[1, 1]], [1, 8])])


def test_target_boxes_are_relative_to_the_picture():
    target = make_targets([sample([[0, 3, 3, 0], [0, 3, 3, 0]], [3])])
    wanted = torch.tensor([[0.25, 0.0, 0.75, 1.0]])
    assert torch.equal(cxcywh_to_xyxy(target.boxes), wanted)


def test_crowds_are_no_targets():
    target = make_targets([sample([[3, 5]], [3, 5], [1, 0], [True, False])])
    assert target.segment_ids.tolist() == [5]
    assert target.labels.tolist() == [0]
    assert target.boxes.shape == (1, 4)
    assert target.masks(torch.tensor([0])).tolist() == [[[False, True]]]
    assert target.counts == (1,)


def test_a_picture_without_segments_is_a_target_without_boxes():
    target = make_targets([sample([[0, 0]], [])])
    assert target.boxes.shape == (0, 4)
    assert target.id_maps.shape == (1, 1, 2)
    assert target.counts == (0,)


def test_pictures_are_padded_right_and_below():
    a = torch.full((3, 2, 5), 255, dtype=torch.uint8)
    b = torch.full((3, 4, 3), 255, dtype=torch.uint8)
    images, mask = pad_images([a, b])
    assert images.shape == (2, 3, 4, 5)
    inside = torch.zeros(2, 4, 5, dtype=torch.bool)
    inside[0, :2], inside[1, :, :3] = True, True
    assert torch.equal(mask, ~inside)
    for channel in range(3):
        white = (1 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        wanted = torch.where(inside, white, 0.0)
        torch.testing.assert_close(images[:, channel], wanted)


def test_pictures_of_one_size_have_no_padding():
    same = [torch.zeros(3, 4, 5, dtype=torch.uint8)] * 2
    images, mask = pad_images(same)
    assert mask is None
    black = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(images[1, :, 2, 2], black)


def test_a_batch_holds_all_samples_targets():
    """In the samples' order, with the image of each; maps are padded."""
    samples = [
        sample([[1, 2]], [1, 2], [1, 0]),
        sample([[0, 0, 0]], []),
        sample([[0], [7]], [7]),
    ]
    batch = collate(samples)
    targets = batch.targets
    assert targets.labels.tolist() == [1, 0, 0]
    assert targets.image.tolist() == [0, 0, 2]
    assert targets.segment_ids.tolist() == [1, 2, 7]
    assert targets.counts == (2, 0, 1)
    assert targets.boxes.tolist() == [
        [0.25, 0.5, 0.5, 1],
        [0.75, 0.5, 0.5, 1],
        [0.5, 0.75, 1, 0.5],
    ]
    assert targets.id_maps.tolist() == [
        [[1, 2, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [7, 0, 0]],
    ]
    types = [t.dtype for t in (targets.image, targets.id_maps)]
    assert types == [torch.int64, torch.int32]
    assert batch.samples == samples


def test_boxes_of_a_sample_are_those_of_its_id_map():
    """Asked for twice, and in an order of their own."""
    one = sample([[3, 0, 5], [3, 3, 5]], [5, 3])
    wanted = boxes_from_id_map(one.id_map, one.segment_ids)
    for _ in range(2):
        assert torch.equal(one.boxes(), wanted)
    with pytest.raises(DataError):
        sample([[3, 3]], [3, 4]).boxes()


def test_flip_mirrors_picture_and_segments_together():
    one = sample([[1, 1, 2]], [1, 2])
    mirrored = flip(one)
    assert mirrored.id_map.tolist() == [[2, 1, 1]]
    assert torch.equal(mirrored.image, one.image[..., [2, 1, 0]])
    assert torch.equal(flip(mirrored).image, one.image)


def test_pictures_are_resized_as_the_paper_does():
    image = torch.zeros(3, 300, 900, dtype=torch.uint8)
    assert fit_image(image, 800, 1333).shape[1:] == (444, 1332)


def test_a_picture_of_the_right_size_is_not_touched():
    image = torch.zeros(3, 96, 120, dtype=torch.uint8)
    assert fit_image(image, 96, 160) is image


def test_fit_sample_drops_segments_that_lose_their_last_pixel():
    id_map = torch.ones(64, 64, dtype=torch.int32)
    id_map[1, 1] = 2
    fitted = fit_sample(sample(id_map, [1, 2], [1, 0]), 16, 32)
    assert fitted.image.shape == (3, 16, 16)
    assert fitted.id_map.shape == (16, 16)
    assert fitted.segment_ids.tolist() == [1]
    assert fitted.labels.tolist() == [1]
    make_targets([fitted])  # every segment that is left has pixels


def test_split_off_draws_by_its_seed_alone():
    class Numbers:
        categories = TWO_CLASSES

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return index

    drawn = []
    for seed in (0, 0, 1, 2):
        first, other = (
            [part[i] for i in range(len(part))]
            for part in split_off(Numbers(), 0.1, seed)
        )
        assert (len(first), len(other)) == (18, 2)
        assert sorted(first + other) == list(range(20))
        assert (first, other) == (sorted(first), sorted(other))
        drawn.append(other)
    assert drawn[0] == drawn[1]
    assert len({*map(tuple, drawn)}) == 3
    assert drawn[0] != [18, 19]  # neighbors may be alike


def test_split_off_leaves_each_part_a_picture(scenes):
    for part in (0.0, 1.0):
        first, last = split_off(scenes, part)
        assert len(first) >= 1
        assert len(last) >= 1


def test_one_picture_cannot_be_split(scenes):
    one, _ = split_off(scenes, 0.99)
    assert len(one) == 1
    with pytest.raises(DataError, match="at least two images"):
        split_off(one, 0.5)


def test_labels_count_the_categories_and_ids_need_not():
    assert TWO_CLASSES.label(3) == 0
    assert TWO_CLASSES.label(70) == 1
    with pytest.raises(DataError, match=r"Category id 4 .*\[3, 70\]"):
        TWO_CLASSES.label(4)


def test_category_ids_are_unique():
    cat = Category(3, "cat", True, (0, 0, 0))
    with pytest.raises(DataError, match="share one id"):
        Categories([cat, replace(cat, name="dog")])


def test_names_of_categories_are_unique():
    cat = Category(3, "cat", True, (0, 0, 0))
    with pytest.raises(DataError, match="are called cat"):
        Categories([cat, replace(cat, id=4)])
