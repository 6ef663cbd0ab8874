"""Chapter 7's template, run as a reader would: on folders of other data.

The cells are the text's own, from "Your own data" on, behind the imports;
the settings are the reader's, or the demo's.  Of the first half nothing runs.
"""

import ast
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import weave
from PIL import Image

from detr_lite.teaching import nuclei
from detr_lite.training import estimate
from detr_lite.training.recipes import Engine

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "book" / "text" / "07_real_images.md"
SIZES = {"first.png": (60, 80), "second.jpg": (96, 96), "third.png": (50, 70)}
NEW = (90, 130)  # larger than the tiles


def cells() -> list[str]:
    """Return the code of the imports and of the template, in order."""
    found, ours = [], False
    for cell in weave.compose(TEXT).cells:
        if cell.cell_type == "markdown":
            ours |= "\n## Your own data" in f"\n{cell.source}"
            if "\n## From the paper" in f"\n{cell.source}":
                break
        elif cell.source.startswith("import json") or ours:
            found.append(cell.source)
    return found


def drawn(height: int, width: int) -> np.ndarray:
    """Return an image with two rectangles in it."""
    image = np.full((height, width, 3), 90, np.uint8)
    for n, left in enumerate((5, 40)):
        image[20:45, left : left + 20] = (200, 60 * n, 30)
    return image


class Reader:
    """A reader, who runs the template's cells in a folder.

    Attributes:
        names: what the cells have made.
        figures: what they have drawn.
    """

    def __init__(self):
        self.names = {"display": self.display, "nuclei": nuclei}
        self.figures = []

    def display(self, figure) -> None:
        self.figures.append(figure)

    def run_cell(self, source: str) -> None:
        """Run a cell; what its last line gives is displayed."""
        *lines, last = ast.parse(source).body
        if not isinstance(last, ast.Expr):
            lines, last = [*lines, last], None
        exec(compile(ast.Module(lines, []), "cell", "exec"), self.names)
        if last is not None:
            code = compile(ast.Expression(last.value), "cell", "eval")
            value = eval(code, self.names)
            if value is not None:
                self.display(value)

    def run(self, settings: dict | None, until: str = "") -> "Reader":
        """Run the template on data of one's own, or the demo.

        settings: all of them; None: those of the text, and its demo.
        until: how the cell begins that is not run any more.
        """
        for source in cells():
            if until and source.startswith(until):
                break
            if source.startswith("import json"):
                end = "plots.opening" if settings is None else "cells ="
                source = source.partition(f"\n{end}")[0]
            elif source.startswith("left, right =") and settings is not None:
                continue
            elif source.startswith("NAME ="):
                asked = re.findall(r"^([A-Z, ]+) =", source, re.MULTILINE)
                known = {x for part in asked for x in part.split(", ")}
                if settings is None:
                    short = "STEPS, RATE = 2, 1e-3"
                    source = re.sub("STEPS, RATE = .*", short, source)
                else:
                    assert known == set(settings)
                    self.names |= settings
                    continue
            self.run_cell(source)
        return self


@pytest.fixture(autouse=True)
def _few_images_are_tried(monkeypatch):
    """To say what a training takes."""
    monkeypatch.setattr(estimate, "PIXELS", 1)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader, and the folder of data: run USUAL, with changes.

    Images of three sizes in a folder of their own, with rectangles in them;
    polygons as a labeling tool exports them: ids from 0, keys and colors of
    its own; label images with sky above; a new image.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels", "new"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    content = {
        "info": {},
        "images": [],
        "annotations": [],
        "categories": [
            {"id": 0, "name": "box", "supercategory": "", "color": "#ff0000"},
            {"id": 1, "name": "bag", "supercategory": "none"},
        ],
    }
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        content["images"].append(
            {"id": number, "file_name": f"images/{name}",
             "width": width, "height": height}
        )  # fmt: skip
        for n, left in enumerate((5, 40)):
            right, top, bottom = left + 20, 20, 45
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": number,
                 "category_id": n, "area": 500, "bbox": [left, 20, 20, 25],
                 "iscrowd": 0, "segmentation":
                 [[left, top, right, top, right, bottom, left, bottom]]}
            )  # fmt: skip
        image = Image.fromarray(drawn(height, width))
        image.save(tmp_path / "mine" / "images" / name)
        labels = np.zeros((height, width), np.uint8)
        labels[:30] = 7
        stem = Path(name).stem
        Image.fromarray(labels).save(tmp_path / "mine/labels" / f"{stem}.png")
    Image.fromarray(drawn(*NEW)).save(tmp_path / "mine" / "new" / "large.png")
    (tmp_path / "mine" / "instances.json").write_text(json.dumps(content))
    return Reader()


