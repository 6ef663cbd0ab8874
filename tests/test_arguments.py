"""What the command line makes of its words, before any command begins."""

import json
import re
import sys

import pytest
from PIL import Image
from support import on_disk

from detr_lite.cli import main as entry
from detr_lite.cli.main import main
from detr_lite.data.subsets import Part


@pytest.fixture
def data(scenes, tmp_path, monkeypatch):
    """Two scenes on disk, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return on_disk(Part(scenes, [0, 1]), tmp_path / "beach")


@pytest.fixture
def model(model_file):
    return ["--model", str(model_file)]


@pytest.mark.parametrize(
    "words",
    [
        "evaluate --data=",
        "evaluate --json=",
        "evaluate --save=",
        "train --out a --data=",
        "train --out a --recipe=",
        "train --out a --from=",
        "convert --images a --classes b --out c --semantic=",
    ],
)
@pytest.mark.parametrize(
    ("value", "said"), [("", "is empty"), ("~nobody-of-that-name", "a home")]
)
def test_a_value_that_is_none_is_refused(capsys, words, value, said):
    """Such as a shell makes of a variable that is not set."""
    with pytest.raises(SystemExit):
        main(f"{words}{value}".split())
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    option = words.split()[-1].rstrip("=")
    assert f"argument {option}" in line
    assert said in line


def test_an_empty_picture_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "", "--out", "found"])
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "evaluate --split val2017",
        "evaluate --as-stored",
        "train --out a --as-stored",
        "train --out a --recipe recipe.json --split val2017",
        "train --out a --recipe recipe.json --validation nowhere",
        "train --out a --recipe recipe.json --validation-split foo",
        "train --out a --recipe recipe.json --as-stored",
    ],
)
def test_what_would_not_count_is_refused(capsys, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    option = re.findall(r"--[avs]\S+", words)[-1]
    assert option in line
    assert "--data" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_failure(monkeypatch, data, name):
    monkeypatch.setattr(sys, name, None)
    assert main(["check", str(data)]) == 0
    getattr(sys, name).close()


def test_ctrl_c_at_the_very_beginning_is_no_traceback(capsys, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_parser", stop)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "detr-lite: stopped.\n"


def test_the_figures_may_lie_in_the_folder_of_the_results(data, model):
    words = ["evaluate", *model, "--data", str(data), "--count", "1"]
    for _ in range(2):
        assert main([*words, "--save", "ev", "--json", "ev/m.json"]) == 0
    assert json.loads((data.parent / "ev/m.json").read_text())
    assert (data.parent / "ev/panoptic.json").exists()


def overlays(folder):
    return sorted(p.name for p in (folder / "found/overlay").iterdir())


def test_a_link_of_another_name_is_a_picture_of_its_own(data, model):
    place = data.parent
    Image.new("RGB", (96, 96)).save(place / "a.png")
    (place / "b.png").symlink_to(place / "a.png")
    words = ["predict", "a.png", "./a.png", "b.png", *model]
    assert main([*words, "--out", "found"]) == 0
    assert overlays(place) == ["a.png", "b.png"]


def test_what_would_have_one_name_is_said_by_its_names(data, model, capsys):
    place = data.parent
    Image.new("RGB", (96, 96)).save(place / "a.png")
    (place / "b.png").symlink_to(place / "a.png")
    (place / "s").mkdir()
    Image.new("RGB", (96, 96), "red").save(place / "s/b.png")
    words = ["predict", "a.png", "b.png", "s/b.png", *model]
    assert main([*words, "--out", "found"]) == 1
    said = "b.png and s/b.png would both be written as b.png"
    assert f"detr-lite: {said}" in capsys.readouterr().err
