"""Instances and label images become a panoptic data set."""

import json
import os
import shlex
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coder

from detr_lite.cli.convert import EXAMPLE
from detr_lite.cli.main import main
from detr_lite.data.coco.check import check_folder
from detr_lite.data.coco.convert import convert
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.errors import ConfigError

CLASSES = [
    {"id": 5, "name": "cat", "isthing": 1},
    {"id": 9, "name": "sky", "isthing": 0},
    {"id": 300, "name": "sea", "isthing": 0, "color": [1, 2, 3]},
]
WORDS = ["--instances", "i.json", "--semantic", "labels", "--images",
         "photos", "--classes", "c.json", "--out", "new"]  # fmt: skip


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.fixture
def content(tmp_path, monkeypatch):
    """One image: sky above, sea below, a strip of void, three cats."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 30), "red").save("photos/a.jpg")
    labels = np.full((30, 40), 9, np.uint16)
    labels[15:], labels[:, 35:] = 300, 7
    Image.fromarray(labels).save("labels/a.png")
    (tmp_path / "c.json").write_text(json.dumps(CLASSES))
    crowd = np.zeros((30, 40), np.uint8, order="F")
    crowd[20:22, 2:4] = 1
    runs = coder.encode(crowd)
    runs["counts"] = runs["counts"].decode()
    shapes = [square(4, 4, 4), square(2, 2, 20), runs]
    return {
        "images": [{"id": 3, "file_name": "a.jpg"}],
        "annotations": [
            {
                "id": 70 + n,
                "image_id": 3,
                "category_id": 5,
                "segmentation": shape,
                "iscrowd": int(n == 2),
            }
            for n, shape in enumerate(shapes)
        ],
    }


def converted(content):
    Path("i.json").write_text(json.dumps(content))
    return main(["convert", *WORDS])


def test_smaller_things_lie_on_larger_ones_and_all_on_stuff(content):
    assert converted(content) == 0
    assert check_folder("new").problems == []
    sample = CocoPanoptic.from_folder("new")[0]
    wanted = torch.zeros(30, 40, dtype=torch.int64)
    wanted[:15, :35], wanted[15:, :35] = 1, 2  # sky, sea
    wanted[20:22, 2:4] = 3  # the crowd, below the large cat
    wanted[2:22, 2:22] = 4
    wanted[4:8, 4:8] = 5
    # The crowd is covered wholly, so that it is no segment.
    assert torch.equal(sample.id_map.long(), wanted)
    assert sample.segment_ids.tolist() == [1, 2, 4, 5]
    assert sample.labels.tolist() == [1, 2, 0, 0]
    assert not sample.crowd.any()
    assert sample.image_id == 3
    assert sample.image.shape == (3, 30, 40)


def test_outlines_of_stuff_are_regions_below_all_things(content):
    """They lie on the label image; one of a crowd is no crowd."""
    large, small = content["annotations"][1], content["annotations"][0]
    small |= {"category_id": 9, "segmentation": square(30, 20, 8)}
    large |= {"category_id": 300, "segmentation": square(0, 0, 30)}
    content["annotations"].append(
        large | {"id": 80, "segmentation": square(5, 5, 2), "iscrowd": 1}
    )
    content["annotations"].append(
        large | {"id": 81, "segmentation": square(32, 22, 2)}
    )
    assert converted(content) == 0
    sample = CocoPanoptic.from_folder("new")[0]
    wanted = torch.zeros(30, 40, dtype=torch.int64)
    wanted[:15, 30:35], wanted[15:, 30:35] = 1, 2
    wanted[:, :30] = 2
    wanted[20:28, 30:38] = 1
    wanted[22:24, 32:34] = 2
    wanted[20:22, 2:4] = 3
    assert torch.equal(sample.id_map.long(), wanted)
    assert sample.labels.tolist() == [1, 2, 0]
    assert sample.crowd.tolist() == [False, False, True]


def test_the_rest_is_the_stuff_that_is_named(content):
    Path("i.json").write_text(json.dumps(content))
    paths = "i.json", "labels", "photos", "c.json"
    convert(*paths, "new", rest=300)
    sample = CocoPanoptic.from_folder("new")[0]
    assert (sample.id_map != 0).all()
    assert sample.labels[sample.id_map[0, 39] - 1] == 2  # the sea
    with pytest.raises(ConfigError, match="category id 5, a thing in c"):
        convert(*paths, "other", rest=5)


def test_images_of_another_data_set_are_said_once(content, capsys):
    content["images"] = [
        {"id": n, "file_name": f"x/{n}.jpg"} for n in range(3, 9)
    ]
    refused(content, capsys, "None of the 6 images that i.json", "x/3.jpg")


def test_a_thing_in_the_label_image_is_void(content):
    """Which of several things a pixel belongs to, it does not say."""
    labels = np.array(Image.open("labels/a.png"))
    labels[:3] = 5
    Image.fromarray(labels).save("labels/a.png")
    assert converted(content) == 0
    sample = CocoPanoptic.from_folder("new")[0]
    assert (sample.id_map[0] == 0).all()
    assert sample.labels.tolist() == [1, 2, 0, 0]


def test_a_crowd_that_is_seen_is_marked(content):
    del content["annotations"][1]
    assert converted(content) == 0
    sample = CocoPanoptic.from_folder("new")[0]
    assert sample.crowd.tolist() == [False, False, True, False]


def refused(content, capsys, *words):
    assert converted(content) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error, error
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category_id": 4}, ["annotation 70", "4"]),
        ({"segmentation": [[1, 2]]}, ["outline of annotation 70, of a.jpg"]),
        ({"image_id": 8}, ["i.json", "image 8"]),
        ({"segmentation": 3}, ["i.json", "segmentation"]),
        (
            {"segmentation": {"size": [9, 9], "counts": [81]}},
            ["annotation 70", "9 x 9", "40 x 30"],
        ),
    ],
)
def test_a_wrong_instance_is_refused(content, capsys, change, words):
    content["annotations"][0].update(change)
    refused(content, capsys, *words)


@pytest.mark.parametrize(
    "name",
    ["photos/a.jpg", "up\\a.jpg", r"..\..\media\upload\4\a.jpg"],
)
def test_folders_that_a_labeling_tool_puts_before_names_are_left_out(
    content, name
):
    content["images"][0]["file_name"] = name
    assert converted(content) == 0
    assert [s.name for s in CocoPanoptic.from_folder("new")] == ["a"]


def test_images_of_another_size_than_the_labeled_ones_are_refused(
    content, capsys
):
    content["images"][0] |= {"width": 40, "height": 30}
    assert converted(content) == 0
    content["images"][0] |= {"width": 80, "height": 60}
    Path("new").rename("old")
    assert converted(content) == 1
    said = capsys.readouterr().err
    assert "a.jpg has 40 x 30 pixels" in said
    assert "made on 80 x 60" in said
    assert not Path("new").exists()


def test_a_missing_label_image_is_refused(content, capsys, tmp_path):
    (tmp_path / "labels" / "a.png").unlink()
    refused(content, capsys, "labels/a.png")


@pytest.mark.parametrize(
    ("mode", "size", "words"),
    [("RGB", (40, 30), "mode RGB"), ("L", (30, 40), "30 x 40")],
)
def test_a_wrong_label_image_is_refused(content, capsys, mode, size, words):
    Image.new(mode, size).save("labels/a.png")
    refused(content, capsys, "labels/a.png", words)


def test_all_problems_are_listed_in_one_run(content, capsys, tmp_path):
    for name in ("b", "c"):
        Image.new("RGB", (40, 30)).save(f"photos/{name}.png")
    Image.new("L", (40, 20)).save("labels/c.png")  # and none for b
    content["images"] += [
        {"id": 4, "file_name": "b.png"},
        {"id": 5, "file_name": "c.png"},
        {"id": 6, "file_name": "gone.png"},
    ]
    good, point, stuff = content["annotations"]
    point["segmentation"] = [[1, 1]]
    stuff["category_id"] = 8
    content["annotations"] += [
        good | {"id": 80, "iscrowd": "maybe"},
        good | {"id": 81, "image_id": 7},
        good | {"id": 82, "segmentation": [[0, 0, 1e9, 0, 0, 9]]},
    ]
    assert converted(content) == 1
    lines = capsys.readouterr().err.splitlines()
    for word in ("annotation 71", "annotation 72", "annotation 80",
                 "annotation 81", "annotation 82", "labels/b.png",
                 "labels/c.png", "gone.png"):  # fmt: skip
        assert sum(word in line for line in lines) == 1, word
    assert len(lines) == 8
    assert not (tmp_path / "new").exists()


def test_a_broken_image_entry_is_said_once(content, capsys):
    """Not once more for each of its instances."""
    del content["images"][0]["file_name"]
    refused(content, capsys, "image 0", "file_name")


def gray_png(path, labels, bits):
    """Write a PNG whose pixels have 1, 2 or 4 bits, which Pillow cannot."""
    numbers = ((labels[..., None] >> np.arange(bits)[::-1]) & 1).astype(bool)
    rows = np.packbits(numbers.reshape(len(labels), -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    height, width = labels.shape
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in parts
        )
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_images_of_few_bits_keep_their_numbers(content, tmp_path, bits):
    top = 2**bits - 1
    stuff = [{"id": top, "name": "sky", "isthing": 0}]
    Path("c.json").write_text(json.dumps([CLASSES[0], *stuff]))
    labels = np.zeros((30, 40), int)
    labels[:15] = top
    gray_png(tmp_path / "labels/a.png", labels, bits)
    content["annotations"].clear()
    assert converted(content) == 0
    id_map = CocoPanoptic.from_folder("new")[0].id_map
    assert (id_map[:15] == 1).all()
    assert (id_map[15:] == 0).all()


def test_label_images_without_any_stuff_are_refused(content, capsys):
    Image.new("L", (40, 30), 77).save("labels/a.png")
    refused(content, capsys, "labels", "stuff class", "c.json")


@pytest.mark.parametrize("whole", [True, False])
def test_no_name_leads_out_of_the_pictures(content, capsys, tmp_path, whole):
    """Nor is what lies there copied; the name alone counts."""
    place = tmp_path / "private"
    place.mkdir()
    Image.new("RGB", (40, 30), "blue").save(place / "b.jpg")
    name = str(place / "b.jpg") if whole else "../private/b.jpg"
    content["images"][0]["file_name"] = name
    refused(content, capsys, f"i.json lists {name}", "photos/b.jpg")


def test_a_name_that_is_too_long_is_the_pictures_fault(content, capsys):
    content["images"][0]["file_name"] = "x" * 300 + ".png"
    refused(content, capsys, "i.json lists xxx", "remove its entry")


def test_a_file_is_no_folder_of_pictures(content, capsys, monkeypatch):
    words = [w.replace("photos", "photos/a.jpg") for w in WORDS]
    monkeypatch.setattr(f"{__name__}.WORDS", words)
    refused(content, capsys, "There is no folder photos/a.jpg;")


@pytest.mark.parametrize("name", [b"a\tb.png", b"a\nb.png", b"\xe9.png"])
def test_names_that_no_json_can_hold_are_refused(content, capsys, name):
    for folder in (b"photos", b"labels"):
        with open(os.path.join(folder, name), "wb") as file:
            Image.new("L", (40, 30), 9).save(file, "png")
    assert main(["convert", *WORDS[2:]]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "file_name" in error
    assert not Path("new").exists()


def test_masks_are_not_held_all_at_once(content):
    """400 of 40 x 30 x 100 pixels would take 48 MB."""
    Image.new("RGB", (400, 300)).save("photos/a.jpg")
    (thing,) = content["annotations"][:1]
    content["annotations"] = [
        thing | {"id": n, "segmentation": square(n % 300, n // 2, 8)}
        for n in range(400)
    ]
    words = [*WORDS[:2], *WORDS[4:]]
    Path("i.json").write_text(json.dumps(content))
    tracemalloc.start()
    try:
        assert main(["convert", *words]) == 0
        assert tracemalloc.get_traced_memory()[1] < 24e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["{", "{}", "[3]"])
def test_wrong_classes_are_refused(content, capsys, tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    refused(content, capsys, "c.json")


def test_two_pictures_of_one_stem_are_refused(content, capsys):
    Image.new("RGB", (40, 30)).save("photos/a.png")
    content["images"].append({"id": 4, "file_name": "a.png"})
    refused(content, capsys, "both be written as a.png")


def test_a_folder_with_something_in_it_is_refused(content, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    assert converted(content) == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["mine"]


def test_the_example_in_the_help_runs(content, tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "c.json").rename(tmp_path / "classes.json")
    assert main(shlex.split(EXAMPLE)[1:]) == 0
    assert check_folder("my_data").problems == []
