"""AP against pycocotools, and what `evaluate` makes of a model."""

import contextlib
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support import CONFIG, TWO_CLASSES
from torch import nn
from torch.nn import functional

from detr_lite.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from detr_lite.data.categories import Categories, Category
from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.detr import DetrOutput
from detr_lite.errors import ConfigError, DataError
from detr_lite.inference import batches
from detr_lite.inference.box_ap import BoxAP
from detr_lite.inference.evaluation import evaluate, to_json
from detr_lite.inference.model import PanopticModel
from detr_lite.panoptic_detr import PanopticOutput
from detr_lite.targets import boxes_from_id_map

SIZE = (50, 100)


def scores(*rows):
    return torch.tensor(rows)


def relative(*corners):
    height, width = SIZE
    scale = torch.tensor([width, height, width, height])
    return xyxy_to_cxcywh(torch.tensor(corners) / scale)


def ap(score_rows, found_boxes, labels, true_boxes, classes=2):
    run = BoxAP(classes)
    run.update(
        SIZE,
        score_rows,
        found_boxes,
        torch.tensor(labels),
        torch.tensor(true_boxes),
        torch.zeros(len(labels), dtype=torch.bool),
    )
    return run.compute()


def test_perfect_boxes_have_an_ap_of_one():
    boxes = [
        [10.0, 5.0, 30.0, 25.0],
        [50.0, 0.0, 100.0, 50.0],
        [0.0, 30.0, 40.0, 50.0],
    ]
    found = scores([0.9, 0.0], [0.1, 0.8], [0.7, 0.0])
    result = ap(found, relative(*boxes), [0, 1, 0], boxes)
    assert result["box_ap"] == pytest.approx(1.0)
    assert result["box_ap50"] == pytest.approx(1.0)
    assert result["per_class"] == pytest.approx([1.0, 1.0])


def test_ap_of_a_box_with_overlap_72_percent_is_a_half():
    """It counts at the thresholds .50, .55, .60, .65, .70 of ten."""
    result = ap(
        scores([0.9]),
        relative([0.0, 0.0, 72.0, 50.0]),
        [0],
        [[0.0, 0.0, 100.0, 50.0]],
        classes=1,
    )
    assert result["box_ap"] == pytest.approx(0.5)
    assert result["box_ap50"] == pytest.approx(1.0)


def test_ap_of_one_box_of_two_is_that_of_the_recalls_up_to_a_half():
    """51 of the 101 recall levels 0, 0.01, ..., 1 are reached."""
    boxes = [[0.0, 0.0, 40.0, 40.0], [50.0, 0.0, 90.0, 40.0]]
    result = ap(scores([0.9]), relative(boxes[0]), [0, 0], boxes, classes=1)
    assert result["box_ap"] == pytest.approx(51 / 101)
    assert result["per_class"] == pytest.approx([51 / 101])


def test_ap_without_any_true_box_is_no_number():
    assert np.isnan(BoxAP(2).compute()["box_ap"])


def test_where_nothing_is_found_ap_is_0_and_a_wrong_label_is_refused():
    one = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([False])
    nothing = torch.zeros(0, 2), torch.zeros(0, 4)
    ap = BoxAP(2)
    ap.update((8, 8), *nothing, torch.tensor([1]), *one)
    result = ap.compute()
    assert result["box_ap"] == 0
    assert np.isnan(result["per_class"][0])
    assert result["per_class"][1] == 0
    for label in (-1, 2):
        with pytest.raises(DataError, match="must be 0 to 1"):
            ap.update((8, 8), *nothing, torch.tensor([label]), *one)


def test_a_path_is_no_split():
    model = PanopticModel(CONFIG, TWO_CLASSES)
    with pytest.raises(ConfigError, match="from_folder"):
        evaluate(model, "data")


