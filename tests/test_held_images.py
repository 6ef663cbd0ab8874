"""Images held where training happens: the batches that collate makes."""

import pytest
import torch
from support import Read, same_targets

from detr_lite.data.batch import collate
from detr_lite.data.sample import flip
from detr_lite.data.transforms import TrainTransform
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.held_images import HeldImages
from detr_lite.training.recipes import Phase

LIMITS = (96, 160)


@pytest.mark.parametrize(
    "pairs",
    [
        [(3, 0.9), (0, 0.5), (7, 0.7)],
        [(3, 0.1), (0, 0.2), (7, 0.49)],
        [(6, 0.1), (6, 0.8), (1, 0.6), (5, 0.3)],
    ],
)
def test_a_held_batch_is_collates_bit_for_bit(scenes, pairs):
    """Mirrored ones too, and one image mirrored and not."""
    held = HeldImages(scenes, "cpu")
    wanted = collate(
        [flip(scenes[i]) if x < 0.5 else scenes[i] for i, x in pairs]
    )
    for _ in range(2):  # what is looked up once is not changed by its use
        batch = held.batch(pairs)
        assert batch.images.dtype == wanted.images.dtype
        assert torch.equal(batch.images, wanted.images)
        assert batch.padding_mask is wanted.padding_mask is None
        assert same_targets(batch.targets, wanted.targets)


def test_steps_of_held_images_are_those_of_read_ones(scenes):
    """For any step, process and number of micro-batches."""
    phase = Phase("boxes", 9, 7, 1e-3)
    cpu = torch.device("cpu")
    held = BatchOrder(scenes, phase, 3, device=cpu)
    read = BatchOrder(Read(scenes), phase, 3)
    for step in (4, 0):
        for share in (Share(), Share(1, 2, 3)):
            mine = held.batches(step, share, LIMITS)
            theirs = read.batches(step, share, LIMITS)
            for a, b in zip(mine, theirs, strict=True):
                assert not a.samples  # they were not read
                assert torch.equal(a.images, b.images)
                assert same_targets(a.targets, b.targets)


def test_images_of_another_size_or_a_transform_are_read(scenes):
    phase = Phase("boxes", 9, 2, 1e-3)
    cpu = torch.device("cpu")
    (small,) = BatchOrder(scenes, phase, 3, device=cpu).batches(
        0, Share(), (48, 80)
    )
    assert small.images.shape[-2:] == (48, 48)
    transform = TrainTransform((48, 64, 80), 100, (40, 60), (16, 40))
    run = BatchOrder(scenes, phase, 3, transform, device=cpu)
    (changed,) = run.batches(0, Share(), LIMITS)
    assert len(changed.samples) == 2


def test_a_batch_is_made_on_the_device(scenes):
    """Nothing of it is made on the host and left there."""
    batch = HeldImages(scenes, "meta").batch([(0, 0.1), (3, 0.9)])
    tensors = [batch.images, *vars(batch.targets).values()]
    types = {t.device.type for t in tensors if torch.is_tensor(t)}
    assert types == {"meta"}
