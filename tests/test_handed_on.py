"""Where one part hands a value to another: it must arrive, and as it is.

Category ids have gaps here, and no two data sets are of one size, so that a
label is never an id by chance and no split the other.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from support import (
    CONFIG,
    TINY,
    TWO_CLASSES,
    as_coco,
    on_disk,
    randomized,
    sample,
)
from torch import nn

from detr_lite.cli.main import main
from detr_lite.data.batch import collate
from detr_lite.data.categories import Categories
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.data.subsets import Part
from detr_lite.data.transforms import TrainTransform
from detr_lite.errors import WeightsError
from detr_lite.inference import drawing
from detr_lite.inference.box_ap import BoxAP
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.model import build_model
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import Segment
from detr_lite.training import train as training
from detr_lite.training.batches import BatchOrder
from detr_lite.training.recipes import PRESETS, Phase
from detr_lite.transformer import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
)
from detr_lite.weights import catalog
from detr_lite.weights.writing import save_model

# The scenes' classes, from the last to the first, with gaps between the ids.
GAPS = Categories([replace(c, id=7 * c.id + 3) for c in SCENE_CATEGORIES])


class WithGaps(Part):
    """Some scenes with other category ids."""

    def __init__(self, split, indices):
        super().__init__(split, indices)
        self.categories = GAPS


class Reversed(WithGaps):
    """The same classes in another order than the model's."""

    def __init__(self, split, indices):
        super().__init__(split, indices)
        self.categories = Categories([*reversed(GAPS)])

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return replace(sample, labels=7 - sample.labels)


@pytest.fixture
def model():
    """A model that finds something in each image, of classes with gaps."""
    config = replace(CONFIG, threshold=0.0)
    return randomized(build_model(config, GAPS)).eval()


@pytest.fixture
def model_file(model, tmp_path):
    path = tmp_path / "gaps.safetensors"
    save_model(model, path)
    return path


@pytest.fixture
def data(scenes, tmp_path):
    return on_disk(WithGaps(scenes, range(3)), tmp_path / "beach")


@pytest.fixture
def coco(scenes, tmp_path):
    """COCO's layout, whose splits have 3, 4 and 5 images."""
    root = tmp_path / "coco"
    for count, name in ((3, "train2017"), (4, "val2017"), (5, "extra")):
        split = WithGaps(scenes, range(count))
        as_coco(on_disk(split, tmp_path / name), root, name)
    return root


def command(*arguments):
    return main([str(a) for a in arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "{data}/images", "--out", "{out}"],
        ["evaluate", "--data", "{data}", "--save", "{out}"],
    ],
)
def test_results_have_the_datas_category_ids(
    model, model_file, scenes, tmp_path, arguments
):
    out = tmp_path / "out"
    data = on_disk(Reversed(scenes, range(3)), tmp_path / "data")
    filled = [a.format(data=data, out=out) for a in arguments]
    assert command(*filled, "--model", model_file) == 0
    content = json.loads((out / "panoptic.json").read_text())
    ids = [c["id"] for c in content["categories"]]
    assert sorted(ids) == sorted(c.id for c in GAPS)
    names = {i["id"]: i["file_name"] for i in content["images"]}
    total = 0
    for annotation in content["annotations"]:
        name = Path(names[annotation["image_id"]]).stem
        found = model.predict(data / "images" / f"{name}.png")
        wanted = [GAPS[s.label].id for s in found.segments]
        told = [s["category_id"] for s in annotation["segments_info"]]
        assert told == wanted
        if arguments[0] == "predict":
            boxes = [s["query_bbox"] for s in annotation["segments_info"]]
            ends = torch.tensor(boxes)[:, :2] + torch.tensor(boxes)[:, 2:]
            corners = torch.cat((torch.tensor(boxes)[:, :2], ends), 1)
            assert torch.equal(corners, found.query_boxes.round().int())
        total += len(told)
    assert total > 3


def test_evaluate_tells_pq_of_crowds(model, scenes):
    """A crowd that nothing was found for is not missed."""
    sky = 4

    class Crowds(WithGaps):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, crowd=sample.labels == sky)

    usual = evaluate(model, WithGaps(scenes, range(4))).per_class["sky"]
    crowds = evaluate(model, Crowds(scenes, range(4))).per_class["sky"]
    assert usual["fn"] > 0
    assert crowds["fn"] == crowds["tp"] == 0


@pytest.mark.parametrize(
    ("name", "count"), [("train2017", 3), ("val2017", 4), ("extra", 5)]
)
def test_a_split_that_is_named_is_the_one_that_is_used(
    coco, model_file, capsys, name, count
):
    assert command("check", coco, "--split", name) == 0
    assert f"{count} images, " in capsys.readouterr().out
    model = ["--model", model_file]
    assert command("evaluate", "--data", coco, "--split", name, *model) == 0
    assert f"{count} images\n" in capsys.readouterr().out


