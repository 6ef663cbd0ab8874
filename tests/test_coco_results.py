"""Results as COCO takes them: read back, they give the same PQ."""

import json

import numpy as np
import pytest
import torch
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
        ids = np.asarray(png).astype(int) @ [1, 256, 256**2]
        pictures[annotation["image_id"]] = ids, annotation["segments_info"]
    return [c["id"] for c in content["categories"]], pictures


def pq_by_definition(truth, found):
    """Mean PQ over the classes that occur, as pq_compute defines it."""
    categories, true_pictures = truth
    _, found_pictures = found
    assert true_pictures.keys() == found_pictures.keys()
    table = {c: [0.0, 0, 0, 0] for c in categories}  # IoU, TP, FP, FN
    for number, (true_ids, true) in true_pictures.items():
        ids, mine = found_pictures[number]
        assert set(np.unique(ids)) - {0} == {s["id"] for s in mine}
        hits = set(), set()
        for t in true:
            for m in mine:
                there, here = true_ids == t["id"], ids == m["id"]
                union = (there | here & (true_ids != 0)).sum()
                iou = (there & here).sum() / union
                if t["category_id"] == m["category_id"] and iou > 0.5:
                    table[t["category_id"]][0] += iou
                    table[t["category_id"]][1] += 1
                    hits[0].add(t["id"])
                    hits[1].add(m["id"])
        for t in true:
            table[t["category_id"]][3] += t["id"] not in hits[0]
        for m in mine:
            void = ((ids == m["id"]) & (true_ids == 0)).sum()
            if m["id"] not in hits[1] and void <= 0.5 * m["area"]:
                table[m["category_id"]][2] += 1
    rows = [r for r in table.values() if sum(r[1:])]
    return np.mean([iou / (tp + (fp + fn) / 2) for iou, tp, fp, fn in rows])


def test_what_is_saved_gives_the_pq_that_is_printed(data, tmp_path, capsys):
    out, figures = tmp_path / "found", tmp_path / "figures.json"
    command = ["evaluate", "--data", data, "--save", out, "--json", figures]
    assert main([str(word) for word in command]) == 0
    assert "The results are in" in capsys.readouterr().out
    wanted = json.loads(figures.read_text())["pq"]
    assert 0.3 < wanted < 1
    assert pq_by_definition(read(data), read(out)) == pytest.approx(
        wanted, abs=1e-9
    )


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
