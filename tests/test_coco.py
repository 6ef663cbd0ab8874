"""COCO panoptic data sets: written, read back, and refused where broken."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import (
    TWO_CLASSES,
    as_coco,
    edited,
    on_disk,
    painted,
    refusal,
    sample,
    with_segment,
)

from detr_lite.data.batch import make_targets
from detr_lite.data.coco.check import check_folder
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.coco.format import ids_to_rgb, rgb_to_ids
from detr_lite.data.coco.writer import write_split
from detr_lite.data.sample import Sample
from detr_lite.data.scenes import BALL, SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.errors import DataError


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
    return on_disk(Part(scenes, [0, 1]), tmp_path / "beach")


def refused(folder, *words, read=False):
    """Open, or open and read, a data set that must be refused."""
    action = list if read else len
    with refusal(*words, error=DataError):
        action(CocoPanoptic.from_folder(folder))


def first_segment(content):
    return content["annotations"][0]["segments_info"][0]


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


@pytest.mark.parametrize("key", ["images", "annotations"])
@pytest.mark.parametrize("whole", [True, False])
def test_no_name_leads_out_of_its_folder(folder, tmp_path, key, whole):
    Image.new("RGB", (96, 96)).save(tmp_path / "secret.png")
    name = str(tmp_path / "secret.png") if whole else "../../secret.png"
    edited(folder, lambda c: c[key][0].update(file_name=name))
    refused(folder, f"panoptic.json lists {name}", "leads out of")
    (problem,) = check_folder(folder).problems
    assert f"panoptic.json lists {name}" in problem


def test_a_folder_in_that_of_the_pictures_may_be_named(folder):
    (folder / "images" / "more").mkdir()
    path = folder / "images" / "000000.png"
    path.rename(folder / "images" / "more" / path.name)
    edited(
        folder, lambda c: c["images"][0].update(file_name="more/000000.png")
    )
    assert len(list(CocoPanoptic.from_folder(folder))) == 2


def test_pictures_come_by_ascending_id(folder):
    edited(folder, lambda c: c["images"].reverse())
    data = CocoPanoptic.from_folder(folder)
    assert [s.image_id for s in data] == [1, 2]


def test_category_ids_need_not_be_labels(tmp_path):
    """A list of classes with the ids 3 and 70 has the labels 0 and 1."""

    class Split(list):
        categories = TWO_CLASSES

    write_split(Split([sample(torch.ones(8, 8), [1], [1])]), tmp_path)
    text = json.loads((tmp_path / "panoptic.json").read_text())
    assert first_segment(text)["category_id"] == 70
    assert CocoPanoptic.from_folder(tmp_path)[0].labels.tolist() == [1]


def test_crowds_are_marked(folder):
    def mark(content):
        content["annotations"][0]["segments_info"][1]["iscrowd"] = 1

    sample = CocoPanoptic.from_folder(edited(folder, mark))[0]
    assert sample.crowd.tolist().index(True) == 1
    assert len(make_targets([sample]).labels) == len(sample.labels) - 1


def test_a_picture_without_segments_is_fine(folder):
    name = "000000.png"
    Image.new("RGB", (96, 96)).save(folder / "panoptic" / name)
    edited(folder, lambda c: c["annotations"][0].update(segments_info=[]))
    sample = CocoPanoptic.from_folder(folder)[0]
    assert sample.labels.tolist() == []
    assert make_targets([sample]).boxes.shape == (0, 4)


def test_void_is_no_segment(folder):
    painted(folder, slice(40, 50), slice(40, 50), 0)
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
        (lambda c: c["images"].append(3), ["image None", "object"]),
        (
            lambda c: c["annotations"][0].pop("segments_info"),
            ["annotation", "segments_info"],
        ),
        (
            lambda c: first_segment(c).pop("category_id"),
            ["segment", "category_id"],
        ),
        (lambda c: c["categories"][0].pop("isthing"), ["isthing"]),
        (lambda c: c["categories"].append(3), ["categories", "object"]),
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
        (lambda c: c["categories"][0].update(color=3), ['"0.color"']),
    ],
)
def test_missing_entries_are_refused_by_their_name(folder, change, words):
    refused(edited(folder, change), "panoptic.json", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(images=[], annotations=[]), ["no image"]),
        (
            lambda c: c["annotations"].pop(),
            ["no annotation for image 2", "000001.png"],
        ),
        (lambda c: c["images"].pop(), ["annotates image 2"]),
        (
            lambda c: c["annotations"].append(c["annotations"][0]),
            ["annotates image 1", "twice"],
        ),
        (
            lambda c: c["images"].append(c["images"][0]),
            ["lists image 1 twice"],
        ),
        (  # ids of images are compared as text
            lambda c: c["images"].append(c["images"][0] | {"id": "1"}),
            ["lists image 1 twice"],
        ),
        (
            lambda c: first_segment(c).update(id=2),
            ["segment 2 of image 000000.png", "twice"],
        ),
        (lambda c: c["categories"][0].update(id=2), ["share one id"]),
        (lambda c: c.update(categories=[]), ["list of categories"]),
    ],
)
def test_lists_that_do_not_fit_are_refused(folder, change, words):
    refused(edited(folder, change), "panoptic.json", *words)


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


@pytest.mark.parametrize("number", [0, -1, 2**24, 1.5, "x", None, [], 1e30])
def test_ids_that_no_png_color_holds_are_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(id=number))
    refused(folder, f"segment {number} of image 000000.png")


@pytest.mark.parametrize("number", [0, 9])
def test_an_unknown_category_is_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(category_id=number))
    refused(folder, "segment 1 of image 000000.png", str(number))


@pytest.mark.parametrize("number", ["sky", [1], None])
def test_a_category_that_is_no_number_is_refused(folder, number):
    edited(folder, lambda c: first_segment(c).update(category_id=number))
    refused(folder, "panoptic.json: segment 1", "category_id")


def test_a_segment_that_is_not_drawn_is_refused_by_its_number(folder):
    with_segment(folder, 77)
    refused(folder, "000000.png", "no pixel of segment 77", read=True)


def test_a_drawn_segment_that_is_not_listed_is_refused(folder):
    edited(folder, lambda c: c["annotations"][0]["segments_info"].pop(0))
    refused(folder, "000000.png", "shows segment 1", read=True)


@pytest.mark.parametrize(
    "box", [[90, 0, 10, 10], [-1, 0, 5, 5], "box", None, [1], [0, 0, 1, "x"]]
)
def test_a_box_that_nobody_reads_refuses_nothing(folder, box):
    edited(folder, lambda c: first_segment(c).update(bbox=box))
    assert len(CocoPanoptic.from_folder(folder)) == 2


def as_text(*keys):
    def change(content):
        for item in [
            *content["images"],
            *content["annotations"],
            *content["annotations"][0]["segments_info"],
        ]:
            for key in keys:
                if key in item:
                    item[key] = str(item[key])

    return change


@pytest.mark.parametrize(
    "keys",
    [("id", "image_id"), ("id",), ("image_id",), ("category_id",), ("width",)],
)
def test_numbers_may_be_texts_of_digits(folder, scenes, keys):
    data = CocoPanoptic.from_folder(edited(folder, as_text(*keys)))
    for i in range(2):
        assert torch.equal(data[i].labels, scenes[i].labels)
        assert torch.equal(data[i].segment_ids, scenes[i].segment_ids)
    wanted = ["1", "2"] if "id" in keys else [1, 2]
    assert [s.image_id for s in data] == wanted


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(None, False), (0, False), ("0", False), (True, True), ("1", True)],
)
def test_a_crowd_is_told_in_many_ways(folder, value, crowd):
    edited(folder, lambda c: first_segment(c).update(iscrowd=value))
    sample = CocoPanoptic.from_folder(folder)[0]
    assert sample.crowd.tolist()[0] == crowd


@pytest.mark.parametrize(
    ("value", "thing"), [("0", False), ("1", True), (0, False), (True, True)]
)
def test_a_text_of_zero_is_no_thing(folder, value, thing):
    edited(folder, lambda c: c["categories"][0].update(isthing=value))
    assert CocoPanoptic.from_folder(folder).categories[0].isthing is thing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, '"1.name"'),
        ({"name": {"en": "sky"}}, '"1.name"'),
        ({"name": ""}, '"1.name"'),
        ({"name": "a\nb"}, '"1.name"'),
        ({"name": "x" * 1001}, '"1.name"'),
        ({"name": "ball"}, "Two categories are called ball"),
        ({"isthing": "perhaps"}, '"1.isthing"'),
        ({"color": "#ff0000"}, '"1.color"'),
        ({"color": [0.1, 0.5, 0.3]}, '"1.color.0"'),
        ({"color": [1, 2]}, '"1.color'),
        ({"color": [1, 2, 256]}, '"1.color.2"'),
        ({"id": None}, '"1.id"'),
        ({"id": -1}, '"1.id"'),
        ({"id": 2**31}, '"1.id"'),
    ],
)
def test_categories_are_refused_by_place_and_key(folder, change, words):
    edited(folder, lambda c: c["categories"][1].update(change))
    refused(folder, "panoptic.json", words)


def test_all_that_is_wrong_with_categories_is_told_at_once(folder):
    def spoil(content):
        content["categories"][0]["color"] = "red"
        content["categories"][4]["name"] = 7

    refused(edited(folder, spoil), '"0.color"', "'red'", '"4.name"', "'7'")


def test_no_color_is_gray(folder):
    edited(folder, lambda c: c["categories"][0].update(color=None))
    edited(folder, lambda c: c["categories"][1].pop("color"))
    data = CocoPanoptic.from_folder(folder)
    assert [c.color for c in data.categories[:2]] == [(128, 128, 128)] * 2


def test_a_byte_order_mark_is_no_fault(folder):
    path = folder / "panoptic.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(CocoPanoptic.from_folder(folder)) == 2


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000]
)
def test_json_too_deep_or_too_long_is_refused(folder, text):
    (folder / "panoptic.json").write_text(text)
    refused(folder, "panoptic.json", "not valid JSON")


@pytest.mark.parametrize("key", ["width", "height"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_sizes_that_are_no_numbers_are_refused(folder, key, value):
    edited(folder, lambda c: c["images"][0].update({key: value}))
    refused(folder, "image 000000.png", f'"{key}"')


@pytest.mark.parametrize("part", ["images", "annotations"])
@pytest.mark.parametrize(
    "name", ["x" * 300 + ".png", "no\0name", "\ud800", ""]
)
def test_names_that_no_file_can_have_are_refused(folder, part, name):
    edited(folder, lambda c: c[part][0].update(file_name=name))
    refused(folder, "panoptic.json")


def test_slices_are_parts(folder, scenes):
    data = CocoPanoptic.from_folder(folder)
    assert [s.image_id for s in data[::-1]] == [2, 1]
    assert data[-1].image_id == 2
    assert data[1:].categories == data.categories


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


@pytest.fixture
def official(folder):
    """The same data laid out as COCO's own archives are."""
    root = folder.parent / "coco"
    as_coco(folder, root, "val2017")
    return root