@pytest.fixture
def heard(heard, monkeypatch):
    """The same, of a preset that is soon tried."""
    quick = replace(PRESETS["quick"], phases=(Phase("boxes", 1, 1, 1e-3),))
    monkeypatch.setitem(PRESETS, "quick", quick)
    return heard


def counts_of(heard):
    return len(heard["training"]), len(heard["validation"])


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ([], (3, 4)),
        (["--split", "extra"], (5, 4)),
        (["--validation-split", "extra"], (3, 5)),
        (["--split", "val2017", "--validation-split", "train2017"], (4, 3)),
        (["--validation", "{coco}"], (3, 4)),
        (["--validation", "{data}"], (3, 3)),
        (["--validation", "{coco}", "--validation-split", "extra"], (3, 5)),
    ],
)
def test_train_uses_the_splits_that_are_named(
    coco, data, heard, tmp_path, arguments, counts
):
    filled = [a.format(coco=coco, data=data) for a in arguments]
    out = ["--out", tmp_path / "run"]
    assert command("train", "--data", coco, *filled, *out) == 130
    assert counts_of(heard) == counts


def test_train_finds_splits_without_a_year(coco, heard, tmp_path):
    for name in ("train2017", "val2017"):
        (coco / name).rename(coco / name[:-4])
        for end in ("", ".json"):
            old = coco / "annotations" / f"panoptic_{name}{end}"
            old.rename(coco / "annotations" / f"panoptic_{name[:-4]}{end}")
    out = ["--out", tmp_path / "run"]
    assert command("train", "--data", coco, *out) == 130
    assert counts_of(heard) == (3, 4)


def test_of_one_split_a_tenth_is_kept_for_validation(
    coco, heard, data, tmp_path
):
    out = ["--out", tmp_path / "run"]
    for name in ("train2017", "extra"):
        (coco / "annotations" / f"panoptic_{name}.json").unlink()
    assert command("train", "--data", coco, *out) == 130
    assert counts_of(heard) == (3, 1)
    first = [sample.name for sample in heard["validation"]]
    assert command("train", "--data", coco, *out, "--seed", 7) == 130
    again = [sample.name for sample in heard["validation"]]
    assert again == first  # so that runs can be compared


@pytest.mark.parametrize("seed", [0, 5])
def test_a_presets_seed_is_the_commands(heard, data, tmp_path, seed):
    words = ["--data", data, "--out", tmp_path / "run", "--seed", seed]
    assert command("train", *words) == 130
    assert heard["recipe"].seed == seed


def test_a_threshold_of_0_is_one(model, scenes):
    picture = scenes[0].image
    everything = model.predict(picture)
    model.threshold = 0.999
    assert len(model.predict(picture)) < len(everything)
    assert len(model.predict(picture, threshold=0)) == len(everything)
    boxes = build_model(replace(CONFIG, masks=False, threshold=1.0), GAPS)
    assert len(boxes.predict(picture)) == 0
    assert len(boxes.predict(picture, threshold=0)) == CONFIG.num_queries


def test_a_query_must_be_surer_than_the_threshold(model, scenes):
    picture = scenes[0].image
    found = model.predict(picture)
    surest = max(s.score for s in found.segments)
    assert len(model.predict(picture, threshold=surest)) == 0
    assert len(model.predict(picture, threshold=surest - 1e-6)) > 0


@pytest.mark.parametrize(
    "box", [(0.5, 0.5, 2.0, 2.0), (0.0, 1.0, 0.4, 0.6), (0.9, 0.1, 0.6, 0.4)]
)
def test_predicted_boxes_stay_in_the_picture(box):
    segment = Segment(1, 0, 0.9, 0, 0, box)
    image = torch.zeros(3, 50, 80, dtype=torch.uint8)
    found = Prediction(image, None, (segment,), GAPS, None)
    x, y, w, h = box
    inside = [
        max(x - w / 2, 0) * 80,
        max(y - h / 2, 0) * 50,
        min(x + w / 2, 1) * 80,
        min(y + h / 2, 1) * 50,
    ]
    assert found.boxes[0].tolist() == pytest.approx(inside, abs=1e-4)


def test_predictions_are_compared_as_objects(model, scenes):
    one, other = (model.predict(scenes[0].image) for _ in range(2))
    assert one == one
    assert one != other
    assert {one, other, one} == {one, other}


def test_ap_of_crowds_alone_is_no_number():
    ap = BoxAP(1)
    box = torch.tensor([[0.0, 0, 20, 20]])
    one, true = torch.tensor([[0.9]]), torch.tensor([True])
    ap.update((100, 100), one, box / 100, torch.tensor([0]), box, true)
    result = ap.compute()
    assert result["box_ap"] != result["box_ap"]  # NaN
    assert ap.segments == 0


