"""Scenes: the same bits everywhere, exact annotations, a safe cache."""

import numpy as np
import pytest
import torch

from detr_lite.data.scenes import (
    MAX_SEGMENTS,
    SCENE_CATEGORIES,
    SIZE,
    VALIDATION_COUNT,
    VALIDATION_SEED,
    SceneSplit,
    _load_cache,
    cache_folder,
    render_scene,
)
from detr_lite.errors import ConfigError
from detr_lite.targets import boxes_from_id_map

# What a split holds may change with scenes.VERSION alone.  Every machine
# must draw these bits.
HASHES = {
    (7, 8): "6267fedc9ecb0cefd84868fae76f135c593879cecd8c178c7070d16df873b79c",
    (VALIDATION_SEED, VALIDATION_COUNT): "9b709d4dfbd6d092dc7f789755ae3843"
    "5bed5ecffac154276d40a4d4640b4f1d",
}


@pytest.fixture(scope="module")
def validation(_cache):
    return SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)


def test_the_validation_split_is_seed_2_with_512_scenes():
    assert (VALIDATION_SEED, VALIDATION_COUNT) == (2, 512)


@pytest.mark.parametrize(("seed", "count"), HASHES)
def test_every_machine_draws_the_same_bits(seed, count):
    assert SceneSplit(seed, count).sha256() == HASHES[seed, count]


def test_drawing_twice_gives_the_same_bits():
    both = render_scene(3, 5), render_scene(3, 5)
    for first, again in zip(*both, strict=True):
        assert np.array_equal(first, again)


def test_a_scene_does_not_depend_on_how_many_are_drawn():
    few, more = (SceneSplit(11, n, cache=False) for n in (2, 4))
    for i in range(2):
        assert torch.equal(few[i].image, more[i].image)
        assert torch.equal(few[i].id_map, more[i].id_map)


def test_other_seeds_give_other_scenes():
    first, second = (SceneSplit(n, 1, cache=False)[0] for n in (20, 21))
    assert not torch.equal(first.image, second.image)


def test_the_hash_covers_picture_ids_and_labels():
    for name in ("_images", "_id_maps", "_labels"):
        split = SceneSplit(7, 2, cache=False)
        before = split.sha256()
        getattr(split, name)[1, 0] += 1
        assert split.sha256() != before


def test_samples_have_the_promised_shapes_and_types(scenes):
    for sample in scenes:
        count = len(sample.labels)
        assert sample.image.shape == (3, SIZE, SIZE)
        assert sample.image.dtype == torch.uint8
        assert sample.id_map.shape == (SIZE, SIZE)
        assert sample.id_map.dtype == torch.int32
        assert sample.segment_ids.tolist() == list(range(1, count + 1))
        assert not sample.crowd.any()
    assert len({s.image_id for s in scenes}) == len(scenes)
    assert len({s.name for s in scenes}) == len(scenes)


def test_every_pixel_is_annotated_and_every_segment_has_pixels(validation):
    for sample in validation:
        ids = sample.id_map.unique().tolist()
        assert ids == sample.segment_ids.tolist()


def test_boxes_lie_inside_the_picture(validation):
    for sample in validation:
        boxes = boxes_from_id_map(sample.id_map, sample.segment_ids)
        assert boxes.min() >= 0
        assert boxes.max() <= SIZE
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_there_are_two_or_three_regions_of_stuff_and_one_to_five_things(
    validation,
):
    for sample in validation:
        things = [SCENE_CATEGORIES[i].isthing for i in sample.labels]
        assert 2 <= things.count(False) <= 3
        assert len(things) <= MAX_SEGMENTS
    counts = [
        sum(SCENE_CATEGORIES[i].isthing for i in s.labels) for s in validation
    ]
    assert set(counts) == {1, 2, 3, 4, 5}


def test_each_stuff_class_is_there_once_at_most(validation):
    for sample in validation:
        labels = sample.labels.tolist()
        stuff = [i for i in labels if not SCENE_CATEGORIES[i].isthing]
        assert len(stuff) == len(set(stuff))


def test_every_class_occurs_often(validation):
    labels = torch.cat([sample.labels for sample in validation])
    counts = labels.bincount(minlength=len(SCENE_CATEGORIES))
    assert counts.min() > VALIDATION_COUNT / 10


def test_a_segments_pixels_look_alike(validation):
    """Annotation and drawing agree: colors vary less within a segment than
    over the image."""
    sample = validation[0]
    pixels = sample.image.float().flatten(1)
    ids = sample.id_map.flatten()
    within = sum(
        pixels[:, ids == n].var(1, correction=0).sum() * (ids == n).sum()
        for n in sample.segment_ids
    ) / len(ids)
    assert within < 0.6 * pixels.var(1, correction=0).sum()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DETR_LITE_CACHE", str(folder))
    return folder


def test_scenes_from_the_cache_are_those_that_were_drawn(
    own_cache, monkeypatch
):
    drawn = SceneSplit(9, 3)
    (file,) = own_cache.iterdir()
    monkeypatch.setattr(
        "detr_lite.data.scenes.render_scene",
        lambda *a: pytest.fail("drawn again"),
    )
    again = SceneSplit(9, 3)
    assert again.sha256() == drawn.sha256()
    assert file.name.endswith("-9-3.npz")


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_broken_cache_file_is_drawn_again(own_cache, content):
    drawn = SceneSplit(9, 3)
    (file,) = own_cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert SceneSplit(9, 3).sha256() == drawn.sha256()
    assert _load_cache(file, 3) is not None  # and fixed


def test_a_cache_file_with_flipped_bits_is_drawn_again(own_cache):
    drawn = SceneSplit(9, 3)
    (file,) = own_cache.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert SceneSplit(9, 3).sha256() == drawn.sha256()


def test_a_cache_that_cannot_be_written_is_no_error(own_cache):
    own_cache.write_text("a file is in the way of the folder")
    split = SceneSplit(9, 3)
    assert len(split) == 3
    assert own_cache.read_text().startswith("a file")


def test_without_a_cache_nothing_is_written(own_cache):
    SceneSplit(9, 3, cache=False)
    assert not own_cache.exists()


def test_the_cache_is_in_the_home_folder_unless_said(monkeypatch, tmp_path):
    monkeypatch.delenv("DETR_LITE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "detr_lite"


@pytest.mark.parametrize(
    ("seed", "count", "message"),
    [(-1, 1, "seed"), (2**32, 1, "seed"), (0, -1, "count")],
)
def test_impossible_splits_are_refused(seed, count, message):
    with pytest.raises(ConfigError, match=message):
        SceneSplit(seed, count)


def test_a_split_can_be_empty():
    assert len(SceneSplit(0, 0, cache=False)) == 0


def test_scenes_count_from_the_end_and_slices_are_parts(scenes):
    assert scenes[-1].image_id == scenes[7].image_id == 8
    assert scenes[-1].name == "000007"
    assert [s.image_id for s in scenes[5:]] == [6, 7, 8]
    assert [s.image_id for s in scenes[::-3][1:]] == [5, 2]
    with pytest.raises(IndexError):
        scenes[8]
