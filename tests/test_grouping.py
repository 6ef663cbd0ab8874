"""Images of several sizes: each gets what it gets alone, if that is asked."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from support import CONFIG, gradients, phase_trainer
from two_processes import doubles

from detr_lite.data.batch import collate
from detr_lite.inference.batches import fitted_batches, usual_batch_size
from detr_lite.inference.evaluation import evaluate
from detr_lite.matching import matched
from detr_lite.models import ModelConfig
from detr_lite.targets import Targets
from detr_lite.teaching.faults import TwoSizes
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.recipes import Phase
from detr_lite.training.steps import match_layers
from detr_lite.training.totals import count_totals

CPU = torch.device("cpu")
LIMITS = (96, 160)


@pytest.fixture
def padding_model(sure_model):
    """The same, which puts images of several sizes into one batch."""
    sure_model.config = replace(sure_model.config, exact_padding=False)
    return sure_model


def off(found, wanted):
    """Return the largest difference between the scores of all queries."""
    mine, other = (
        {s.query: s.score for s in result.segments}
        for result in (found, wanted)
    )
    return max(abs(mine.get(q, 0) - score) for q, score in other.items())


@pytest.mark.parametrize("size", [1, 3, 8])
def test_predictions_of_many_images_are_those_of_each_alone(
    sure_model, scenes, size
):
    images = [sample.image for sample in TwoSizes(scenes)]
    together = sure_model.predict(images, batch_size=size)
    for image, found in zip(images, together, strict=True):
        alone = sure_model.predict(image)
        assert torch.equal(found.image, image)
        assert torch.equal(found.id_map, alone.id_map)
        assert off(found, alone) < 1e-5
        torch.testing.assert_close(
            found.attention_maps, alone.attention_maps, rtol=0, atol=1e-5
        )


def test_without_exact_padding_the_padding_leaks_in_as_in_the_original(
    padding_model, scenes
):
    images = [sample.image for sample in TwoSizes(scenes)]
    together = padding_model.predict(images, batch_size=8)
    alone = [padding_model.predict(image) for image in images]
    assert max(map(off, together, alone)) > 1e-2
    # One image of a size is not padded.
    same = padding_model.predict(images[::2])
    assert max(map(off, same, alone[::2])) < 1e-5


@pytest.mark.parametrize("exact", [True, False])
def test_an_evaluation_sees_what_each_image_gives_alone(
    padding_model, scenes, exact
):
    model, split, found = padding_model, TwoSizes(scenes), {}
    model.config = replace(model.config, exact_padding=exact)

    def results(sample, result):
        found[sample.name] = result

    evaluate(model, split, results=results)
    assert len(found) == 8
    wanted = {s.name: model.predict(s.image) for s in split}
    differences = [off(found[name], wanted[name]) for name in wanted]
    if exact:
        assert max(differences) < 1e-5
    else:
        assert max(differences) > 1e-2
    for name, result in found.items():
        assert result.id_map.shape == wanted[name].id_map.shape
        if exact:
            assert torch.equal(result.id_map, wanted[name].id_map)


def test_the_figures_of_an_evaluation_do_not_depend_on_the_batches(
    sure_model, scenes
):
    split = TwoSizes(scenes)
    one, many = (evaluate(sure_model, split, size) for size in (1, 8))
    assert many.metrics == pytest.approx(one.metrics, abs=1e-6)


SIZES = [(96, 96), (96, 120), (96, 144), (96, 160), (120, 96), (144, 96)]


def pictures(order):
    """Return numbered images; order: for each the number of its size."""
    return [
        (number, torch.zeros(3, *SIZES[kind], dtype=torch.uint8))
        for number, kind in enumerate(order)
    ]


def test_batches_have_one_size_and_all_images():
    """A full one goes at once; few images wait for their like."""
    random = torch.Generator().manual_seed(1)
    order = torch.randint(6, (50,), generator=random).tolist()
    taken = []

    def watched():
        for item in pictures(order):
            taken.append(item[0])
            yield item

    seen, sizes = [], []
    for batch in fitted_batches(watched(), CONFIG, CPU, 4):
        shape = tuple(batch.images.shape[-2:])
        assert batch.padded_size == shape
        assert batch.padding_mask is None
        assert batch.sizes == [shape] * len(batch.items)
        assert [SIZES[order[n]] for n in batch.items] == batch.sizes
        assert batch.items == sorted(batch.items)
        seen += batch.items
        sizes.append(len(batch.items))
        assert len(taken) - len(seen) < 16
    assert sorted(seen) == list(range(50))
    assert max(sizes) == 4
    assert Counter(sizes)[4] >= 8


def test_without_exact_padding_batches_are_full_and_in_order():
    config = replace(CONFIG, exact_padding=False)
    order = [0, 1, 0, 2, 3, 3, 0, 5]
    batches = list(fitted_batches(pictures(order), config, CPU, 3))
    assert [b.items for b in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert batches[0].images.shape == (3, 3, 96, 120)
    assert batches[0].sizes == [(96, 96), (96, 120), (96, 96)]
    mask = batches[0].padding_mask
    assert (~mask).sum((1, 2)).tolist() == [96 * 96, 96 * 120, 96 * 96]


def test_no_image_makes_no_batch():
    assert list(fitted_batches([], CONFIG, CPU)) == []


def test_the_usual_batch_grows_with_the_device_and_not_with_the_images():
    large = ModelConfig(num_classes=8)
    cuda = torch.device("cuda")
    assert usual_batch_size(CONFIG, CPU) == 32
    assert usual_batch_size(large, CPU) == 1
    assert usual_batch_size(CONFIG, cuda) > 32
    assert usual_batch_size(large, cuda) > 1


# Training.


def step_of(name, batches):
    """Return a step's losses and gradients on some micro-batches.

    Without dropout, which would draw other numbers.
    """
    phase = Phase(name, 9, batch_size=6, lr=0.0, clip=1e9)
    model, trainer = phase_trainer(phase, replace(CONFIG, dropout=0.0))
    losses = trainer.step(0, batches)
    return losses, gradients(model)


def norm(tensors):
    return sum(t.square().sum() for t in tensors).sqrt()


@pytest.mark.parametrize("name", ["boxes", "masks", "joint"])
def test_a_step_of_several_sizes_is_that_of_its_images_alone(scenes, name):
    """To rounding; without exact padding it is another."""
    split, phase = TwoSizes(scenes), Phase(name, 9, 6, 1e-3)
    with doubles():
        exact, padded = (
            BatchOrder(split, phase, 3, exact_padding=flag).batches(
                0, Share(), LIMITS
            )
            for flag in (True, False)
        )
        alone = [collate([s]) for batch in padded for s in batch.samples]
        assert [len(exact), len(padded), len(alone)] == [2, 1, 6]
        wanted, its = step_of(name, alone)
        for batches, same in ((exact, True), (padded, False)):
            losses, found = step_of(name, batches)
            assert found.keys() == its.keys()
            error = norm(found[k] - g for k, g in its.items())
            error = (error / norm(its.values())).item()
            if not same:
                assert error > 1e-3
                continue
            assert error < 1e-12
            for key, value in wanted.items():
                assert losses[key].item() == pytest.approx(
                    value.item(), rel=1e-12
                )


def only(targets, chosen):
    """Return the targets without the segments that are not chosen."""
    image = targets.image[chosen]
    counts = image.bincount(minlength=len(targets.counts)).tolist()
    return Targets(
        targets.labels[chosen],
        targets.boxes[chosen],
        image,
        targets.segment_ids[chosen],
        targets.id_maps,
        tuple(counts),
    )


@pytest.mark.parametrize("name", ["boxes", "masks", "joint"])
def test_more_segments_than_queries_train_those_that_have_one(scenes, name):
    """As if the others were not annotated; one decoder layer, one choice."""
    config = replace(CONFIG, dropout=0.0, num_queries=3, decoder_layers=1)
    phase = Phase(name, 9, batch_size=4, lr=0.0)
    model, trainer = phase_trainer(phase, config)
    batch = collate([scenes[i] for i in range(4)])
    targets, step = batch.targets, trainer.bare
    assert max(targets.counts) > 3
    made = []
    model.mask_head.register_forward_hook(
        lambda module, given, masks: made.append(len(masks))
    )
    totals = count_totals([batch], 3, 0.1, Accelerator())
    detection = model.detr(batch.images)
    queries = match_layers(step.matcher, detection, batch)[-1]
    chosen = matched(queries, targets, 3)
    assert len(chosen) == sum(min(n, 3) for n in targets.counts)
    fewer = replace(batch, targets=only(targets, chosen))
    losses, wanted = step(batch, totals), step(fewer, totals)
    for key in losses.keys() - {"cardinality_error"}:
        torch.testing.assert_close(losses[key], wanted[key])
    assert set(made) == (set() if name == "boxes" else {len(chosen)})
