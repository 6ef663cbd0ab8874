"""How much a step asks of a device, and how often the host waits for it.

A small model on a GPU takes as long as the host needs to say what to do; and
each wait for an answer empties the queue.  No GPU is needed to count both.
"""

from collections import Counter
from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from accelerate import Accelerator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detr_lite import panoptic
from detr_lite.data.scenes import SceneSplit
from detr_lite.inference import evaluation
from detr_lite.inference import model as models
from detr_lite.inference.batches import fitted_batches
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import preset

LIMITS = (96, 160)
# Their result, or its size, is a number that the host has to know.
READS = {
    "__array__",
    "__bool__",
    "__contains__",
    "__float__",
    "__index__",
    "__int__",
    "allclose",
    "argwhere",
    "bincount",
    "equal",
    "item",
    "masked_select",
    "nonzero",
    "numpy",
    "tolist",
    "unique",
    "unique_consecutive",
}
# The kept queries, and the result; a CPU alone asks whether small segments
# are to be removed, which there is cheaper than to remove none.
MASK_WAITS = {"cpu": 1, "to_host": 1, "equal": 1}
OPERATORS = ("_local_scalar_dense", "is_nonzero", *READS)


class Operators(TorchDispatchMode):
    """Counts the operators, and those that a host would wait for."""

    def __init__(self):
        super().__init__()
        self.count, self.waits = 0, Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.count += 1
        name = operator.__name__.split(".")[0]
        if name.lstrip("_").startswith("unique") or name in OPERATORS:
            self.waits[name] += 1
        return operator(*args, **(kwargs or {}))


class OnDevice(torch.Tensor):
    """Stands for a tensor on a GPU; so do all that are computed from it."""


class Device(TorchFunctionMode):
    """Counts what makes the host wait for tensors on a device.

    A tensor moves to the host by cpu() and to("cpu"), and to the device by
    to() with the device of another tensor.

    Attributes:
        waits: the functions that waited.
        early: those that read a copy before it was waited for.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.early, self.coming = Counter(), Counter(), []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.__name__
        leaves = [x for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)]
        if any(x is y for x in leaves for y in self.coming):
            self.early[name] += 1
        there = any(isinstance(x, OnDevice) for x in leaves)
        result = function(*args, **kwargs)
        if name in ("to", "cpu"):
            return self.moved(name, there, result, args, kwargs)
        if there and (name in READS or asks_for_true(name, args)):
            self.waits[name] += 1
        return result

    def moved(self, name, there, result, args, kwargs):
        places = [*args[1:], *kwargs.values()]
        if name == "to" and not any(isinstance(x, str) for x in places):
            if any(isinstance(x, torch.device) for x in places):
                return result.as_subclass(OnDevice)
            return result
        copy = result.as_subclass(torch.Tensor)
        if there and kwargs.get("non_blocking"):
            self.coming.append(copy)
        elif there:
            self.waits[name] += 1
        return copy

    def settle(self, to_host):
        """Return to_host with its wait for all copies that are coming."""

        def counted(*tensors):
            result = to_host(*tensors)
            self.waits["to_host"] += 1
            self.coming.clear()
            return result

        return counted


def asks_for_true(name, args):
    """Return whether an index is a mask: how many are True is asked for."""
    if name not in ("__getitem__", "__setitem__"):
        return False
    index = tree_leaves(args[1])
    return any(torch.is_tensor(x) and x.dtype == torch.bool for x in index)


@pytest.fixture
def device(monkeypatch):
    """Return what counts; the waits of to_host with it."""
    device = Device()
    for module in (panoptic, models, evaluation):
        settled = device.settle(module.to_host)
        monkeypatch.setattr(module, "to_host", settled)
    return device


def on_device(value):
    """Return a batch whose tensors are on the device."""
    if torch.is_tensor(value):
        return value.as_subclass(OnDevice)
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        return replace(
            value, **{n: on_device(getattr(value, n)) for n in names}
        )
    return value


@pytest.fixture(scope="module")
def trained(_cache):
    """Return a phase's trainer, and the batches of a step."""
    recipe, split = preset("quick"), SceneSplit(1, 64)
    found = {}
    for number, phase in enumerate(recipe.phases):
        model = load_model("scenes", "cpu")
        trainer = PhaseTrainer(
            model, phase, recipe, split.categories, Accelerator(cpu=True)
        )
        order = BatchOrder(split, phase, number)
        # The first step makes the optimizer's state.
        trainer.step(0, order.batches(0, Share(), LIMITS))
        found[phase.name] = trainer, order.batches(1, Share(), LIMITS)
    return found


