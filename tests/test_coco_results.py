"""Results as COCO takes them: read back, they give the same PQ."""

import json

import numpy as np
import pytest
import torch
from panopticapi_pq import averages, count, to_ids
from PIL import Image

from detr_lite.cli.main import main
from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.coco.writer import (
    PanopticWriter,
    SubmissionWriter,
)
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import DataError
from detr_lite.inference.evaluation import evaluate
from detr_lite.panoptic import Panoptic, Segment


def read(folder):
    """Return categories, and for each image its ids and segments."""
    content = json.loads((folder / "panoptic.json").read_text())
    pictures = {}
    for annotation in content["annotations"]:
        png = Image.open(folder / "panoptic" / annotation["file_name"])
        ids = to_ids(np.asarray(png))
        pictures[annotation["image_id"]] = ids, annotation["segments_info"]
    return [c["id"] for c in content["categories"]], pictures


def pq_by_panopticapi(truth, found):
    """Return the PQ of files, from what their PNGs and their JSON say."""
    categories, true_pictures = truth
    _, found_pictures = found
    assert true_pictures.keys() == found_pictures.keys()
    table = np.zeros((max(categories) + 1, 4))
    for number, true in true_pictures.items():
        count(table, *found_pictures[number], *true)
    return averages(table)[0]


def test_what_is_saved_gives_the_pq_that_is_printed(data, tmp_path, capsys):
    out, figures = tmp_path / "found", tmp_path / "figures.json"
    command = ["evaluate", "--data", data, "--save", out, "--json", figures]
    assert main([str(word) for word in command]) == 0
    assert "The results are in" in capsys.readouterr().out
    wanted = json.loads(figures.read_text())["pq"]
    assert 0.3 < wanted < 1
    pq = pq_by_panopticapi(read(data), read(out))
    assert pq == pytest.approx(wanted, abs=1e-9)


def test_areas_and_boxes_are_those_of_the_pngs(data, sure_model, tmp_path):
    split = CocoPanoptic.from_folder(data)
    writer = SubmissionWriter(
        tmp_path, split.categories, sure_model.categories
    )
    evaluate(sure_model, split, results=writer.add)
    writer.close()
    for ids, segments in read(tmp_path)[1].values():
        assert segments
        for segment in segments:
            rows, columns = np.nonzero(ids == segment["id"])
            assert segment["area"] == len(rows)
            x, y, w, h = segment["bbox"]
            assert (x, x + w) == (columns.min(), columns.max() + 1)
            assert (y, y + h) == (rows.min(), rows.max() + 1)


def test_a_class_that_the_data_lack_becomes_void(scenes, tmp_path):
    more = Categories(
        [*SCENE_CATEGORIES, Category(99, "moon", False, (1, 2, 3))]
    )
    writer = SubmissionWriter(tmp_path, SCENE_CATEGORIES, more)
    id_map = torch.ones(96, 96, dtype=torch.int32)
    id_map[:7] = 2
    moon, ball = (
        Segment(1, 8, 1.0, 89 * 96, 0, (0.5,) * 4),
        Segment(2, 0, 1.0, 7 * 96, 1, (0.5,) * 4),
    )
    writer.add(scenes[0], Panoptic(id_map, (moon, ball)))
    writer.close()
    ((ids, segments),) = read(tmp_path)[1].values()
    assert [s["category_id"] for s in segments] == [1]
    assert set(np.unique(ids)) == {0, 2}
    assert id_map.min() == 1  # the result itself stays as it was


def test_two_pictures_of_one_name_are_refused(scenes, tmp_path):
    writer = SubmissionWriter(tmp_path, SCENE_CATEGORIES, SCENE_CATEGORIES)
    empty = Panoptic(torch.zeros(96, 96, dtype=torch.int32), ())
    writer.add(scenes[0], empty)
    with pytest.raises(DataError, match=r"both be written as .*\.png"):
        writer.add(scenes[0], empty)


def test_ids_may_be_numbers_and_texts(tmp_path):
    """As some tools mix them: numbers come first."""
    writer = PanopticWriter(tmp_path, SCENE_CATEGORIES)
    id_map = torch.ones(9, 9, dtype=torch.int32)
    for number, image_id in enumerate(["b", 10, 9, "a"]):
        writer.add(image_id, f"{number}", id_map, {1: 0})
    writer.close()
    content = json.loads((tmp_path / "panoptic.json").read_text())
    wanted = [9, 10, "a", "b"]
    assert [image["id"] for image in content["images"]] == wanted
    assert [a["image_id"] for a in content["annotations"]] == wanted