USUAL = {
    "NAME": "first",
    "IMAGES": Path("mine/images"),
    "INSTANCES": None,
    "MASKS": None,
    "STUFF": {},
    "REST": None,
    "ASIDE": ["second"],
    "TILE": None,
    "START": "scenes",
    "QUERIES": 14,
    "WEIGHT": 0.4,
    "STEPS": 2,
    "RATE": 1e-3,
    "ENGINE": Engine(),
    "NEW": Path("mine/new"),
    "OUT": Path("out"),
}
THINGS = {"IMAGES": Path("mine"), "INSTANCES": Path("mine/instances.json")}
SKY = {"MASKS": Path("mine/labels"), "STUFF": {7: "sky"}}
CASES = {
    "polygons alone, void between": (THINGS, {"box", "bag"}),
    "polygons alone, the rest is stuff": (
        THINGS | {"REST": "floor", "TILE": 32},
        {"box", "bag", "floor"},
    ),
    "masks alone, a fifth kept aside": (SKY | {"ASIDE": []}, {"sky"}),
    "polygons and masks, nothing new": (
        THINGS | SKY | {"NEW": None},
        {"box", "bag", "sky"},
    ),
}


def words(figure) -> set[str]:
    """Return the names of classes that a figure shows, without scores."""
    texts = (t.get_text() for axis in figure.axes for t in axis.texts)
    return {text.split()[0] for text in texts}


@pytest.mark.parametrize("case", CASES)
def test_a_readers_folder_becomes_a_fine_tuned_model(reader, capsys, case):
    changes, classes = CASES[case]
    settings = USUAL | changes
    names = reader.run(settings).names
    assert not names["report"].problems
    assert {c.name for c in names["data"].categories} == classes
    after = names["after"]
    assert [*after.categories] == [*names["data"].categories]
    assert after.config.num_queries == 14
    # Boxes, then masks, and nobody pulls the plug.
    lines = Path("out/first/log.jsonl").read_text().splitlines()
    phases = [json.loads(line)["phase"] for line in lines]
    assert phases == sorted(phases)
    assert {"boxes", "masks"} == {*phases}
    said = capsys.readouterr().out
    assert "Left behind" not in said
    assert "The class head is new" in said
    for word in classes:  # counted, all of them
        assert re.search(rf"\d+ {word}$", said, re.MULTILINE)
    assert re.search(r"^ +\d+ s  boxes  step +\d+  box_ap", said, re.M)
    packed = {n for n in zipfile.ZipFile("out/results.zip").namelist()}
    assert {"model.safetensors", "panoptic.json"} <= packed
    assert ("overlay/large.png" in packed) == bool(settings["NEW"])
    for found in names["found"]:
        assert found.id_map.shape == NEW
    # What training sees, what was found, what is new: with names where
    # there are several classes.
    seen, *_ = reader.figures
    assert len(reader.figures) == (3 if settings["NEW"] else 2)
    assert words(seen) == (classes if len(classes) > 2 else set())