@pytest.mark.parametrize(("name", "most"), [("boxes", 1500), ("masks", 900)])
def test_a_step_has_few_operators_and_none_that_waits(trained, name, most):
    trainer, batches = trained[name]
    with Operators() as operators:
        trainer.step(1, batches)
    assert most / 2 < operators.count <= most
    assert not operators.waits


@pytest.mark.parametrize("name", ["boxes", "masks"])
def test_a_step_waits_for_the_matchers_costs_alone(trained, name, device):
    trainer, batches = trained[name]
    batches = [on_device(batch) for batch in batches]
    with device:
        losses = trainer.step(1, batches)
    assert all(isinstance(x, OnDevice) for x in losses.values())
    assert device.waits == {"cpu": 1}
    assert not device.early


@pytest.fixture(scope="module")
def shipped():
    return load_model("scenes", "cpu")


@pytest.fixture
def batch(shipped, scenes):
    """Return four images as the model takes them."""
    items = (((i, scenes[i].image), scenes[i].image) for i in range(4))
    cpu = torch.device("cpu")
    (batch,) = fitted_batches(items, shipped.config, cpu)
    return batch


def test_inference_waits_for_the_kept_queries_and_for_the_result(
    shipped, batch, device
):
    with device:
        found = shipped.find(on_device(batch))
    assert device.waits == MASK_WAITS
    assert not device.early
    for mine, other in zip(found, shipped.find(batch), strict=True):
        assert torch.equal(mine.id_map, other.id_map)
        assert torch.equal(mine.attention_maps, other.attention_maps)


def test_boxes_alone_are_waited_for_once(scenes, batch, device):
    detector = load_model("scenes", "cpu", masks=False)
    with device:
        detector.find(on_device(batch))
    assert device.waits == {"to_host": 1}
    assert not device.early


@pytest.mark.parametrize(
    ("masks", "waits"),
    [(True, MASK_WAITS), (False, {"to_host": 1})],
)
def test_a_batch_of_an_evaluation_waits_as_inference_does(
    shipped, scenes, device, monkeypatch, masks, waits
):
    def batches(*arguments):
        return map(on_device, fitted_batches(*arguments))

    monkeypatch.setattr(evaluation, "fitted_batches", batches)
    with device:
        evaluate(shipped, scenes, masks=masks)
    assert device.waits == waits
    assert not device.early


def test_what_waits_is_counted(device):
    """Or the tests above would prove nothing."""
    with device:
        x = on_device(torch.tensor([3.0, 4.0]))
        y = (x.clone() * 2)[:1]
        copy = y.to("cpu", non_blocking=True)
        for wait in (
            y.item,
            y.tolist,
            y.cpu,
            y.nonzero,
            lambda: bool(y > 1),
            lambda: float(y),
            lambda: x[x > 3],
            lambda: y.to("cpu").numpy(),
            lambda: torch.ones(1).to(y.device).item(),
            lambda: max(x[0], x[1]),
        ):
            before = device.waits.total()
            wait()
            assert device.waits.total() == before + 1
        assert not device.early
        copy.tolist()
        assert device.early == {"tolist": 1}
        assert torch.zeros(2).tolist() == [0, 0]
        assert device.waits.total() == before + 1
    with Operators() as operators:
        torch.ones(1).item()
        torch.ones(2).nonzero()
    assert operators.waits == {"_local_scalar_dense": 1, "nonzero": 1}
