"""A step in other precisions, in parts, and of images without segments."""

from dataclasses import replace

import pytest
import torch
from support import CONFIG, TINY, Kill, gradients, phase_trainer, same_weights

from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError
from detr_lite.inference.model import build_model
from detr_lite.matching import HungarianMatcher
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.recipes import Engine, Phase
from detr_lite.training.train import train

LIMITS = (96, 160)
WHOLE = Share()


def taken(name, split, engine=None, dropout=0.1, lr=1e-3, **changes):
    """Return a model, a trainer of it, and the batches of a step."""
    phase = Phase(name, 30, 4, lr, warmup=1, clip=10.0)
    config = replace(CONFIG, dropout=dropout)
    model, trainer = phase_trainer(phase, config, engine, **changes)
    order = BatchOrder(split, phase, seed=0)
    return model, trainer, order.batches(0, WHOLE, LIMITS)


class Seen:
    """Keeps the types of what the matcher is given, and autocast's state."""

    def __init__(self, step):
        self.matcher, self.types = step.matcher, set()
        step.matcher = self

    def __call__(self, logits, boxes, targets):
        self.types |= {logits.dtype, boxes.dtype}
        self.types.add(torch.is_autocast_enabled("cpu"))
        return self.matcher(logits, boxes, targets)


class Heard:
    """Keeps the types of the floats that a loss is given."""

    def __init__(self, loss, types):
        self.loss, self.types = loss, types

    def __call__(self, *given):
        floats = [x for x in given if isinstance(x, torch.Tensor)]
        self.types |= {x.dtype for x in floats if x.is_floating_point()}
        return self.loss(*given)


@pytest.mark.parametrize("name", ["boxes", "masks", "joint"])
def test_the_model_runs_in_bf16_and_all_else_in_float32(scenes, name):
    model, trainer, batches = taken(name, scenes, Engine("bf16"))
    seen, made = Seen(trainer.bare), []
    for loss in ("box_loss", "mask_loss"):
        if getattr(trainer.bare, loss, None) is not None:
            heard = Heard(getattr(trainer.bare, loss), seen.types)
            setattr(trainer.bare, loss, heard)
    for part in (model.detr.class_embed, model.mask_head):
        part.register_forward_hook(lambda *args: made.append(args[-1].dtype))
    losses = trainer.step(0, batches)
    assert set(made) == {torch.bfloat16}
    assert len(made) == (1 if name == "boxes" else 2)
    assert seen.types == {torch.float32, False}
    for key, value in losses.items():
        assert value.dtype == torch.float32, key
        assert value.isfinite()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {g.dtype for g in gradients(model).values()} == {torch.float32}


def test_bf16_is_near_float32(scenes):
    values = []
    for engine in (None, Engine("bf16")):
        _, trainer, batches = taken("boxes", scenes, engine, dropout=0.0)
        values.append(trainer.step(0, batches)["loss"].item())
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_bf16_learns_a_batch(scenes):
    _, trainer, batches = taken("boxes", scenes, Engine("bf16"), lr=2e-3)
    losses = [trainer.step(1, batches)["loss"].item() for _ in range(12)]
    assert losses[-1] < losses[0]


def test_bf16_leaves_the_backbones_phase_in_float32_losses(scenes):
    _, trainer, batches = taken("backbone", scenes, Engine("bf16"))
    losses = trainer.step(0, batches)
    assert {v.dtype for v in losses.values()} == {torch.float32}


@pytest.mark.parametrize("name", ["masks", "joint"])
def test_a_mask_head_computed_twice_has_the_same_gradients(scenes, name):
    found = []
    for twice in (False, True):
        engine = Engine(checkpoint_masks=twice)
        model, trainer, batches = taken(name, scenes, engine)
        calls = []
        model.mask_head.lay5.register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        trainer.step(0, batches)
        found.append((len(calls), gradients(model)))
        trainer.finish()
    (once, wanted), (again, mine) = found
    assert again == 2 * once
    assert mine.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(mine[key], value), key