def test_a_class_without_true_boxes_has_no_ap():
    box = [[10.0, 5.0, 30.0, 25.0]]
    result = ap(scores([0.9, 0.0]), relative(*box), [0], box)
    assert result["per_class"][0] == pytest.approx(1.0)
    assert math.isnan(result["per_class"][1])
    assert result["box_ap"] == pytest.approx(1.0)


def test_ap_equals_a_run_of_pycocotools_by_hand():
    random = np.random.RandomState(0)
    mine = BoxAP(3)
    truth, found = [], []
    for image in range(1, 7):
        count = random.randint(0, 5)
        corners = 60 * random.rand(count, 4)
        corners[:, 2:] = corners[:, :2] + 5 + 30 * random.rand(count, 2)
        labels = random.randint(3, size=count)
        crowd = random.rand(count) < 0.2
        for box, label, many in zip(corners, labels, crowd, strict=True):
            x0, y0, x1, y1 = (float(v) for v in box.astype(np.float32))
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(many),
                }
            )
        noise = 4 * random.normal(size=(8, 4))
        pool = np.concatenate((corners, [[10, 10, 30, 30]]))
        guesses = pool[random.randint(count + 1, size=8)] + noise
        guesses = torch.from_numpy(guesses).float()
        height, width = 100, 120
        scale = torch.tensor([width, height, width, height])
        boxes = xyxy_to_cxcywh(guesses / scale)
        probabilities = torch.from_numpy(random.rand(8, 3)).float()
        for box, p in zip(
            cxcywh_to_xyxy(boxes) * scale, probabilities, strict=True
        ):
            x0, y0, x1, y1 = box.tolist()
            found.append(
                {
                    "image_id": image,
                    "category_id": int(p.argmax()),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": p.max().item(),
                }
            )
        mine.update(
            (height, width),
            probabilities,
            boxes,
            torch.from_numpy(labels),
            torch.from_numpy(corners).float(),
            torch.from_numpy(crowd),
        )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(1, 7)],
            "annotations": truth,
            "categories": [{"id": i} for i in range(3)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    result = mine.compute()
    assert 0.01 < run.stats[0] < 0.99
    assert result["box_ap"] == pytest.approx(run.stats[0], abs=1e-6)
    assert result["box_ap50"] == pytest.approx(run.stats[1], abs=1e-6)


class Oracle(nn.Module):
    """A model that knows a split by heart, and the sizes that it was given."""

    config = replace(CONFIG, num_queries=9)
    categories = SCENE_CATEGORIES
    threshold = 0.5
    run = PanopticModel.run

    def __init__(self, split):
        super().__init__()
        self.split, self.next, self.sizes = split, 0, []
        self.padded = split[0].id_map.shape
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images, padding_mask, keep=None):
        assert not self.training
        self.padded = images.shape[2:]
        self.sizes.append(tuple(images.shape[2:]))
        rows = [self.answer() for _ in images]
        detection = DetrOutput(
            torch.stack([logits for logits, _, _ in rows])[None],
            torch.stack([boxes for _, boxes, _ in rows])[None],
            *[None] * 5,
        )
        counts = torch.tensor([len(masks) for *_, masks in rows])
        return PanopticOutput(
            detection,
            torch.arange(len(rows)).repeat_interleave(counts),
            torch.cat([torch.arange(n) for n in counts]),
            None,
            torch.cat([masks for *_, masks in rows]),
        )

    def detr(self, images, padding_mask):
        return self(images, padding_mask).detection

    def answer(self):
        """Return class logits, boxes and mask logits of the next image."""
        sample = self.split[self.next]
        self.next += 1
        logits = torch.zeros(9, 9)
        logits[:, 8] = 20
        boxes = torch.full((9, 4), 0.5)
        height, width = sample.id_map.shape
        for i, label in enumerate(sample.labels):
            logits[i, 8], logits[i, label] = 0, 20
        corners = boxes_from_id_map(sample.id_map, sample.segment_ids)
        size = torch.tensor([width, height, width, height])
        boxes[: len(corners)] = xyxy_to_cxcywh(corners / size)
        masks = (sample.id_map == sample.segment_ids[:, None, None]) * 2.0
        height, width = self.padded
        gap = (0, width - masks.shape[2], 0, height - masks.shape[1])
        return logits, boxes, functional.pad(masks, gap)