@pytest.mark.parametrize("split", [None, "val2017"])
def test_cocos_own_layout_is_read(official, scenes, split):
    data = CocoPanoptic.from_folder(official, split)
    assert len(data) == 2
    assert torch.equal(data[1].id_map, scenes[1].id_map)


def test_of_several_splits_one_must_be_named(official):
    other = official / "annotations" / "panoptic_train2017.json"
    other.write_text("{}")
    refused(official, "train2017, val2017")
    assert len(CocoPanoptic.from_folder(official, "val2017")) == 2


def test_a_split_that_is_not_there_is_refused(official):
    with pytest.raises(DataError, match=r"panoptic_val2014\.json.*val2017"):
        CocoPanoptic.from_folder(official, "val2014")


def test_sizes_come_from_the_json_alone(folder):
    edited(folder, lambda c: c["images"][1].update(width=640, height=480))
    data = CocoPanoptic.from_folder(folder)
    assert data.sizes == [(96, 96), (480, 640)]
    assert Part(data, [1]).sizes == [(480, 640)]


def test_sizes_that_the_json_lacks_are_those_of_upright_pictures(folder):
    def forget(content):
        for image in content["images"]:
            del image["width"]

    edited(folder, forget)
    turned = Image.new("RGB", (64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    turned.save(folder / "images" / "000001.png", exif=exif)
    assert CocoPanoptic.from_folder(folder).sizes == [(96, 96), (64, 32)]


@pytest.mark.parametrize("width", [0, -3, 9.5, "wide", [96]])
def test_a_size_that_is_no_size_is_refused(folder, width):
    edited(folder, lambda c: c["images"][0].update(width=width))
    refused(folder, "image 000000.png", '"width"', str(width))


def test_a_picture_of_another_size_than_the_json_says_is_refused(folder):
    edited(folder, lambda c: c["images"][0].update(width=100))
    refused(folder, "images/000000.png", "96 x 96", "100 x 96", read=True)


def test_a_segment_may_have_one_pixel(folder):
    painted(folder, 5, 7, (200, 3, 0))
    with_segment(folder, 200 + 3 * 256)
    sample = CocoPanoptic.from_folder(folder)[0]
    wanted = torch.tensor([7.5, 5.5, 1, 1]) / 96
    torch.testing.assert_close(make_targets([sample]).boxes[-1], wanted)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_gray_png_is_refused_with_the_formula(folder, mode):
    path = folder / "panoptic" / "000000.png"
    Image.new(mode, (96, 96)).save(path)
    refused(folder, "000000.png", f"mode {mode}", "R + 256 G", read=True)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_pngs_with_alpha_or_a_palette_hold_the_same_ids(folder, scenes, mode):
    path = folder / "panoptic" / "000000.png"
    image = Image.open(path)
    if mode == "RGBA":
        image.putalpha(7)
    else:
        image = image.quantize(256)
    image.save(path)
    assert torch.equal(
        CocoPanoptic.from_folder(folder)[0].id_map, scenes[0].id_map
    )


def test_a_subset_is_drawn_by_its_seed_and_in_order(tmp_path):
    write_split(SceneSplit(7, 8), tmp_path)
    data = CocoPanoptic.from_folder(tmp_path)
    chosen = [s.image_id for s in data.subset(count=4, seed=1)]
    assert chosen == sorted(chosen)
    assert chosen == [s.image_id for s in data.subset(count=4, seed=1)]
    others = [[s.image_id for s in data.subset(4, seed)] for seed in (2, 3)]
    assert others != [chosen, chosen]
    assert len(data.subset()) == 8


def test_a_subset_shows_one_of_the_categories(tmp_path):
    scenes = SceneSplit(7, 8)
    write_split(scenes, tmp_path)
    data = CocoPanoptic.from_folder(tmp_path)
    with_balls = [s.image_id for s in scenes if BALL in s.labels]
    assert 0 < len(with_balls) < 8
    for name in ("ball", SCENE_CATEGORIES[BALL].id):
        part = data.subset(categories=[name])
        assert [s.image_id for s in part] == with_balls
    one = data.subset(count=1, categories=["ball"])
    assert one[0].image_id in with_balls
    assert len(data.subset(categories=["ball", "sky"])) >= len(with_balls)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"count": 3}, "2 such images; a subset of 3"),
        ({"count": 0}, "a subset of 0"),
        ({"categories": []}, "0 such images"),
        ({"categories": ["whale"]}, "no class 'whale'; there are ball,"),
    ],
)
def test_a_subset_that_is_not_there_is_refused(folder, wanted, words):
    with pytest.raises(DataError, match=words):
        CocoPanoptic.from_folder(folder).subset(**wanted)


def test_colors_take_no_more_memory_than_they_must():
    id_map = torch.ones(1000, 1000, dtype=torch.int32)
    tracemalloc.start()
    ids_to_rgb(id_map)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * id_map.numel()  # bytes, three of them the colors
