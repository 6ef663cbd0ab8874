"""What the losses of a step are divided by, counted by hand."""

from types import SimpleNamespace

import pytest
import torch
from support import joined, target

from detr_lite.data.batch import Batch
from detr_lite.losses import DetectionLoss, class_loss
from detr_lite.matching import HungarianMatcher
from detr_lite.training.totals import answers, count_totals

ALONE = SimpleNamespace(num_processes=1)


def batch(*counts):
    """Return a batch of images with so many segments."""
    targets = [
        target([i % 2 for i in range(n)], torch.rand(n, 4) / 3 + 0.3)
        for n in counts
    ]
    return Batch(torch.zeros(0), None, joined(targets))


def test_totals_by_hand():
    """5 segments; of 3 x 4 queries 7 others, and each of them weighs 0.1."""
    totals = count_totals([batch(3, 0), batch(2)], 4, 0.1, ALONE)
    assert totals.boxes == 5
    assert totals.class_weight == pytest.approx(5 + 0.7)
    assert totals.images == 3


def test_more_segments_than_queries():
    """Only 4 of 6 segments can be matched."""
    totals = count_totals([batch(6)], 4, 0.1, ALONE)
    assert totals.boxes == 6
    assert totals.class_weight == 4


def test_without_segments_the_boxes_are_divided_by_one():
    assert count_totals([batch(0, 0)], 4, 0.1, ALONE).boxes == 1


def test_several_processes_add_up_their_counts_and_share_the_sum():
    class Two:
        num_processes, device = 2, torch.device("cpu")

        def reduce(self, counts, how):
            assert how == "sum"
            return counts + torch.tensor([7, 7, 3])

    totals = count_totals([batch(3)], 10, 0.5, Two())
    assert totals.boxes == 10 / 2
    assert totals.class_weight == (10 + 0.5 * 30) / 2
    assert totals.images == 2


def answered(targets):
    """Return logits, boxes and queries of one layer for two images."""
    logits, boxes = torch.randn(1, 2, 4, 3), torch.rand(1, 2, 4, 4)
    return logits, boxes, HungarianMatcher()(logits, boxes, targets)


@pytest.mark.parametrize("counts", [(3, 1), (6, 2), (0, 0)])
def test_a_batch_alone_has_the_total_that_the_class_loss_counts(counts):
    data = batch(*counts)
    logits, _, queries = answered(data.targets)
    arguments = logits, queries, data.targets, 0.1
    total = count_totals([data], 4, 0.1, ALONE).class_weight
    torch.testing.assert_close(
        class_loss(*arguments, total), class_loss(*arguments)
    )
    twice = class_loss(*arguments, 2 * total)
    torch.testing.assert_close(twice, class_loss(*arguments) / 2)


def test_the_detection_loss_passes_both_divisors_on():
    data = batch(3, 1)
    found = answered(data.targets)
    one = DetectionLoss()(*found, data.targets, 4.0, 5.0)
    other = DetectionLoss()(*found, data.targets, 8.0, 10.0)
    for name, value in one.items():
        assert other[name] == pytest.approx(value / 2)


def test_answers_by_hand():
    """Four segments, one of them without a query; two answers are right.

    Of the first image's queries two find something, of the second's one.
    """
    targets = joined(
        [target([0, 1, 1], [[0.5] * 4] * 3), target([1], [[0.5] * 4])]
    )
    labels = torch.tensor([[0, 2, 0], [2, 2, 1]])
    logits = torch.nn.functional.one_hot(labels, 3).float()
    queries = torch.tensor([0, 2, 3, 2])
    totals = count_totals(
        [Batch(torch.zeros(0), None, targets)], 3, 0.1, ALONE
    )
    found = answers(logits, queries, targets, totals)
    assert found["class_accuracy"].item() == 2 / 4
    assert found["cardinality_error"].item() == (1 + 0) / 2