def test_a_model_that_knows_the_answers_scores_one(scenes):
    result = evaluate(Oracle(scenes), scenes, batch_size=3)
    assert result.images == 8
    assert result.metrics == pytest.approx(dict.fromkeys(result.metrics, 1.0))
    assert {"box_ap", "pq", "pq_things", "pq_stuff"} <= set(result.metrics)
    assert sum(row["tp"] for row in result.per_class.values()) == sum(
        len(sample.labels) for sample in scenes
    )


class TwoSizes(Part):
    """The second of two images is wider than the first, by void."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if index == 0:
            return sample
        return replace(
            sample,
            image=functional.pad(sample.image, (0, 64)),
            id_map=functional.pad(sample.id_map, (0, 64)),
        )


@pytest.mark.parametrize(
    ("exact", "sizes"), [(True, [(96, 96), (96, 160)]), (False, [(96, 160)])]
)
def test_padding_of_the_smaller_picture_costs_nothing(scenes, exact, sizes):
    split = TwoSizes(scenes, [0, 1])
    oracle = Oracle(split)
    oracle.config = replace(oracle.config, exact_padding=exact)
    result = evaluate(oracle, split)
    assert oracle.sizes == sizes
    assert result.metrics == pytest.approx(dict.fromkeys(result.metrics, 1.0))


def test_one_missed_segment_costs_its_class_alone(scenes):
    oracle = Oracle(scenes)
    full = oracle.answer

    def answer():
        logits, boxes, masks = full()
        if oracle.next == 1:  # of the first image, forget the last segment
            last = len(masks) - 1
            logits[last, :8], logits[last, 8] = 0, 20
            masks = masks[:-1]
        return logits, boxes, masks

    oracle.answer = answer
    result = evaluate(oracle, scenes)
    label = scenes[0].labels[-1]
    missed = SCENE_CATEGORIES[label].name
    assert result.per_class[missed]["fn"] == 1
    assert result.per_class[missed]["pq"] < 1
    assert sum(row["fn"] for row in result.per_class.values()) == 1


def test_boxes_alone_give_the_same_ap(scenes):
    both = evaluate(Oracle(scenes), scenes)
    boxes = evaluate(Oracle(scenes), scenes, masks=False)
    assert boxes.metrics["box_ap"] == both.metrics["box_ap"]
    assert "pq" not in boxes.metrics


@pytest.mark.parametrize(
    ("pixels", "together"),
    [(10**9, [8]), (3 * 96 * 160, [3, 3, 2]), (100, [1] * 8)],
)
def test_large_pictures_are_evaluated_few_at_a_time(
    sure_model, scenes, monkeypatch, pixels, together
):
    monkeypatch.setitem(batches.PIXELS, "cpu", pixels)
    seen = []
    sure_model.detr.register_forward_hook(
        lambda module, given, output: seen.append(len(given[0]))
    )
    evaluate(sure_model, scenes, masks=False)
    assert seen == together


def test_the_progress_is_that_of_the_pictures(sure_model, scenes):
    seen = []

    def progress(pictures):
        for number in pictures:
            seen.append(number)
            yield number

    evaluate(sure_model, scenes, 3, masks=False, progress=progress)
    assert seen == [*range(8)]


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_as_it_was(sure_model, scenes, training):
    sure_model.train(training)
    before = {k: v.clone() for k, v in sure_model.state_dict().items()}
    evaluate(sure_model, scenes)
    assert sure_model.training is training
    for name, tensor in sure_model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_figures_as_json_are_valid_json(scenes):
    """Valid also where a class has no true box, and therefore no AP."""
    split = SceneSplit(7, 1)
    content = json.loads(
        to_json(evaluate(Oracle(split), split)),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert content["pq"] == 1.0
    assert content["images"] == 1
    there = {SCENE_CATEGORIES[i].name for i in split[0].labels}
    for name, row in content["per_class"].items():
        assert (row["box_ap"] is not None) == (name in there)


def test_other_categories_than_the_models_are_refused(tiny_model, scenes):
    class Other:
        categories = TWO_CLASSES

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return scenes[index]

    with pytest.raises(DataError, match=r"cat .*tent"):
        evaluate(tiny_model, Other())


MORE_CLASSES = Categories(
    [
        Category(90, "whale", True, (1, 2, 3)),
        *reversed(SCENE_CATEGORIES),
        Category(99, "moon", False, (4, 5, 6)),
    ]
)


class WiderOracle(Oracle):
    """It knows more classes than the data, in another order."""

    categories = MORE_CLASSES
    config = replace(CONFIG, num_queries=9, num_classes=len(MORE_CLASSES))

    def answer(self):
        logits, boxes, masks = super().answer()
        wide = torch.zeros(9, len(MORE_CLASSES) + 1)
        for label, category in enumerate(SCENE_CATEGORIES):
            wide[:, MORE_CLASSES.label(category.id)] = logits[:, label]
        wide[:, -1] = logits[:, -1]
        return wide, boxes, masks


def test_a_model_may_know_more_classes_than_the_data(scenes):
    wide = evaluate(WiderOracle(scenes), scenes)
    assert wide == evaluate(Oracle(scenes), scenes)
    assert list(wide.per_class) == [c.name for c in SCENE_CATEGORIES]


def test_a_class_that_the_data_lack_costs_only_what_it_covers(scenes):
    oracle = WiderOracle(scenes)
    full = oracle.answer

    def answer():
        logits, boxes, masks = full()
        if oracle.next == 1:  # calls the first image's last segment a moon
            last = len(masks) - 1
            logits[last] = 0
            logits[last, MORE_CLASSES.label(99)] = 20
        return logits, boxes, masks

    oracle.answer = answer
    result = evaluate(oracle, scenes)
    missed = SCENE_CATEGORIES[scenes[0].labels[-1]].name
    assert result.per_class[missed]["fn"] == 1
    assert sum(row["fp"] for row in result.per_class.values()) == 0
    assert list(result.per_class) == [c.name for c in SCENE_CATEGORIES]
    mean = np.mean([row["pq"] for row in result.per_class.values()])
    assert result.metrics["pq"] == pytest.approx(mean)


def test_results_are_told_and_merged_as_the_mode_says(sure_model, scenes):
    split, found = Part(scenes, range(3)), {}
    for mode in ("union", "original"):
        heard = []
        evaluate(
            sure_model,
            split,
            mode=mode,
            results=lambda sample, result, heard=heard: heard.append(
                (sample.name, result.id_map)
            ),
        )
        assert [name for name, _ in heard] == [s.name for s in split]
        found[mode] = [id_map for _, id_map in heard]
        wanted = sure_model.predict([s.image for s in split], mode=mode)
        for mine, other in zip(found[mode], wanted, strict=True):
            assert torch.equal(mine, other.id_map)
    assert not all(map(torch.equal, *found.values()))


def test_a_split_that_was_counted_in_parts_is_added_up(scenes):
    """For boxes, images; for PQ, sums."""
    images = [Oracle(Part(scenes, [i])).answer() for i in range(3)]
    whole, first, rest = BoxAP(8), BoxAP(8), BoxAP(8)
    for i, (logits, boxes, _) in enumerate(images):
        sample = scenes[i]
        for run in (whole, rest if i else first):
            run.update(
                (96, 96),
                logits.softmax(-1)[:, :-1],
                boxes + 0.01 * i,
                sample.labels,
                sample.boxes(),
                sample.crowd,
            )
    first.add(rest)
    assert first.segments == whole.segments
    assert repr(first.compute()) == repr(whole.compute())
    assert 0 < first.compute()["box_ap"] < 1
