"""Checking a data set: all problems at once, and what it consists of."""

import json

import numpy as np
import pytest
from PIL import Image

from detr_lite.cli.main import main
from detr_lite.data.coco.check import check_folder
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.coco.writer import write_split
from detr_lite.data.subsets import Part
from detr_lite.errors import DataError


@pytest.fixture
def folder(scenes, tmp_path):
    """Four scenes as a data set on disk."""
    path = tmp_path / "beach"
    path.mkdir()
    write_split(Part(scenes, range(4)), path)
    return path


def edited(folder, change):
    path = folder / "panoptic.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def painted(folder, rows, columns, color, name="000000.png"):
    path = folder / "panoptic" / name
    rgb = np.array(Image.open(path))
    rgb[rows, columns] = color
    Image.fromarray(rgb).save(path)


def test_a_sound_data_set_has_figures_and_no_problem(folder, scenes):
    report = check_folder(folder)
    assert report.problems == []
    assert report.pictures == 4
    counts = [len(scenes[i].labels) for i in range(4)]
    assert report.classes.total() == sum(counts)
    assert report.most[0] == max(counts)
    assert report.crowds == 0
    void = sum((scenes[i].id_map == 0).sum().item() for i in range(4))
    assert (report.void, report.pixels) == (void, 4 * 96 * 96)
    areas = sorted(
        (scenes[i].id_map == number).sum().item()
        for i in range(4)
        for number in scenes[i].segment_ids
    )
    assert [area for area, *_ in report.smallest] == areas[:5]


def test_every_problem_is_listed_by_file_and_segment(folder):
    def spoil(content):
        first, second = content["annotations"][:2]
        first["segments_info"][0]["id"] = 0
        first["segments_info"][1]["category_id"] = 99
        second["segments_info"].append({"id": 77, "category_id": 1})

    edited(folder, spoil)
    painted(folder, 3, 3, (9, 9, 0), "000002.png")
    (folder / "images" / "000003.png").write_bytes(b"no picture")
    problems = check_folder(folder).problems
    wanted = [
        "segment 0 of image 000000.png",
        "99",
        "no pixel of segment 77",
        f"000002.png shows segment {9 + 9 * 256}",
        "000003.png is not a picture",
    ]
    assert len(problems) == len(wanted)
    for problem, words in zip(problems, wanted, strict=True):
        assert words in problem
        assert "\n" not in problem


def test_the_data_set_raises_the_first_of_the_problems(folder):
    (folder / "images" / "000002.png").unlink()
    (folder / "images" / "000003.png").unlink()
    problems = check_folder(folder).problems
    assert len(problems) == 2
    with pytest.raises(DataError) as caught:
        CocoPanoptic.from_folder(folder)
    assert str(caught.value) == problems[0]


def test_what_training_suffers_from_is_a_warning(folder):
    painted(folder, 5, slice(0, 40), (200, 0, 0))

    def add(content):
        segments = content["annotations"][0]["segments_info"]
        segments.append({"id": 200, "category_id": 1, "iscrowd": 1})

    edited(folder, add)
    report = check_folder(folder)
    assert report.problems == []
    assert report.crowds == 1
    text = "\n".join(report.warnings)
    assert "000000: the box of segment 200 is 1 pixel thin" in text
    assert "The class starfish has" in text


def test_void_is_counted(folder):
    painted(folder, slice(0, 3), slice(0, 5), 0)
    assert check_folder(folder).void == 15


def test_a_class_without_segments_is_listed(folder):
    def add(content):
        content["categories"].append({"id": 99, "name": "x", "isthing": 1})

    edited(folder, add)
    report = check_folder(folder)
    assert report.classes["x"] == 0
    assert "The class x has 0 segments" in "\n".join(report.warnings)


def test_a_box_of_two_pixels_is_no_warning(folder):
    painted(folder, slice(5, 7), slice(0, 40), (200, 0, 0))

    def add(content):
        segments = content["annotations"][0]["segments_info"]
        segments.append({"id": 200, "category_id": 1})

    edited(folder, add)
    text = "\n".join(check_folder(folder).warnings)
    assert "segment 200" not in text


@pytest.mark.parametrize("count", [9, 10])
def test_a_class_of_ten_segments_is_no_warning(folder, count):
    def add(content):
        content["categories"].append({"id": 99, "name": "x", "isthing": 1})
        content["annotations"][0]["segments_info"] += [
            {"id": 200 + i, "category_id": 99} for i in range(count)
        ]

    for i in range(count):
        painted(folder, slice(i, i + 1), slice(0, 40), (200 + i, 0, 0))
    edited(folder, add)
    text = "\n".join(check_folder(folder).warnings)
    assert ("The class x has" in text) == (count == 9)


def test_more_segments_than_queries_are_a_warning(folder):
    def add(content):
        content["annotations"][0]["segments_info"] = [
            {"id": n, "category_id": 1} for n in range(1, 102)
        ]

    edited(folder, add)
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[..., 0] = np.minimum(1 + np.arange(96 * 96) // 90, 101).reshape(96, 96)
    Image.fromarray(rgb).save(folder / "panoptic" / "000000.png")
    warnings = check_folder(folder).warnings
    assert any("101 segments, more than" in w for w in warnings)


def test_a_folder_that_is_none_is_one_problem(tmp_path):
    assert len(check_folder(tmp_path / "gone").problems) == 1


def test_the_command_counts_and_fails(folder, capsys):
    assert main(["check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "4 pictures" in out
    assert ": problems 0, " in out
    (folder / "panoptic" / "000001.png").unlink()
    assert main(["check", str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.count("problem: ") == 1
    assert "000001.png is missing" in out
    assert "3 pictures" in out
    assert ": problems 1, " in out
