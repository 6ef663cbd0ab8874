"""Chapter 7's template, run as a reader would: on folders of other data.

The cells are the text's own, from "Your own data" on, behind the imports;
the settings are the reader's, or the demo's.  Of the first half nothing runs.
"""

import ast
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import weave
from PIL import Image
from support import ROOT, logged

from detr_lite.errors import ConfigError, DataError, Problems
from detr_lite.teaching import nuclei
from detr_lite.training import estimate
from detr_lite.training.recipes import Engine

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
    "REGIONS": [],
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
    "polygons of things and of regions": (
        THINGS | {"REGIONS": ["bag"], "IMAGES": "mine", "OUT": "out"},
        {"box", "bag"},
    ),
    "masks alone, a fifth kept aside": (SKY | {"ASIDE": []}, {"sky"}),
    "polygons and masks, nothing new": (
        THINGS | SKY | {"NEW": None},
        {"box", "bag", "sky"},
    ),
}


def words(figure) -> set[str]:
    """Return the names of classes in a figure's legend."""
    assert not any(axis.texts for axis in figure.axes)  # they'd hide objects
    return {t.get_text() for x in figure.legends for t in x.get_texts()}


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
    phases = [line["phase"] for line in logged(Path("out/first"))]
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
    # What training sees, what was found, what is new: with a legend where
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
    phases = [line["phase"] for line in logged(names["RUN"])]
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
    with pytest.raises(ConfigError, match="has other classes; use another"):
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
        ({"REGIONS": ["sky"]}, r"REGIONS has \['sky'\].*\['box', 'bag'\]"),
        ({"REST": "bag"}, "Two classes are called bag.*in REGIONS"),
        ({"MASKS": Path("mine/labels"), "STUFF": ["sky"]}, "number: name"),
        ({"TILE": 64}, "TILE is 64, and first has fewer"),
        (SKY | {"REST": "floor"}, "set REST to None"),
        (SKY | {"STUFF": {1: "sky"}}, r"STUFF has the ids \[1\]"),
        ({"NEW": Path("mine/other")}, "There is no .*/mine/other; correct"),
        ({"IMAGES": Path("my")}, "There is no .*/my; correct the settings"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(reader, changes, words):
    with pytest.raises(ConfigError, match=words):
        reader.run(USUAL | THINGS | changes, until="torch.manual")


@pytest.fixture
def exported(reader):
    """What the tool has exported; `write` writes it again."""
    path = Path("mine/instances.json")
    content = json.loads(path.read_text())
    return content, lambda: path.write_text(json.dumps(content))


def test_an_annotation_without_an_outline_is_refused(reader, exported, capsys):
    """All such are said, and what was converted last stays."""
    content, write = exported
    reader.run(USUAL | THINGS, until="torch.manual")
    for number in (2, 4):
        content["annotations"][number]["segmentation"] = [[3, 4, 5, 6]]
    write()
    with pytest.raises(Problems, match="annotation 2, of images/sec"):
        reader.run(USUAL | THINGS, until="torch.manual")
    assert "annotation 4, of images/third.png" in capsys.readouterr().out
    assert [sample.name for sample in reader.names["data"]]
    # The snippet for rectangles leaves these out.
    snippet('Path("my_images/instances.json")', "my_images", "mine")
    report = reader.run(USUAL | THINGS, until="torch.manual").names["report"]
    assert report.classes.total() == 4


def snippet(word: str, *change: str) -> None:
    """Run the text's snippet with a word in it, after a change."""
    blocks = re.findall("```python\n(.*?)```", TEXT.read_text("utf-8"), re.S)
    (code,) = [block for block in blocks if word in block]
    exec(code.replace(*change), {"json": json, "Path": Path})


def test_regions_are_one_segment_below_things(reader, exported, capsys):
    content, write = exported
    tissue = [0, 10, 60, 10, 60, 48, 0, 48]  # over both things
    other = [0, 0, 9, 0, 9, 5, 0, 5]
    for n, polygon in enumerate((tissue, other)):
        content["annotations"].append(
            {"id": 90 + n, "image_id": 1, "category_id": 2, "iscrowd": n,
             "segmentation": [polygon]}
        )  # fmt: skip
    content["annotations"][3]["iscrowd"] = 1
    content["categories"].append({"id": 2, "name": "tissue"})
    content["categories"].insert(0, {"id": 7, "name": "bag"})  # unused
    write()
    settings = USUAL | THINGS | {"REGIONS": ["tissue"]}
    names = reader.run(settings, until="torch.manual").names
    said = capsys.readouterr().out
    assert "things: box, bag\nstuff: tissue\n" in said
    assert "Left out, for no annotation has it: bag (id 7)" in said
    assert "set aside: second" in said
    sample = names["aside"][0]
    kinds = dict(
        zip(sample.labels.tolist(), sample.segment_ids.tolist(), strict=True)
    )
    assert [*kinds] == [2, 1, 0]  # tissue, the crowd, the box
    assert sample.crowd.tolist() == [False, True, False]
    assert [(sample.id_map == kinds[label]).sum() for label in (0, 1)] == [
        500,
        500,
    ]
    assert sample.id_map[2, 2] == sample.id_map[12, 2] == kinds[2]
    assert sample.id_map[80, 80] == 0


def test_it_is_said_that_there_is_no_stuff(reader, capsys):
    reader.run(USUAL | THINGS, until="torch.manual")
    assert "stuff: none\nWithout stuff, things" in capsys.readouterr().out
    reader.run(USUAL | THINGS | {"REST": "floor"}, until="torch.manual")
    assert "Without stuff" not in capsys.readouterr().out


def test_a_run_is_measured_on_the_images_it_was_begun_with(reader):
    """A model must not be measured on what it has learned from."""
    settings = USUAL | THINGS | {"REST": "floor"}
    reader.run(settings, until="answers =")
    assert json.loads(Path("out/first_aside.json").read_text()) == ["second"]
    words = r"out/first was trained with .* put ASIDE = \['second'\] into"
    other = settings | {"ASIDE": ["first"]}
    with pytest.raises(ConfigError, match=words):
        Reader().run(other, until="answers =")
    shutil.rmtree("out/first")  # begun anew, it may have others
    Reader().run(other, until="answers =")


def test_what_labelme_writes_becomes_one_json(reader, capsys):
    Path("labelme").mkdir()
    for name, (height, width) in SIZES.items():
        points = [[5, 20], [25, 20], [25, 45], [5, 45]]
        shapes = [
            {"label": "box", "points": points, "group_id": 1},
            {"label": "box", "points": points[1:], "group_id": 1},
            {"label": "box", "points": points, "group_id": None},
            {"label": "floor", "points": points},
            {"label": "floor", "points": points[:2]},
        ]
        content = {
            "imagePath": f"..\\images\\{name}",
            "imageHeight": height,
            "imageWidth": width,
            "shapes": [{"shape_type": "polygon"} | shape for shape in shapes],
        }
        path = Path("labelme", name).with_suffix(".json")
        path.write_text(json.dumps(content))
    settings = USUAL | {"INSTANCES": "labelme", "REGIONS": ["floor"]}
    with pytest.raises(DataError, match="INSTANCES is the folder labelme"):
        reader.run(settings, until="torch.manual")
    settings["INSTANCES"] = "labelme/first.json"
    with pytest.raises(DataError, match='no list "images"; this is not'):
        reader.run(settings, until="torch.manual")
    snippet("labelme", "", "")
    made = json.loads(Path("instances.json").read_text())
    assert [len(a["segmentation"]) for a in made["annotations"][:3]] == [
        2,
        1,
        1,
    ]
    settings["INSTANCES"] = "instances.json"
    reader.run(settings, until="torch.manual")
    assert "things: box\nstuff: floor\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), 'no list "categories"'),
        (lambda c: c.update(annotations=[]), "no annotation; annotate"),
        (lambda c: c["categories"][0].pop("name"), "list of categories"),
        (lambda c: c["categories"].pop(), "annotation 1: Category id 1"),
    ],
)
def test_a_json_that_is_not_cocos_is_refused(reader, exported, change, words):
    content, write = exported
    change(content)
    write()
    with pytest.raises(DataError, match=words):
        reader.run(USUAL | THINGS, until="torch.manual")


def test_ids_as_texts_and_a_mark_before_the_json_are_read(reader, exported):
    content, _ = exported
    for entry in content["categories"] + content["annotations"]:
        for key in {"id", "category_id"} & entry.keys():
            entry[key] = str(entry[key])
    text = json.dumps(content)
    Path("mine/instances.json").write_text(text, "utf-8-sig")
    names = reader.run(
        USUAL | THINGS | {"REST": "floor"}, until="torch.manual"
    ).names
    assert [c.id for c in names["data"].categories] == [0, 1, 2]
