"""Checking a data set: all problems at once, and what it consists of."""

import numpy as np
import pytest
from PIL import Image
from support import edited, painted, with_segment

from detr_lite.cli.main import main
from detr_lite.data.coco.check import check_folder
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.errors import DataError


def test_a_sound_data_set_has_figures_and_no_problem(data, scenes):
    report = check_folder(data)
    assert report.problems == []
    assert report.images == 4
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


def test_every_problem_is_listed_by_file_and_segment(data):
    def spoil(content):
        first, second = content["annotations"][:2]
        first["segments_info"][0]["id"] = 0
        first["segments_info"][1]["category_id"] = 99
        second["segments_info"].append({"id": 77, "category_id": 1})

    edited(data, spoil)
    painted(data, 3, 3, (9, 9, 0), "000002.png")
    (data / "images" / "000003.png").write_bytes(b"no image")
    problems = check_folder(data).problems
    wanted = [
        "segment 0 of image 000000.png",
        "99",
        "no pixel of segment 77",
        f"000002.png shows segment {9 + 9 * 256}",
        "000003.png is not an image",
    ]
    assert len(problems) == len(wanted)
    for problem, words in zip(problems, wanted, strict=True):
        assert words in problem
        assert "\n" not in problem


def test_the_data_set_raises_the_first_of_the_problems(data):
    (data / "images" / "000002.png").unlink()
    (data / "images" / "000003.png").unlink()
    problems = check_folder(data).problems
    assert len(problems) == 2
    with pytest.raises(DataError) as caught:
        CocoPanoptic.from_folder(data)
    assert str(caught.value) == problems[0]


def test_what_training_suffers_from_is_a_warning(data):
    painted(data, 5, slice(0, 40), (200, 0, 0))
    report = check_folder(with_segment(data, 200, iscrowd=1))
    assert report.problems == []
    assert report.crowds == 1
    text = "\n".join(report.warnings)
    assert "000000: the box of segment 200 is 1 pixel thin" in text
    assert "The class starfish has" in text


def in_all_segments(content, change):
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            change(segment)


def test_a_class_of_crowds_alone_cannot_be_learned(data):
    def crowd(segment):
        segment["iscrowd"] = int(segment["category_id"] == 5)

    before = check_folder(data)
    edited(data, lambda c: in_all_segments(c, crowd))
    report = check_folder(data)
    assert (before.classes["sky"], report.classes["sky"]) == (4, 0)
    assert report.crowds == 4
    assert report.problems == []
    text = "\n".join(report.warnings)
    assert "The class sky has 0 segments to learn from" in text
    assert report.lines()[0].split(":")[0] == before.lines()[0].split(":")[0]


def test_crowds_alone_are_a_problem(data):
    edited(data, lambda c: in_all_segments(c, lambda s: s.update(iscrowd=1)))
    assert "no segment to learn from" in check_folder(data).problems[0]


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({"bbox": [0, 0, 96, 40]}, False),
        ({"bbox": [0, 0, 97, 41]}, False),  # with both edge pixels
        ({"bbox": [0, 0, 96, 42]}, True),
        ({"bbox": None, "area": None}, False),
        ({"bbox": "box"}, True),
        ({"bbox": [1, 2]}, True),
        ({"area": 3839}, False),
        ({"area": 1}, True),
        ({"area": "many"}, True),
        ({"area": 10**400}, True),
    ],
)
def test_untrue_boxes_and_areas_are_one_warning(data, change, warned):
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[:40, :, 0] = 200
    Image.fromarray(rgb).save(data / "panoptic" / "000000.png")
    segment = {"id": 200, "category_id": 1, "bbox": [0, 0, 96, 40]}
    segment |= {"area": 96 * 40} | change
    edited(
        data,
        lambda c: c["annotations"][0].update(segments_info=[segment]),
    )
    report = check_folder(data)
    assert report.problems == []
    assert len(report.untrue) == warned
    text = "\n".join(report.warnings)
    assert ("another bbox or area" in text) == warned
    assert ("segment 200 of 000000" in text) == warned


