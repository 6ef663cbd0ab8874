"""Which images make up a step, and that loading them changes nothing."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from support import Read, same_targets

from detr_lite.data.scenes import SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.data.transforms import TrainTransform
from detr_lite.errors import ConfigError, DataError
from detr_lite.training.batches import BatchOrder, Share, load_steps
from detr_lite.training.recipes import Phase

LIMITS = (96, 160)


def order(split, size=3, seed=3, **options):
    """Return an order of samples that are read one by one."""
    phase = Phase("boxes", 9, size, 1e-3)
    if type(split) is SceneSplit:
        split = Read(split)
    return BatchOrder(split, phase, seed, **options)


def numbers(batches):
    return [s.image_id for batch in batches for s in batch.samples]


def noisy(sample, generator):
    """Return a sample with random noise, cut to a random width."""
    noise = torch.randint(0, 9, sample.image.shape, generator=generator)
    width = int(torch.randint(60, 96, (), generator=generator))
    return replace(
        sample,
        image=(sample.image // 2 + noise.to(torch.uint8))[..., :width],
        id_map=torch.ones(96, width, dtype=torch.int32),
        segment_ids=torch.ones(1, dtype=torch.int64),
        labels=sample.labels[:1],
        crowd=sample.crowd[:1],
    )


def test_an_epoch_shows_each_picture_once(scenes):
    """Eight images, three a step: 24 images are three epochs."""
    run = order(scenes, 3)
    steps = [run.batches(step, Share(), LIMITS) for step in range(8)]
    shown = [number for batches in steps for number in numbers(batches)]
    epochs = shown[:8], shown[8:16], shown[16:]
    for epoch in epochs:
        assert sorted(epoch) == list(range(1, 9))
    assert epochs[0] != epochs[1]


def test_about_half_of_the_pictures_are_mirrored(scenes):
    run = order(scenes, 8)
    mirrored = 0
    for step in range(8):
        (batch,) = run.batches(step, Share(), LIMITS)
        for sample in batch.samples:
            plain = scenes[sample.image_id - 1]
            if torch.equal(sample.image, plain.image.flip(-1)):
                assert torch.equal(sample.id_map, plain.id_map.flip(-1))
                mirrored += 1
            else:
                assert torch.equal(sample.image, plain.image)
    assert 16 < mirrored < 48


def test_another_seed_gives_another_order(scenes):
    orders = {tuple(order(scenes, 8, seed).indices(0)) for seed in range(6)}
    assert len(orders) == 6


def test_micro_batches_are_the_pictures_of_the_batch(scenes):
    whole = order(scenes, 7).batches(2, Share(), LIMITS)
    shares = [Share(rank, 2, 3) for rank in range(2)]
    parts = [order(scenes, 7).batches(2, share, LIMITS) for share in shares]
    assert [len(b.targets.counts) for b in parts[0]] == [2, 1, 1]
    assert [len(b.targets.counts) for b in parts[1]] == [1, 1, 1]
    assert Counter(numbers(parts[0] + parts[1])) == Counter(numbers(whole))


def widths(batch):
    """Return the width of each image of a batch."""
    return tuple(sample.id_map.shape[1] for sample in batch.samples)


def test_a_transform_draws_from_the_seed_the_step_and_the_picture(scenes):
    run = order(scenes, 4, transform=noisy)
    shown = [run.batches(s, Share(), LIMITS)[0] for s in range(4)]
    again = order(scenes, 4, transform=noisy)
    for step in (3, 0):
        (batch,) = again.batches(step, Share(), LIMITS)
        assert torch.equal(batch.images, shown[step].images)
    (part,) = again.batches(3, Share(1, 2), LIMITS)
    width = part.images.shape[-1]
    assert torch.equal(part.images, shown[3].images[1::2, :, :, :width])
    other = order(scenes, 4, seed=4, transform=noisy)
    (batch,) = other.batches(3, Share(), LIMITS)
    assert len({widths(b) for b in (*shown, batch)}) == 5  # none alike


class Shaped(Part):
    """Scenes that say they are 5 portraits and 3 others."""

    sizes = tuple((9 if i in (0, 2, 4, 5, 7) else 8, 8) for i in range(8))

    def __init__(self, split):
        super().__init__(split, range(8))


PORTRAITS = {0, 2, 4, 5, 7}


def test_pictures_of_a_step_have_one_shape(scenes):
    run = order(Shaped(scenes), 2, by_shape=True)
    shown = [run.indices(step) for step in range(24)]
    for step in shown:
        assert len(step) == 2
        assert len({i in PORTRAITS for i in step}) == 1
    assert shown == [
        order(Shaped(scenes), 2, by_shape=True).indices(step)
        for step in range(24)
    ]


def test_both_shapes_have_their_share_of_any_number_of_steps(scenes):
    run = order(Shaped(scenes), 2, by_shape=True)
    seen, tall = Counter(), 0
    for step in range(60):
        indices = run.indices(step)
        seen.update(indices)
        tall += indices[0] in PORTRAITS
        assert abs(tall - (step + 1) * 5 / 8) <= 1
        for group in (PORTRAITS, set(range(8)) - PORTRAITS):
            counts = [seen[i] for i in group]
            assert max(counts) - min(counts) <= 1
    # 60 steps of 2 images show each of 8 images 15 times, or nearly.
    assert set(seen.values()) <= {14, 15, 16}


def test_a_step_by_shape_does_not_depend_on_the_steps_before(scenes):
    run = order(Shaped(scenes), 2, by_shape=True)
    for step in (7, 0, 3):
        alone = order(Shaped(scenes), 2, by_shape=True)
        assert run.indices(step) == alone.indices(step)


def test_pictures_of_one_shape_are_one_group(scenes):
    class Squares(Shaped):
        sizes = ((8, 8),) * 8

    run = order(Squares(scenes), 2, by_shape=True)
    plain = order(scenes, 2)
    for step in range(8):
        assert run.indices(step) == plain.indices(step)


def test_shapes_need_sizes(scenes):
    class Unknown(Shaped):
        sizes = None

    with pytest.raises(ConfigError, match="sizes"):
        order(Unknown(scenes), by_shape=True)


def test_a_label_that_no_category_has_is_refused(scenes):
    class Wrong(Part):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, labels=sample.labels + 8)

    with pytest.raises(DataError, match=r"00000\d .*labels are 0 to 7"):
        order(Wrong(scenes, [1])).batches(0, Share(), LIMITS)


def same(a, b):
    """Return whether two batches are the same, bit for bit."""
    one, other = a.padding_mask, b.padding_mask
    masks = one is other or torch.equal(one, other)
    images = torch.equal(a.images, b.images)
    return masks and images and same_targets(a.targets, b.targets)


@pytest.mark.parametrize("transform", [None, noisy])
@pytest.mark.parametrize("held", [False, True])
def test_workers_load_what_the_process_itself_would(scenes, transform, held):
    split = scenes if held else Read(scenes)
    phase = Phase("boxes", 9, 5, 1e-3)
    run = BatchOrder(split, phase, 3, transform)
    share = Share(0, 1, 2)
    before = torch.get_rng_state()
    loaded = [
        list(load_steps(run, range(2, 7), share, LIMITS, workers))
        for workers in (0, 2)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(batches) for batches in loaded[1]] == [2] * 5
    for mine, theirs in zip(*loaded, strict=True):
        assert all(map(same, mine, theirs))


def test_a_thread_loads_what_the_process_itself_would(scenes, monkeypatch):
    """As where a GPU computes meanwhile; here there is no memory to pin."""
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda x: pinned.append(x) or x
    )
    run = order(scenes, 5, transform=noisy)
    plain, ahead = (
        list(load_steps(run, range(2, 7), Share(), LIMITS, 0, overlap))
        for overlap in (False, True)
    )
    assert {id(b.images) for [b] in ahead} <= {id(x) for x in pinned}
    for mine, theirs in zip(plain, ahead, strict=True):
        assert all(map(same, mine, theirs))


def test_with_exact_padding_a_micro_batch_has_one_size(scenes):
    """The samples are those of the padded batch, in its order by size."""
    (padded,) = order(scenes, 6, transform=noisy).batches(1, Share(), LIMITS)
    run = order(scenes, 6, transform=noisy, exact_padding=True)
    alike = run.batches(1, Share(), LIMITS)
    assert padded.padding_mask is not None
    assert len(alike) > 1
    assert all(batch.padding_mask is None for batch in alike)
    first = list(dict.fromkeys(widths(padded)))
    assert [set(widths(batch)) for batch in alike] == [{w} for w in first]
    assert Counter(numbers(alike)) == Counter(numbers([padded]))
    shares = [Share(rank, 2, 2) for rank in range(2)]
    parts = [b for share in shares for b in run.batches(1, share, LIMITS)]
    assert Counter(numbers(parts)) == Counter(numbers([padded]))


def test_what_is_wrong_with_a_picture_is_said_as_without_workers(scenes):
    class Broken(Part):
        def __getitem__(self, index):
            raise DataError("beach.png has no pixels; copy it again.")

    run = order(Broken(scenes, range(8)))
    with pytest.raises(DataError) as caught:
        list(load_steps(run, range(2), Share(), LIMITS, workers=1))
    assert str(caught.value) == "beach.png has no pixels; copy it again."


def test_cocos_transform_makes_batches_for_any_step(scenes):
    """Of images of different sizes, some of which may have no segment."""
    transform = TrainTransform((48, 64, 80), 100, (40, 60), (16, 40))
    run = order(scenes, 4, transform=transform)
    sides = set()
    for step in range(6):
        for batch in run.batches(step, Share(parts=2), LIMITS):
            sides |= {tuple(s.id_map.shape) for s in batch.samples}
            height, width = batch.images.shape[-2:]
            assert batch.targets.id_maps.shape[1:] == (height, width)
            assert batch.images.shape[1] == 3
    assert len(sides) > 6
    assert {48, 64} <= {min(side) for side in sides}
    assert max(max(side) for side in sides) <= 100
