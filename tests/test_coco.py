"""COCO panoptic data sets: written, read back, and refused where broken."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import TWO_CLASSES

from detr_lite.coco import (
    CocoPanoptic,
    ids_to_rgb,
    rgb_to_ids,
    write_split,
)
from detr_lite.errors import DataError
from detr_lite.samples import Part, Sample, make_target


@given(st.lists(st.integers(0, 2**24 - 1), min_size=6, max_size=6))
def test_ids_survive_the_way_through_a_png_color(ids):
    id_map = torch.tensor(ids, dtype=torch.int32).view(2, 3)
    assert torch.equal(rgb_to_ids(ids_to_rgb(id_map)), id_map)


def test_red_is_the_lowest_byte_of_an_id():
    colors = np.array([[[3, 2, 1], [255, 0, 0], [0, 0, 255]]], np.uint8)
    ids = [3 + 2 * 256 + 256**2, 255, 255 * 256**2]
    assert rgb_to_ids(colors).tolist() == [ids]
    assert ids_to_rgb(torch.tensor([ids])).tolist() == colors.tolist()


@pytest.fixture
def folder(scenes, tmp_path):
    """Two scenes as a data set on disk."""
    path = tmp_path / "beach"
    path.mkdir()
    write_split(Part(scenes, [0, 1]), path)
    return path


def edited(folder, change):
    """Change the JSON in place."""
    path = folder / "panoptic.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def refused(folder, *words, read=False):
    """Open, or open and read, a data set that must be refused."""
    action = list if read else len
    with pytest.raises(DataError) as caught:
        action(CocoPanoptic.from_folder(folder))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_a_split_that_was_written_reads_the_same(scenes, folder):
    data = CocoPanoptic.from_folder(folder)
    assert data.categories == scenes.categories
    assert len(data) == 2
    for i in range(2):
        for name in Sample.__dataclass_fields__:
            mine, other = getattr(data[i], name), getattr(scenes[i], name)
            if isinstance(other, torch.Tensor):
                assert torch.equal(mine, other)
                assert mine.dtype == other.dtype
            else:
                assert mine == other


def test_the_json_says_each_segments_area_and_box(folder):
    content = json.loads((folder / "panoptic.json").read_text())
    for annotation in content["annotations"]:
        png = Image.open(folder / "panoptic" / annotation["file_name"])
        ids = np.asarray(png).astype(int) @ [1, 256, 256**2]
        for segment in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == segment["id"])
            assert segment["area"] == len(rows)
            x, y, w, h = segment["bbox"]
            assert (x, x + w) == (columns.min(), columns.max() + 1)
            assert (y, y + h) == (rows.min(), rows.max() + 1)


def test_pictures_come_by_ascending_id(folder):
    edited(folder, lambda c: c["images"].reverse())
    data = CocoPanoptic.from_folder(folder)
    assert [s.image_id for s in data] == [1, 2]


def test_category_ids_need_not_be_labels(tmp_path):
    """A list of classes with the ids 3 and 70 has the labels 0 and 1."""
    one = Sample(
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.ones(8, 8, dtype=torch.int32),
        torch.tensor([1]),
        torch.tensor([1]),
        torch.tensor([False]),
        5,
        "one",
    )

    class Split(list):
        categories = TWO_CLASSES

    write_split(Split([one]), tmp_path)
    text = json.loads((tmp_path / "panoptic.json").read_text())
    segment = text["annotations"][0]["segments_info"][0]
    assert segment["category_id"] == 70
    assert CocoPanoptic.from_folder(tmp_path)[0].labels.tolist() == [1]


def test_crowds_are_marked(folder):
    def mark(content):
        content["annotations"][0]["segments_info"][1]["iscrowd"] = 1

    sample = CocoPanoptic.from_folder(edited(folder, mark))[0]
    assert sample.crowd.tolist().index(True) == 1
    assert len(make_target(sample).labels) == len(sample.labels) - 1


def test_a_picture_without_segments_is_fine(folder):
    name = "000000.png"
    Image.new("RGB", (96, 96)).save(folder / "panoptic" / name)
    edited(folder, lambda c: c["annotations"][0].update(segments_info=[]))
    sample = CocoPanoptic.from_folder(folder)[0]
    assert sample.labels.tolist() == []
    assert make_target(sample).boxes.shape == (0, 4)


def test_void_is_no_segment(folder):
    path = folder / "panoptic" / "000000.png"
    rgb = np.array(Image.open(path))
    rgb[40:50, 40:50] = 0
    Image.fromarray(rgb).save(path)
    sample = CocoPanoptic.from_folder(folder)[0]
    assert (sample.id_map[40:50, 40:50] == 0).all()
    assert 0 not in sample.segment_ids


def test_a_missing_folder_is_refused_with_a_way_out(tmp_path):
    refused(tmp_path / "gone", "gone", "detr-lite scenes")


def test_a_folder_without_json_is_refused(tmp_path):
    refused(tmp_path, "panoptic.json")


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "\x00"])
def test_broken_json_is_refused(folder, text):
    (folder / "panoptic.json").write_text(text)
    refused(folder, "panoptic.json", "not valid JSON")


def test_json_in_another_encoding_is_refused(folder):
    (folder / "panoptic.json").write_bytes(b'{"name": "\xff\xfe"}')
    refused(folder, "panoptic.json")


@pytest.mark.parametrize(
    "content",
    [[], 3, {}, {"images": [], "annotations": []}, {"images": {}}],
)
def test_json_that_is_not_coco_is_refused(folder, content):
    (folder / "panoptic.json").write_text(json.dumps(content))
    refused(folder, "panoptic.json", "not COCO's panoptic format")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"][0].pop("file_name"), ["image", "file_name"]),
        (lambda c: c["images"].append(3), ["image", '"id"']),
        (
            lambda c: c["annotations"][0].pop("segments_info"),
            ["annotation", "segments_info"],
        ),
        (
            lambda c: c["annotations"][0]["segments_info"][0].pop(
                "category_id"
            ),
            ["segment", "category_id"],
        ),
        (lambda c: c["categories"][0].pop("isthing"), ["isthing"]),
        (lambda c: c["categories"].append(3), ["category"]),
        (
            lambda c: c["annotations"][0].update(segments_info=3),
            ["annotation", "segments_info"],
        ),
        (lambda c: c["images"][0].update(file_name=3), ["file_name"]),
        (lambda c: c["images"][0].update(id=[1]), ["image", '"id"']),
        (
            lambda c: c["annotations"][0].update(segments_info=[3]),
            ["segment None of image 000000.png"],
        ),
        (lambda c: c["categories"][0].update(color=3), ["category"]),
    ],
)
def test_missing_entries_are_refused_by_their_name(folder, change, words):
    refused(edited(folder, change), "panoptic.json", *words)


def test_a_split_without_pictures_is_refused(folder):
    edited(folder, lambda c: c.update(images=[], annotations=[]))
    refused(folder, "panoptic.json", "no image")


def test_a_picture_without_annotation_is_refused(folder):
    edited(folder, lambda c: c["annotations"].pop())
    refused(folder, "no annotation for image 2", "000001.png")


def test_an_annotation_without_picture_is_refused(folder):
    edited(folder, lambda c: c["images"].pop())
    refused(folder, "annotates image 2")


def test_a_picture_annotated_twice_is_refused(folder):
    edited(folder, lambda c: c["annotations"].append(c["annotations"][0]))
    refused(folder, "annotates image 1", "twice")


def test_a_picture_listed_twice_is_refused(folder):
    edited(folder, lambda c: c["images"].append(c["images"][0]))
    refused(folder, "image 1")


@pytest.mark.parametrize("part", ["images", "panoptic"])
def test_a_missing_file_is_refused_by_its_name(folder, part):
    (folder / part / "000001.png").unlink()
    refused(folder, f"{part}/000001.png is missing")


@pytest.mark.parametrize("part", ["images", "panoptic"])
def test_a_file_that_is_cut_off_is_refused_by_its_name(folder, part):
    path = folder / part / "000001.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(folder, f"{part}/000001.png", read=True)


def first_segment(content):
    return content["annotations"][0]["segments_info"][0]


@pytest.mark.parametrize("number", [0, -1, 2**24, 1.5, "1", None])
def test_ids_that_no_png_color_holds_are_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(id=number))
    refused(folder, f"segment {number} of image 000000.png")


def test_an_id_used_twice_in_a_picture_is_refused(folder):
    edited(folder, lambda c: first_segment(c).update(id=2))
    refused(folder, "segment 2 of image 000000.png", "twice")


@pytest.mark.parametrize("number", [0, 9])
def test_an_unknown_category_is_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(category_id=number))
    refused(folder, "segment 1 of image 000000.png", str(number))


@pytest.mark.parametrize("number", ["sky", [1], None])
def test_a_category_that_is_no_number_is_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(category_id=number))
    refused(folder, "panoptic.json: segment 1", "category_id")


def test_two_categories_with_one_id_are_refused(folder):
    edited(folder, lambda c: c["categories"][0].update(id=2))
    refused(folder, "panoptic.json", "share one id")


def test_a_segment_that_is_not_drawn_is_refused_by_its_number(folder):
    def add(content):
        segments = content["annotations"][0]["segments_info"]
        segments.append({"id": 77, "category_id": 1})

    refused(
        edited(folder, add), "000000.png", "no pixel of segment 77", read=True
    )


def test_a_drawn_segment_that_is_not_listed_is_refused(folder):
    edited(folder, lambda c: c["annotations"][0]["segments_info"].pop(0))
    refused(folder, "000000.png", "shows segment 1", read=True)


@pytest.mark.parametrize(
    "box", [[90, 0, 10, 10], [0, 90, 10, 10], [-1, 0, 5, 5], [0, 0, -5, 5]]
)
def test_a_box_that_leaves_the_picture_is_refused(folder, box):
    edited(folder, lambda c: first_segment(c).update(bbox=box))
    refused(folder, "segment 1 of image 000000.png", str(box), "96 x 96")


@pytest.mark.parametrize("box", [[1, 2, 3], "box", None, [0, 0, 1, "x"]])
def test_a_box_that_is_no_box_is_refused(folder, box):
    edited(folder, lambda c: first_segment(c).update(bbox=box))
    refused(folder, "segment 1 of image 000000.png")


def test_a_png_of_another_size_is_refused(folder):
    path = folder / "panoptic" / "000001.png"
    Image.open(path).resize((48, 96), Image.Resampling.NEAREST).save(path)
    refused(folder, "000001.png", "48 x 96", "96 x 96", read=True)


def test_pictures_may_be_jpegs_with_pngs_of_another_name(folder):
    source = folder / "images" / "000000.png"
    Image.open(source).save(folder / "images" / "photo.jpg", quality=95)
    source.unlink()
    edited(folder, lambda c: c["images"][0].update(file_name="photo.jpg"))
    sample = CocoPanoptic.from_folder(folder)[0]
    assert sample.name == "photo"
    assert sample.image.shape == (3, 96, 96)
