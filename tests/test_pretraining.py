"""Phase "backbone": the loss of pixels, of which there may be none."""

from dataclasses import replace

import pytest
import torch
from support import TINY, joined, target

from detr_lite.training.pretraining import pixel_loss
from detr_lite.training.train import train

THINGS = torch.tensor([True, False])


def loss_of(*maps):
    """Return losses and gradient for maps of ids, of which 1 has label 0."""
    targets = joined(
        [target([0], [[0.5] * 4], id_map=torch.tensor(m)) for m in maps]
    )
    torch.manual_seed(0)
    logits = torch.randn(len(maps), 2, 2, 2, requires_grad=True)
    losses = pixel_loss(logits, targets, THINGS)
    losses["loss"].backward()
    return losses, logits.grad


def test_no_position_that_counts_costs_nothing_and_teaches_nothing():
    corner = [[0, 0, 0, 0]] * 3 + [[1, 0, 0, 0]]  # no position's center
    losses, gradient = loss_of(corner, corner)
    assert losses == {"loss": 0, "accuracy": 0}
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_positions_that_count_are_the_only_ones():
    empty, full = [[0] * 4] * 4, [[1] * 4] * 4
    alone, together = loss_of(full), loss_of(full, empty)
    assert alone[0]["loss"] > 0
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 2, 2)
    wanted = -logits[0].log_softmax(0)[0].mean()
    assert together[0]["loss"].item() == pytest.approx(wanted.item())
    assert not together[1][1].any()


def test_a_backbone_is_trained_where_segments_are_small(scenes, tmp_path):
    """Of 2 x 2 pixels each, which no position's center hits."""

    class Sparse(list):
        categories = scenes.categories

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            ids = torch.zeros_like(sample.id_map)
            ids[40:42, 41:43] = 1
            return replace(
                sample,
                id_map=ids,
                segment_ids=sample.segment_ids[:1],
                labels=sample.labels[:1],
                crowd=sample.crowd[:1],
            )

        def __iter__(self):
            return map(self.__getitem__, range(len(self)))

    recipe = replace(TINY, phases=TINY.phases[:1])
    split = Sparse(scenes)
    result = train(recipe, split, split, tmp_path, log_every=1, device="cpu")
    assert '"loss": 0.0' in (tmp_path / "log.jsonl").read_text()
    for tensor in result.model.state_dict().values():
        assert tensor.isfinite().all()
