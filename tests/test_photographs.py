"""Photographs and the original's weights, with a network and without."""

import importlib.util
import time
from dataclasses import replace

import pytest
import torch
from fetching import serve

from detr_lite.teaching import photographs as module
from detr_lite.teaching.photographs import (
    answer_soon,
    original,
    photographs,
)
from detr_lite.weights import catalog
from detr_lite.weights.catalog import SOURCES


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of weights that nobody has fetched yet."""
    monkeypatch.setattr(catalog, "downloads", lambda: tmp_path)
    monkeypatch.delenv("DETR_LITE_OFFLINE", raising=False)
    with serve({"/weights-0123abcd.pth": b"weights" * 100}) as server:
        source = SOURCES[module.WEIGHTS]
        here = replace(source, url=f"{server.url}/weights-0123abcd.pth")
        monkeypatch.setattr(
            type(source), "path", property(lambda s: tmp_path / s.file)
        )
        monkeypatch.setitem(SOURCES, module.WEIGHTS, here)
        yield server


@pytest.fixture
def loaded(monkeypatch):
    """The names that load_model was asked for; it gives them back."""
    names = []
    monkeypatch.setattr(
        module, "load_model", lambda n: names.append(n) or f"model of {n}"
    )
    return names


def test_the_weights_are_loaded_where_there_is_a_network(server, loaded):
    found = original()
    assert found.model == f"model of {module.WEIGHTS}"
    assert module.WEIGHTS in found.about
    assert loaded == [module.WEIGHTS]


def test_weights_that_are_there_need_no_network(server, loaded):
    SOURCES[module.WEIGHTS].path.write_bytes(b"weights")
    server.files.clear()
    assert original().model is not None


def test_no_model_without_a_network(server, loaded):
    server.files.clear()
    found = original()
    assert found.model is None
    assert "network" in found.about
    assert not loaded


def test_no_model_where_the_file_is_another(server):
    """It has another hash than its name says, or cannot be read."""
    found = original()
    assert found.model is None
    assert "weights-0123abcd.pth" in found.about


def test_no_model_where_the_environment_says_so(server, loaded, monkeypatch):
    monkeypatch.setenv("DETR_LITE_OFFLINE", "1")
    found = original()
    assert found.model is None
    assert "DETR_LITE_OFFLINE" in found.about
    assert not loaded


@pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="needs scikit-image"
)
def test_the_photographs_are_in_color_and_large_enough():
    images = photographs()
    assert [*images] == ["chelsea", "coffee", "astronaut"]
    for image in images.values():
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3
        assert min(image.shape[1:]) >= 300
        assert not torch.equal(image[0], image[2])


def test_scenes_where_there_are_no_photographs(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    images = photographs()
    assert len(images) == len(module.PHOTOGRAPHS)
    assert {tuple(i.shape) for i in images.values()} == {(3, 96, 96)}


def test_a_silent_server_is_not_waited_for(server, monkeypatch):
    server.files["/silent"] = lambda handler: time.sleep(1)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    url = server.url
    assert not answer_soon([f"{url}/silent", f"{url}/weights-0123abcd.pth"])


def test_addresses_that_answer_and_that_do_not(server):
    there, gone = (
        f"{server.url}/weights-0123abcd.pth",
        f"{server.url}/gone.pth",
    )
    assert answer_soon([there, there])
    assert answer_soon([])
    assert not answer_soon([there, gone])
    assert not answer_soon(["no address"])