class Nothing(Part):
    """Scenes in which nothing is annotated."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return replace(
            sample,
            id_map=torch.zeros_like(sample.id_map),
            segment_ids=sample.segment_ids[:0],
            labels=sample.labels[:0],
            crowd=sample.crowd[:0],
        )


@pytest.mark.parametrize("name", ["boxes", "masks", "joint"])
def test_a_step_of_pictures_without_segments(scenes, name):
    """Every trained parameter has a gradient, as several processes need."""
    model, trainer, batches = taken(name, Nothing(scenes, range(8)))
    losses = trainer.step(0, batches)
    assert all(value.isfinite() for value in losses.values())
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    if name == "boxes":
        trained = {n for n in trained if n.startswith("detr.")}
    assert gradients(model).keys() == trained


def test_the_answers_are_told_with_the_losses(scenes):
    """By hand: which query answers right, and how many find something."""
    model, trainer, batches = taken("boxes", scenes, dropout=0.0)
    (batch,) = batches
    with torch.no_grad():
        output = model.detr(batch.images, batch.padding_mask)
    targets = batch.targets
    (queries,) = HungarianMatcher()(
        output.layer_logits[-1:], output.layer_boxes[-1:], targets
    )
    found = output.class_logits.argmax(-1).tolist()
    right = sum(
        found[i][q] == label
        for i, q, label in zip(
            targets.image.tolist(),
            queries.tolist(),
            targets.labels.tolist(),
            strict=True,
        )
    )
    counts = [sum(label != 8 for label in row) for row in found]
    true = targets.counts
    wrong = sum(abs(a - b) for a, b in zip(counts, true, strict=True))
    losses = trainer.step(0, batches)
    assert losses["class_accuracy"] == pytest.approx(right / sum(true))
    assert losses["cardinality_error"] == pytest.approx(wrong / 4)
    assert wrong > 0


def test_the_stem_may_stay_as_it_is(scenes):
    model, trainer, batches = taken("boxes", scenes, freeze_stem=True)
    trainer.step(0, batches)
    body = "detr.backbone.0.body."
    names = {n for n in gradients(model) if n.startswith(body)}
    stem = {f"{body}{part}." for part in ("conv1", "bn1", "layer1")}
    assert names
    assert not any(n.startswith(tuple(stem)) for n in names)
    assert any(n.startswith(f"{body}layer2.") for n in names)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"precision": "fp8"}, "fp8"),
        ({"accumulate": 0}, "accumulate"),
        ({"workers": -1}, "workers"),
    ],
)
def test_engines_that_cannot_be_are_refused(wrong, word):
    with pytest.raises(ConfigError, match=word):
        Engine(**wrong)


@pytest.mark.parametrize(
    ("engine", "word"),
    [(Engine("fp16"), "needs a GPU"), (Engine(accumulate=5), "accumulate")],
)
def test_engines_that_cannot_run_here_are_refused(
    scenes, tmp_path, engine, word
):
    with pytest.raises(ConfigError, match=word):
        train(TINY, scenes, scenes, tmp_path, engine=engine)
    assert list(tmp_path.iterdir()) == []


ENGINE = Engine("bf16", accumulate=2, checkpoint_masks=True)


def test_a_killed_run_with_all_options_ends_at_the_same_weights(tmp_path):
    """Also with another number of workers, which changes no bit."""
    phases = tuple(
        Phase(name, 2, 4, 1e-3, warmup=2) for name in ("boxes", "masks")
    )
    recipe = replace(TINY, phases=phases)
    torch.manual_seed(0)
    detector = build_model(CONFIG, SCENE_CATEGORIES).detr

    def run(folder, engine=ENGINE, **options):
        split = SceneSplit(7, 4)
        folder = tmp_path / folder
        return train(
            recipe, split, split, folder, log_every=1, evaluations=1,
            checkpoint_seconds=0, detector=detector, engine=engine, **options
        ).model  # fmt: skip

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", watch=Kill("masks", 2))
    with pytest.raises(ConfigError, match="precision was bf16, and is float"):
        run("killed", replace(ENGINE, precision="float32"), resume=True)
    workers = replace(ENGINE, workers=1)
    assert same_weights(run("killed", workers, resume=True), whole)
