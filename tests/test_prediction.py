"""A prediction: at the image's own size, and it can show itself."""

import io
import json
import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from IPython.core.formatters import PNGFormatter
from PIL import Image

from detr_lite.data.batch import pad_images
from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.categories import original_categories, used
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import ConfigError, ImageError, OutputError
from detr_lite.inference.drawing import overlay
from detr_lite.inference.loading import load_model
from detr_lite.inference.prediction_folder import write_predictions
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment, panoptic_results
from detr_lite.panoptic_detr import all_queries
from detr_lite.weights.writing import save_model

MODES = ("union", "original")


@pytest.fixture
def picture(scenes):
    return scenes[0].image


@pytest.fixture
def prediction(sure_model, picture):
    return sure_model.predict(picture)


@pytest.mark.parametrize("size", [(96, 96), (200, 130), (33, 77), (8, 300)])
def test_the_id_map_has_the_size_of_the_picture(sure_model, size):
    image = np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)
    prediction = sure_model.predict(image)
    assert prediction.id_map.shape == size
    assert prediction.image.shape == (3, *size)
    ids = prediction.id_map.unique().tolist()
    assert ids == [s.id for s in prediction.segments]
    for s in prediction.segments:
        assert s.area == (prediction.id_map == s.id).sum()


@torch.no_grad()
def test_attention_maps_are_those_of_the_segments_queries(
    sure_model, prediction, picture
):
    every = sure_model(*pad_images([picture]), keep=all_queries)
    assert len(prediction.segments) > 0
    queries = [s.query for s in prediction.segments]
    torch.testing.assert_close(
        prediction.attention_maps,
        every.attention_maps[queries],
        rtol=0,
        atol=1e-6,
    )


def test_a_threshold_of_one_finds_nothing(sure_model, picture):
    prediction = sure_model.predict(picture, threshold=1.0)
    assert prediction.segments == ()
    assert (prediction.id_map == 0).all()
    assert prediction.attention_maps.shape[0] == 0
    assert len(prediction) == len(prediction.boxes) == 0
    assert prediction.query_boxes.shape == (0, 4)
    assert prediction.overlay().width > 0


def test_the_mode_is_that_of_the_panoptic_segmentation(picture, sure_model):
    """Masks of one stuff class: merged, or as the original has it."""
    union, original = (
        sure_model.predict(picture, mode=mode) for mode in MODES
    )
    output = sure_model(*pad_images([picture]))
    for found, mode in ((union, MODES[0]), (original, MODES[1])):
        things = [c.isthing for c in SCENE_CATEGORIES]
        size = tuple(picture.shape[1:])
        (wanted,) = panoptic_results(output, things, size, [size], mode=mode)
        assert torch.equal(found.id_map, wanted.id_map)
    assert not torch.equal(union.id_map, original.id_map)


def test_an_error_leaves_the_model_as_it_was(sure_model, picture):
    sure_model.train()
    sure_model.mask_head = None
    with pytest.raises(TypeError):
        sure_model.predict(picture, threshold=0.3)
    assert sure_model.training
    assert sure_model.threshold == 0.0


def test_predicting_has_no_dropout(sure_model, picture):
    sure_model.train()
    first, second = (sure_model.predict(picture) for _ in range(2))
    assert first.segments == second.segments


def test_a_segments_box_is_that_of_its_pixels(prediction):
    for box, s in zip(
        prediction.boxes.tolist(), prediction.segments, strict=True
    ):
        rows, columns = np.nonzero(prediction.id_map.numpy() == s.id)
        assert box == [
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        ]


def test_a_prediction_shows_itself_in_a_notebook(prediction):
    shown = Image.open(io.BytesIO(PNGFormatter()(prediction)))
    assert shown.format == "PNG"
    assert shown.size == prediction.overlay().size


@pytest.fixture
def halves():
    """A gray image: the left half is a tent, the right half the sea."""
    id_map = torch.ones(96, 96, dtype=torch.int32)
    id_map[:, 48:] = 2
    box = (0.5, 0.5, 1.0, 1.0)
    return Prediction(
        torch.full((3, 96, 96), 100, dtype=torch.uint8),
        id_map,
        (Segment(1, 2, 0.9, 4608, 0, box), Segment(2, 5, 0.9, 4608, 1, box)),
        SCENE_CATEGORIES,
        torch.zeros(2, 8, 12, 12),
    )


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_the_overlay_is_the_segments_colors_over_the_picture(halves, opacity):
    drawn = np.asarray(overlay(halves, opacity, smallest=96), float)
    lower = drawn[60:]  # the names stand above
    for part, label in ((lower[:, :40], 2), (lower[:, 50:], 5)):
        color = np.array(SCENE_CATEGORIES[label].color)
        wanted = (1 - opacity) * 100 + opacity * color
        assert np.abs(part - wanted).max() <= 1


def modes(model):
    return [module.training for module in model.modules()]


def test_predicting_leaves_each_module_in_its_mode(sure_model, picture):
    """A frozen detector below a head that trains stays frozen."""
    sure_model.train()
    sure_model.detr.eval()
    before = modes(sure_model)
    assert len(set(before)) == 2
    sure_model.predict(picture)
    assert modes(sure_model) == before
    with pytest.raises(ImageError):
        sure_model.predict("nothing.png")
    assert modes(sure_model) == before


