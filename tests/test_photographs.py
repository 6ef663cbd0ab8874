"""What chapter 7 looks at: photographs, or scenes where they can't be had."""

import io
import time
from dataclasses import replace

import pytest
import torch
from fetching import serve
from PIL import Image

from detr_lite.teaching import photographs
from detr_lite.teaching.photographs import answer_soon, photographs_or_scenes
from detr_lite.weights.catalog import SOURCES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where photographs are kept: nowhere yet."""
    monkeypatch.delenv("DETR_LITE_OFFLINE", raising=False)
    monkeypatch.setenv("DETR_LITE_CACHE", str(tmp_path))
    return tmp_path / "photographs"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of two photographs and weights."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, "jpeg")
    files = {f"/{n}.jpg": buffer.getvalue() for n in (1, 2)}
    files["/weights.pth"] = b"weights" * 100
    with serve(files) as server:
        addresses = tuple(f"{server.url}/{n}.jpg" for n in (1, 2))
        monkeypatch.setattr(photographs, "PHOTOGRAPHS", addresses)
        source = SOURCES[photographs.WEIGHTS]
        here = replace(source, url=f"{server.url}/weights.pth")
        monkeypatch.setattr(
            type(source), "path", property(lambda s: tmp_path / s.file)
        )
        monkeypatch.setitem(SOURCES, photographs.WEIGHTS, here)
        yield server


@pytest.fixture
def loaded(monkeypatch):
    """The names that load_model was asked for; it gives them back."""
    names = []
    monkeypatch.setattr(
        photographs, "load_model", lambda n: names.append(n) or n
    )
    return names


def test_photographs_are_fetched_once(server, folder, loaded):
    views = photographs_or_scenes()
    assert views.real
    assert views.model == "detr_resnet50_panoptic"
    assert [tuple(i.shape) for i in views.images] == [(3, 48, 64)] * 2
    assert views.about == "2 photographs of COCO and detr_resnet50_panoptic."
    server.files.clear()  # nothing is asked for again
    assert photographs_or_scenes().real
    assert sorted(p.name for p in folder.iterdir()) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("gone", ["/2.jpg", "/weights.pth"])
def test_scenes_where_something_is_missing(server, folder, loaded, gone):
    del server.files[gone]
    views = photographs_or_scenes()
    assert not views.real
    assert loaded == ["scenes"]
    assert [tuple(i.shape) for i in views.images] == [(3, 96, 96)] * 3
    assert views.about == (
        "3 scenes and their weights (no network was found, or a slow one)."
    )
    assert not folder.exists()


def test_scenes_where_a_download_fails_later(server, folder, loaded):
    del server.files["/1.jpg"]  # the one that nobody asks for first
    views = photographs_or_scenes()
    assert not views.real
    assert "404" in views.about
    assert views.about.endswith(").")


def test_scenes_where_the_environment_says_so(
    server, folder, loaded, monkeypatch
):
    monkeypatch.setenv("DETR_LITE_OFFLINE", "1")
    views = photographs_or_scenes()
    assert not views.real
    assert "DETR_LITE_OFFLINE" in views.about
    assert not folder.exists()


def test_the_scenes_are_those_of_the_other_chapters(monkeypatch):
    monkeypatch.setenv("DETR_LITE_OFFLINE", "1")
    from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit

    first = photographs_or_scenes().images[0]
    assert torch.equal(first, SceneSplit(VALIDATION_SEED, 64)[20].image)


def test_a_silent_server_is_not_waited_for(server, monkeypatch):
    server.files["/silent"] = lambda handler: time.sleep(1)
    monkeypatch.setattr(photographs, "PATIENCE", 0.3)
    assert not answer_soon([f"{server.url}/silent", f"{server.url}/1.jpg"])


def test_addresses_that_answer_and_that_do_not(server):
    first, second, third = (f"{server.url}/{n}.jpg" for n in (1, 2, 3))
    assert answer_soon([first, second])
    assert answer_soon([])
    assert not answer_soon([first, third])
    assert not answer_soon(["no address"])