def turned(data, tag, size=(96, 96)):
    path = data / "images" / "000000.png"
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.open(path).resize(size).save(path, exif=exif)


@pytest.mark.parametrize("tag", range(1, 10))
def test_a_turned_picture_is_a_warning(data, tag):
    turned(data, tag)
    text = "\n".join(check_folder(data).warnings)
    assert (f"orientation tag is {tag}" in text) == (2 <= tag <= 8)
    assert "orientation" not in "\n".join(
        check_folder(data, upright=False).warnings
    )


def test_sizes_that_a_turn_has_swapped_name_it(data):
    turned(data, 6, (96, 48))
    path = data / "panoptic" / "000000.png"
    Image.open(path).resize((96, 48), Image.Resampling.NEAREST).save(path)
    edited(data, lambda c: c["images"][0].update(width=96, height=48))
    problems = check_folder(data).problems
    assert len([p for p in problems if "--as-stored reads it" in p]) == 2
    problems = check_folder(data, upright=False).problems
    assert not [p for p in problems if "96 x 48" in p]
    split = CocoPanoptic.from_folder(data, upright=False)
    assert split.sizes[0] == (48, 96)
    assert split.fingerprint != CocoPanoptic.from_folder(data).fingerprint


def test_a_problem_hides_no_other_of_its_picture(data):
    def spoil(content):
        segments = content["annotations"][0]["segments_info"]
        segments[0]["category_id"] = "many"
        segments[1]["category_id"] = 4711
        segments[2]["id"] = {}

    edited(data, spoil)
    text = "\n".join(check_folder(data).problems)
    for words in ("'many'", "4711", "'{}'"):
        assert words in text


def test_void_is_counted(data):
    painted(data, slice(0, 3), slice(0, 5), 0)
    assert check_folder(data).void == 15


def test_a_class_without_segments_is_listed(data):
    def add(content):
        content["categories"].append({"id": 99, "name": "x", "isthing": 1})

    edited(data, add)
    report = check_folder(data)
    assert report.classes["x"] == 0
    assert "The class x has 0 segments" in "\n".join(report.warnings)


def test_a_box_of_two_pixels_is_no_warning(data):
    painted(data, slice(5, 7), slice(0, 40), (200, 0, 0))
    text = "\n".join(check_folder(with_segment(data, 200)).warnings)
    assert "segment 200" not in text


@pytest.mark.parametrize("count", [9, 10])
def test_a_class_of_ten_segments_is_no_warning(data, count):
    def add(content):
        content["categories"].append({"id": 99, "name": "x", "isthing": 1})
        content["annotations"][0]["segments_info"] += [
            {"id": 200 + i, "category_id": 99} for i in range(count)
        ]

    for i in range(count):
        painted(data, slice(i, i + 1), slice(0, 40), (200 + i, 0, 0))
    edited(data, add)
    text = "\n".join(check_folder(data).warnings)
    assert ("The class x has" in text) == (count == 9)


def test_more_segments_than_queries_are_a_warning(data):
    def add(content):
        content["annotations"][0]["segments_info"] = [
            {"id": n, "category_id": 1} for n in range(1, 102)
        ]

    edited(data, add)
    rgb = np.zeros((96, 96, 3), np.uint8)
    rgb[..., 0] = np.minimum(1 + np.arange(96 * 96) // 90, 101).reshape(96, 96)
    Image.fromarray(rgb).save(data / "panoptic" / "000000.png")
    warnings = check_folder(data).warnings
    assert any("101 segments, more than" in w for w in warnings)


def test_a_folder_that_is_none_is_one_problem(tmp_path):
    assert len(check_folder(tmp_path / "gone").problems) == 1


def test_the_command_counts_and_fails(data, capsys):
    assert main(["check", str(data)]) == 0
    out = capsys.readouterr().out
    assert "4 images" in out
    assert "problems 0, " in out
    (data / "panoptic" / "000001.png").unlink()
    assert main(["check", str(data)]) == 1
    out = capsys.readouterr().out
    assert out.count("problem: ") == 1
    assert "000001.png is missing" in out
    assert "3 images" in out
    assert "problems 1, " in out
