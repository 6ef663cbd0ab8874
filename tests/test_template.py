"""Chapter 7's template, run as a reader would: on folders of other data.

The cells are the text's own, from "Your own data" on, behind the imports;
the settings are the reader's.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import weave
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "book" / "text" / "07_real_images.md"
SIZES = {"first.png": (60, 80), "second.jpg": (96, 96), "third.png": (50, 70)}


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


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's folder, and what runs the template on it.

    Images of three sizes in a folder of their own, with rectangles in them;
    polygons as a labeling tool exports them: ids from 0, keys and colors of
    its own; label images with sky above.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
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
        image = np.full((height, width, 3), 90, np.uint8)
        content["images"].append(
            {"id": number, "file_name": f"images/{name}",
             "width": width, "height": height}
        )  # fmt: skip
        for n, left in enumerate((5, 40)):
            right, top, bottom = left + 20, 20, 45
            image[top:bottom, left:right] = (200, 60 * n, 30)
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": number,
                 "category_id": n, "area": 500, "bbox": [left, 20, 20, 25],
                 "iscrowd": 0, "segmentation":
                 [[left, top, right, top, right, bottom, left, bottom]]}
            )  # fmt: skip
        Image.fromarray(image).save(tmp_path / "mine" / "images" / name)
        labels = np.zeros((height, width), np.uint8)
        labels[:30] = 7
        stem = Path(name).stem
        Image.fromarray(labels).save(tmp_path / "mine/labels" / f"{stem}.png")
    (tmp_path / "mine" / "instances.json").write_text(json.dumps(content))

    def run(**settings) -> dict:
        names = {"display": lambda figure: None}
        for source in cells():
            if source.startswith("import json"):
                source = source.partition("\ncells = ")[0]
            elif source.startswith("demo ="):
                continue
            elif source.startswith("IMAGES ="):
                asked = re.findall(r"^([A-Z, ]+) =", source, re.MULTILINE)
                known = {x for part in asked for x in part.split(", ")}
                assert known == set(settings)
                names |= settings
                continue
            exec(source, names)
        return names

    return run


USUAL = {
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
    "STEPS": 4,
    "RATE": 1e-3,
    "OUT": Path("out"),
}
THINGS = {"IMAGES": Path("mine"), "INSTANCES": Path("mine/instances.json")}
CASES = {
    "polygons alone, void between": (THINGS, {"box", "bag"}),
    "polygons alone, the rest is stuff": (
        THINGS | {"STUFF": {5: "floor"}, "REST": 5, "TILE": 32},
        {"box", "bag", "floor"},
    ),
    "masks alone, a fifth kept aside": (
        {"MASKS": Path("mine/labels"), "STUFF": {7: "sky"}, "ASIDE": []},
        {"sky"},
    ),
    "polygons and masks": (
        THINGS | {"MASKS": Path("mine/labels"), "STUFF": {7: "sky"}},
        {"box", "bag", "sky"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_readers_folder_becomes_a_fine_tuned_model(reader, capsys, case):
    changes, classes = CASES[case]
    names = reader(**USUAL | changes)
    out = Path("out")
    assert not names["report"].problems
    assert {c.name for c in names["data"].categories} == classes
    after = names["after"]
    assert [*after.categories] == [*names["data"].categories]
    assert after.config.num_queries == 14
    # The run was stopped between the phases, and went on from there.
    lines = (out / "run" / "log.jsonl").read_text().splitlines()
    phases = [json.loads(line)["phase"] for line in lines]
    assert phases == sorted(phases)  # boxes, then masks; nothing twice
    assert {"boxes", "masks"} == {*phases}
    said = capsys.readouterr().out
    assert "Left behind: checkpoint.pt" in said
    assert "The class head is new" in said
    assert (out / "results.zip").exists()
    assert (out / "results" / "model.safetensors").exists()


def test_a_finished_run_is_loaded_and_not_trained_again(reader, capsys):
    names = reader(**USUAL | THINGS)
    file = Path("out/run/model.safetensors")
    before = file.stat().st_mtime_ns
    again = names["fine_tune"](watch=lambda progress: 1 / 0)
    assert file.stat().st_mtime_ns == before
    assert [*again.categories] == [*names["after"].categories]