def test_the_boxes_of_a_padded_batch_are_of_the_picture_alone(scenes):
    strip = torch.zeros(20, 40)
    strip[:, 10:30] = 5
    batch = collate([scenes[0], sample(strip, [5], [1])])
    assert batch.images.shape[2:] == (96, 96)
    wanted = torch.tensor([[0.5, 0.5, 0.5, 1.0]])
    own = batch.targets.image == 1
    assert torch.equal(batch.targets.boxes[own], wanted)


def test_dropout_is_alive_within_attention():
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 4, dropout=0.5)
    x = torch.randn(1, 9, 16)
    assert not torch.equal(attention(x, x, x), attention(x, x, x))
    attention.eval()
    assert torch.equal(attention(x, x, x), attention(x, x, x))


@pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
def test_dropout_is_alive_within_the_feed_forward(kind):
    """Half of what lies between its two layers is 0, though all was more."""
    torch.manual_seed(0)
    layer = kind(16, 4, 512, dropout=0.5)
    nn.init.constant_(layer.linear1.bias, 100.0)
    seen = []
    layer.linear2.register_forward_pre_hook(
        lambda module, inputs: seen.append((inputs[0] == 0).float().mean())
    )
    x = torch.randn(1, 9, 16)
    run_layer(layer, x)
    run_layer(layer.eval(), x)
    assert seen[0] == pytest.approx(0.5, abs=0.05)
    assert seen[1] == 0


@pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
def test_all_that_a_layer_adds_can_be_dropped(kind):
    """What is left then is its input, normalized again and again."""
    layer = kind(16, 4, 32, dropout=0.5)
    layer.dropout.p = 1.0
    x = expected = torch.randn(1, 9, 16)
    for norm in (m for m in layer.children() if isinstance(m, nn.LayerNorm)):
        expected = norm(expected)
    torch.testing.assert_close(run_layer(layer, x), expected)


def run_layer(layer, x):
    """Run a layer in which positions are 0, and the image is the input."""
    zero = torch.zeros_like(x)
    others = (x, zero) if isinstance(layer, DecoderLayer) else ()
    return layer(x, zero, *others, None)


@pytest.mark.parametrize("field", ["augment", "by_shape", "exact_padding"])
@pytest.mark.parametrize("asked", [True, False])
def test_train_takes_images_as_the_recipe_says(
    scenes, tmp_path, monkeypatch, tiny_model, field, asked
):
    found = {}

    class Order(BatchOrder):
        def __init__(self, *given):
            found["augment"] = isinstance(given[3], TrainTransform)
            found["by_shape"], found["exact_padding"] = given[4:6]
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "BatchOrder", Order)
    recipe = replace(TINY, phases=TINY.phases[1:2], **{field: asked})
    with pytest.raises(KeyboardInterrupt):
        training.train(
            recipe, scenes, scenes, tmp_path / "run", start=tiny_model
        )
    assert found[field] is asked


def test_a_shipped_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("manifest.json", "scenes.safetensors"):
        shutil.copy(catalog.data_folder() / name, folder)
    monkeypatch.setattr(catalog, "data_folder", lambda: folder)
    assert catalog.shipped_file("scenes.safetensors").exists()
    path = folder / "scenes.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not the file that was published"):
        catalog.shipped_file("scenes.safetensors")


def test_the_presets_numbers():
    """Those of the shipped weights, and of the paper."""
    weights = {name: r.no_object_weight for name, r in PRESETS.items()}
    assert weights["quick"] == weights["full"] == 0.4
    assert {r.weight_decay for r in PRESETS.values()} == {1e-4}
    assert asdict(PRESETS["coco"].model) == {
        "num_classes": 133,
        "masks": True,
        "bottleneck": True,
        "depths": (3, 4, 6, 3),
        "resnet_width": 64,
        "dilate_res5": False,
        "pool": True,
        "exact_padding": True,
        "width": 256,
        "heads": 8,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "feedforward": 2048,
        "dropout": 0.1,
        "num_queries": 100,
        "temperature": 10000.0,
        "cycles": 1.0,
        "context": 256,
        "map_gain": 1.0,
        "pyramid": True,
        "joint_softmax": True,
        "threshold": 0.85,
        "shortest": 800,
        "longest": 1333,
    }


def test_names_that_no_font_has_are_drawn_as_ids(scenes, monkeypatch):
    """Not as the boxes that stand in for missing letters."""
    monkeypatch.setattr(drawing, "FONTS", ())
    drawing._font_for.cache_clear()

    def drawn(name):
        categories = [replace(c, name=name) for c in TWO_CLASSES[:1]]
        segment = Segment(1, 0, 0.9, 0, 0, (0.5, 0.5, 0.5, 0.5))
        found = Prediction(
            scenes[0].image, None, (segment,), Categories(categories), None
        )
        return found.overlay().tobytes()

    assert drawn("\u732b") == drawn("3") != drawn("cat")
    drawing._font_for.cache_clear()
