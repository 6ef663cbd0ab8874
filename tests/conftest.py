"""What all tests share: seeds, one thread, a cache of their own, and models.

`tiny` things are small enough for dozens of forward passes a second.
"""

import gc
from collections import Counter
from dataclasses import replace

import hypothesis
import pytest
import torch
from support import CONFIG, on_disk, randomized, shorten

from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.inference.model import build_model
from detr_lite.weights.writing import save_model

# The same examples on every run, and no limit on the time of one; `make
# stress` looks for new ones, and for many more.
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, max_examples=60
)
hypothesis.settings.register_profile(
    "stress",
    deadline=None,
    derandomize=False,
    max_examples=3000,
    print_blob=True,
)
hypothesis.settings.load_profile("suite")

# Files whose tests take longest.  Several processes share the suite, a file
# at a time: with these first, none is left alone with one of them at the end.
SLOW = [
    "06_train_and_evaluate.ipynb",
    "test_colab.py",
    "test_site.py",
    "test_widgets.py",
]


def pytest_collection_modifyitems(items):
    """Put the slow files first; the order within a file stays."""
    items.sort(
        key=lambda item: (
            SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW)
        )
    )


def pytest_collection_finish():
    """Spare what was collected: training collects garbage in each phase."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Let the interpreter end as usual."""
    gc.unfreeze()


_counts: Counter = Counter()


@pytest.fixture
def tally(request):
    """Count what a test tries; the end of `make stress` says the sums."""
    counts: Counter = Counter()
    yield counts
    request.node.user_properties.append(("tally", dict(counts)))


def pytest_runtest_logreport(report):
    """Add up what tests have counted, in whichever process."""
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == "tally":
                _counts.update(value)


def pytest_terminal_summary(terminalreporter):
    """Say the sums."""
    for name, count in sorted(_counts.items()):
        terminalreporter.write_line(f"{count:,} {name}")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Keep drawn scenes in a folder of this run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("DETR_LITE_CACHE", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """What is made once for several tests is made with one thread, too."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_numbers_in_every_order():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def tiny_model():
    """A small panoptic model in eval mode; every parameter is random."""
    return randomized(build_model(CONFIG, SCENE_CATEGORIES)).eval()


@pytest.fixture
def sure_model(tiny_model):
    """The same, of which all queries that found something get a mask."""
    tiny_model.threshold = 0.0
    tiny_model.config = replace(CONFIG, threshold=0.0)
    return tiny_model


@pytest.fixture
def model_file(sure_model, tmp_path):
    """Its weights in a file; they segment every image, if not well."""
    path = tmp_path / "tiny.safetensors"
    save_model(sure_model, path)
    return path


@pytest.fixture
def tiny_preset(monkeypatch):
    """`train --preset quick` is a matter of a second."""
    shorten(monkeypatch)


@pytest.fixture
def heard(monkeypatch):
    """What `detr-lite train` asks `train` for, which is then stopped."""
    calls = {}

    def fake(recipe, training, validation, out, **options):
        calls.update(
            options, recipe=recipe, training=training, validation=validation
        )
        raise KeyboardInterrupt

    monkeypatch.setattr("detr_lite.training.train.train", fake)
    return calls


@pytest.fixture(scope="session")
def scenes(_cache):
    """Eight scenes."""
    return SceneSplit(7, 8)


@pytest.fixture
def data(scenes, tmp_path):
    """Four scenes as a data set on disk, the folder `beach`."""
    return on_disk(Part(scenes, range(4)), tmp_path / "beach")