def test_the_demo_runs_alone_is_stopped_and_goes_on(
    tmp_path, monkeypatch, capsys
):
    """As it stands, but for the steps; its data lie in a new folder."""
    monkeypatch.chdir(tmp_path)
    reader = Reader().run(None)
    names = reader.names
    said = capsys.readouterr().out
    assert "my_images/new/strip.png" in said
    assert "Left behind: checkpoint.pt log.jsonl recipe.json" in said
    lines = (names["RUN"] / "log.jsonl").read_text().splitlines()
    phases = [json.loads(line)["phase"] for line in lines]
    assert phases == sorted(phases)  # the phases came once, in order
    assert {"boxes", "masks"} == {*phases}
    assert "before PQ" in said
    assert "after  PQ" in said
    assert "is finished" not in said
    assert [c.name for c in names["data"].categories] == [
        "nucleus",
        "background",
    ]
    assert names["aside"].sizes == [(96, 96)] * 5
    assert names["found"][0].id_map.shape == (128, 512)
    assert not any(words(figure) for figure in reader.figures)


def test_a_finished_run_is_loaded_unless_another_is_meant(reader, capsys):
    names = reader.run(USUAL | THINGS).names
    file = Path("out/first/model.safetensors")
    before = file.stat().st_mtime_ns
    assert "finished" not in capsys.readouterr().out
    again = names["fine_tune"](watch=lambda progress: 1 / 0)
    assert file.stat().st_mtime_ns == before
    assert [*again.categories] == [*names["after"].categories]
    assert "out/first is finished and is loaded" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has other classes; choose another"):
        Reader().run(USUAL | THINGS | {"REST": "floor"})
    Reader().run(USUAL | THINGS | {"NAME": "next"}, until="answers =")
    assert Path("out/next/model.safetensors").exists()
    assert file.stat().st_mtime_ns == before


def test_a_new_session_goes_on_where_the_last_one_stopped(reader):
    settings = USUAL | THINGS | {"REST": "floor", "TILE": 32}

    def lost(progress):
        if progress.phase == "masks":
            raise KeyboardInterrupt

    reader.run(settings, until="where =")
    with pytest.raises(KeyboardInterrupt):
        reader.names["fine_tune"](watch=lost)
    run = Path("out/first")
    assert (run / "checkpoint.pt").exists()
    told = []
    again = Reader().run(settings, until="where =")
    again.names["fine_tune"](watch=lambda p: told.append(p.phase))
    assert {*told} == {"masks"}
    assert (run / "model.safetensors").exists()


def test_the_engine_is_that_of_the_settings(reader):
    engine = Engine(accumulate=2, checkpoint_masks=True)
    asked = []
    reader.run(USUAL | THINGS | {"ENGINE": engine}, until="torch.manual")
    estimate = reader.names["estimate"]
    reader.names["estimate"] = lambda *a: asked.append(a) or estimate(*a)
    for source in cells()[4:-2]:
        reader.run_cell(source)
    assert asked[0][-1] == engine
    recipe = json.loads(Path("out/first/recipe.json").read_text())
    assert recipe["engine"]["accumulate"] == 2
    assert recipe["engine"]["checkpoint_masks"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"ASIDE": ["second", "fourth"]},
            r"ASIDE has \['fourth'\].*\['first'",
        ),
        (
            {"ASIDE": ["first", "second", "third"]},
            "ASIDE has all images; leave some",
        ),
        ({"TILE": 64}, "TILE is 64, and first has fewer"),
        (SKY | {"REST": "floor"}, "set REST to None"),
        (SKY | {"STUFF": {1: "sky"}}, r"STUFF has the ids \[1\]"),
        ({"NEW": Path("mine/other")}, "There is no mine/other; look"),
        ({"IMAGES": Path("my")}, "There is no my; look at the settings"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(reader, changes, words):
    with pytest.raises(ValueError, match=words):
        reader.run(USUAL | THINGS | changes, until="torch.manual")


def test_an_annotation_without_an_outline_is_refused(reader):
    path = Path("mine/instances.json")
    content = json.loads(path.read_text())
    content["annotations"][2]["segmentation"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(Exception, match="annotation 2 cannot be used"):
        reader.run(USUAL | THINGS, until="torch.manual")