def test_threads_predict_with_thresholds_of_their_own(sure_model, scenes):
    """They share a model, and nothing on it changes."""
    pictures = [scenes[i].image for i in range(4)]
    jobs = [(p, t) for p in pictures for t in (0.0, 0.9999)] * 3

    def predict(job):
        picture, threshold = job
        return sure_model.predict(picture, threshold=threshold).id_map

    wanted = [predict(job) for job in jobs]
    assert len({m.unique().numel() for m in wanted}) > 1
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(predict, jobs)]
    assert all(map(torch.equal, found, wanted))
    assert sure_model.threshold == sure_model.config.threshold


def test_a_threshold_that_was_set_is_saved_with_the_model(
    sure_model, picture, tmp_path
):
    sure_model.threshold = 0.25
    save_model(sure_model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", "cpu")
    assert loaded.threshold == 0.25


def test_a_prediction_has_the_name_of_its_file(sure_model, picture, tmp_path):
    path = tmp_path / "beach.day.png"
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    assert sure_model.predict(path).name == "beach.day"
    assert sure_model.predict(str(path)).name == "beach.day"
    assert sure_model.predict(picture).name == "image"


def test_a_prediction_saves_its_drawing(prediction, tmp_path):
    prediction.save(tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as saved:
        assert np.array_equal(saved, prediction.overlay())


class Detections:
    """Stands for supervision's class of that name."""

    def __init__(self, **fields):
        vars(self).update(fields)


def test_supervision_gets_boxes_masks_and_names(prediction, monkeypatch):
    module = ModuleType("supervision")
    module.Detections = Detections
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = prediction.to_supervision()
    assert np.array_equal(found.xyxy, prediction.boxes.numpy())
    assert found.class_id.tolist() == [s.label for s in prediction.segments]
    assert found.confidence.tolist() == prediction.scores.tolist()
    for mask, segment, name in zip(
        found.mask, prediction.segments, found.data["class_name"], strict=True
    ):
        assert mask.sum() == segment.area
        assert name == SCENE_CATEGORIES[segment.label].name


@pytest.mark.parametrize("count", [1, 2])
def test_one_image_is_read_without_a_thread(tiny_model, picture, count):
    here, places = threading.current_thread(), []

    def read(image):
        places.append(threading.current_thread())
        return image

    found = list(tiny_model.predict_each([picture] * count, read=read))
    assert len(found) == len(places) == count
    assert (places == [here]) == (count == 1)


@pytest.mark.parametrize("threshold", [85, -0.1, float("nan"), "0.5"])
def test_a_threshold_that_is_none_is_refused(sure_model, picture, threshold):
    with pytest.raises(ConfigError, match=r"threshold must be .* not"):
        sure_model.predict(picture, threshold=threshold)


@pytest.mark.parametrize("size", [0, -1, 2.5, float("nan")])
def test_a_batch_without_images_is_refused(sure_model, picture, size):
    with pytest.raises(ConfigError, match=r"batch_size must be .* not"):
        sure_model.predict(picture, batch_size=size)


def two_segments(categories, labels):
    """Return a prediction of two segments, one above the other."""
    id_map = torch.ones(16, 16, dtype=torch.int32)
    id_map[8:] = 2
    segments = tuple(
        Segment(n, label, 0.9, 128, n, (0.5, 0.5, 1.0, 0.5))
        for n, label in enumerate(labels, 1)
    )
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    return Prediction(image, id_map, segments, categories, None)


def written(found, folder):
    """Return the JSON and the colors of what was found in one image."""
    write_predictions(
        [(1, Path("a.png"), found)], used(found.categories), folder
    )
    content = json.loads((folder / "panoptic.json").read_text())
    colors = np.asarray(Image.open(folder / "panoptic/a.png"))
    return content, colors[..., 0].tolist()


def test_a_class_may_be_called_unused(tmp_path):
    """Only the original's labels without a class are left out."""
    land = Category(12, "unused land", False, (1, 2, 3))
    content, ids = written(
        two_segments(Categories([land, Category(3, "cat", True)]), (0, 1)),
        tmp_path,
    )
    assert [c["id"] for c in content["categories"]] == [12, 3]
    (annotation,) = content["annotations"]
    assert [s["category_id"] for s in annotation["segments_info"]] == [12, 3]
    assert ids == [[1] * 16] * 8 + [[2] * 16] * 8


def test_a_label_that_is_no_class_is_void_in_the_files(tmp_path):
    content, ids = written(
        two_segments(original_categories(250), (12, 17)), tmp_path
    )
    assert len(content["categories"]) == 133
    (annotation,) = content["annotations"]
    assert [s["category_id"] for s in annotation["segments_info"]] == [17]
    assert ids == [[0] * 16] * 8 + [[2] * 16] * 8
    assert (tmp_path / "overlay/a.png").exists()


@pytest.mark.parametrize("name", ["found", "found.xyz", "found.psd"])
def test_a_drawing_is_saved_under_an_images_name(prediction, tmp_path, name):
    with pytest.raises(OutputError, match=rf"{name} .*found\.png"):
        prediction.save(tmp_path / name)
    assert [*tmp_path.iterdir()] == []


def test_a_drawing_makes_its_folder(prediction, tmp_path):
    prediction.save(tmp_path / "new" / "found.png")
    drawing = np.asarray(Image.open(tmp_path / "new" / "found.png"))
    assert np.array_equal(drawing, np.asarray(prediction.overlay()))


def test_a_drawing_that_cannot_be_saved_replaces_none(prediction, tmp_path):
    path = tmp_path / "found.png"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"found\.png cannot be"):
            prediction.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]
