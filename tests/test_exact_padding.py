"""Images of several sizes: what each gets alone, or padded as the original."""

from dataclasses import replace

import pytest
import torch
from support import CONFIG, TINY, randomized
from two_processes import doubles

from detr_lite import evaluate, load_model
from detr_lite.data.batch import collate
from detr_lite.data.resizing import fit_sample
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.inference.batches import fitted_batches
from detr_lite.inference.model import build_model
from detr_lite.teaching.faults import TwoSizes
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import Phase
from detr_lite.training.train import make_accelerator

LIMITS = (96, 160)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixed(scenes):
    return TwoSizes(scenes)


def same(a, b):
    """Return whether two predictions are the same to rounding."""
    ids = (a.id_map == b.id_map).float().mean() > 0.999
    boxes = [torch.tensor([s.box for s in x.segments]) for x in (a, b)]
    return (
        ids
        and boxes[0].shape == boxes[1].shape
        and torch.allclose(*boxes, atol=1e-5)
    )


def test_each_image_of_many_gets_what_it_gets_alone(mixed):
    model = load_model("scenes", "cpu")
    images = [mixed[i].image for i in range(6)]
    found = model.predict(images, batch_size=4)
    assert [p.id_map.shape for p in found] == [x.shape[1:] for x in images]
    for image, prediction in zip(images, found, strict=True):
        assert same(prediction, model.predict(image))


def test_padded_images_change_each_other(mixed):
    model = load_model("scenes", "cpu", exact_padding=False)
    images = [mixed[i].image for i in range(6)]
    found = model.predict(images, batch_size=4)
    alone = [model.predict(image) for image in images]
    assert not all(map(same, found, alone))


def test_figures_do_not_depend_on_the_batch_but_where_it_is_padded(mixed):
    model = load_model("scenes", "cpu")
    one, four = (evaluate(model, mixed, n).metrics for n in (1, 4))
    assert four == pytest.approx(one, abs=1e-6)
    model = load_model("scenes", "cpu", exact_padding=False)
    padded = evaluate(model, mixed, 4).metrics
    assert padded != pytest.approx(one, abs=1e-4)


def test_batches_hold_images_of_one_size_and_none_is_lost():
    sizes = [(96, 96), (96, 120), (96, 96), (96, 144), (96, 132), (96, 96)]
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    pairs = [*enumerate(images)]
    batches = [*fitted_batches(pairs, CONFIG, CPU, 2)]
    assert sorted(n for b in batches for n in b.items) == [*range(6)]
    for batch in batches:
        assert batch.padding_mask is None
        assert {sizes[n] for n in batch.items} == {batch.padded_size}
    padding = replace(CONFIG, exact_padding=False)
    first, *_ = fitted_batches(pairs, padding, CPU, 2)
    assert first.items == [0, 1]
    assert first.padding_mask.any()


@pytest.mark.parametrize("name", ["boxes", "masks", "joint"])
def test_a_step_of_several_sizes_has_the_gradients_of_its_images(mixed, name):
    """With exact padding: the sum of what each gives alone."""
    with doubles():
        torch.manual_seed(1)
        config = replace(CONFIG, dropout=0.0)
        model = randomized(build_model(config, SCENE_CATEGORIES))
        phase = Phase(name, 9, batch_size=6, lr=0.0, clip=1e9)
        recipe = replace(TINY, phases=(phase,), model=config)
        trainer = PhaseTrainer(
            model, phase, recipe, SCENE_CATEGORIES, make_accelerator("cpu")
        )
        order = BatchOrder(mixed, phase, 5, exact_padding=True)
        batches = order.batches(0, Share(), LIMITS)
        assert len(batches) == 2
        found = gradients(model, trainer, batches)
        order = BatchOrder(mixed, phase, 5)
        alone = order.batches(0, Share(parts=6), LIMITS)
        wanted = gradients(model, trainer, alone)
        padded = order.batches(0, Share(), LIMITS)
        other = gradients(model, trainer, padded)
    assert found.keys() == wanted.keys()
    scale = max(g.abs().max() for g in wanted.values())
    for key, gradient in wanted.items():
        assert (found[key] - gradient).abs().max() <= 1e-12 * scale, key
    far = max((other[k] - g).abs().max() for k, g in wanted.items())
    assert far > 1e-6 * scale


def gradients(model, trainer, batches):
    trainer.step(0, batches)
    return {
        key: value.grad.clone()
        for key, value in model.named_parameters()
        if value.grad is not None
    }


def test_more_segments_than_queries_leave_the_surplus_out(scenes):
    """In every phase, and the matched ones count as they would alone."""
    config = replace(CONFIG, num_queries=2, dropout=0.0)
    model = randomized(build_model(config, SCENE_CATEGORIES))
    samples = [fit_sample(scenes[i], *LIMITS) for i in range(3)]
    batch = collate(samples)
    assert max(batch.targets.counts) > 2
    for name in ("boxes", "masks", "joint"):
        phase = Phase(name, 9, batch_size=3, lr=1e-3)
        recipe = replace(TINY, phases=(phase,), model=config)
        trainer = PhaseTrainer(
            model, phase, recipe, SCENE_CATEGORIES, make_accelerator("cpu")
        )
        losses = trainer.step(0, [batch])
        assert losses["loss"].isfinite()
        trainer.check()
