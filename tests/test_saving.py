"""Other programs read what is saved, and give the same results."""

import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from support import CONFIG, ran, randomized, refusal, same_weights
from transformers import DetrForObjectDetection, DetrForSegmentation
from transformers_pair import SMALL, their_config

from detr_lite.data.coco.categories import numbered_categories
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import OutputError, WeightsError
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model
from detr_lite.panoptic_detr import all_queries
from detr_lite.weights import inferred_config
from detr_lite.weights.writing import save_model


def small(masks):
    config = replace(SMALL, masks=masks)
    return randomized(build_model(config, numbered_categories(5))).eval()


@pytest.fixture(params=[True, False], ids=["panoptic", "boxes"])
def ours(request):
    return small(request.param)


@pytest.fixture
def theirs(ours, tmp_path):
    """The model that transformers reads from what we wrote."""
    folder = tmp_path / "written"
    save_model(
        ours, folder / "model.safetensors", "transformers", own_resnet=True
    )
    their_config(SMALL).save_pretrained(folder)
    kind = DetrForSegmentation if ours.config.masks else DetrForObjectDetection
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info  # nothing missing, nothing left over
    return model.eval()


@torch.no_grad()
def agree(ours, theirs):
    """Compare everything on one image without padding."""
    image = torch.randn(1, 3, 160, 128)
    padding = torch.zeros(1, 160, 128, dtype=torch.bool)
    options = {"keep": all_queries} if ours.config.masks else {}
    mine, other = ours(image, padding, **options), theirs(image)
    assert mine.class_logits.std(1).mean() > 3e-3  # not all alike
    close = torch.testing.assert_close
    close(mine.class_logits, other.logits, atol=1e-5, rtol=0)
    close(mine.boxes, other.pred_boxes, atol=1e-5, rtol=0)
    if ours.config.masks:
        masks = mine.mask_logits.view_as(other.pred_masks)
        close(masks, other.pred_masks, atol=1e-4, rtol=0)


def test_transformers_reads_what_we_write_and_computes_the_same(ours, theirs):
    agree(ours, theirs)


def test_we_read_what_transformers_writes_and_compute_the_same(
    ours, theirs, tmp_path
):
    theirs.save_pretrained(tmp_path / "theirs")
    torch.save(theirs.state_dict(), tmp_path / "memory.bin")
    for path in (
        tmp_path / "theirs" / "model.safetensors",
        tmp_path / "memory.bin",
    ):
        loaded = load_model(path, "cpu")
        assert same_weights(loaded, ours)
        assert not loaded.load_report
        agree(loaded, theirs)


@pytest.mark.parametrize("masks", [True, False])
def test_a_file_for_the_original_is_what_its_files_are(
    tmp_path, monkeypatch, masks
):
    model = small(masks)
    save_model(model, tmp_path / "m.pth", layout="original")
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    assert content.keys() == {"model"}
    wanted = {
        name if masks else name.removeprefix("detr."): tensor
        for name, tensor in model.state_dict().items()
    }
    assert content["model"].keys() == wanted.keys()
    for name, tensor in content["model"].items():
        assert torch.equal(tensor, wanted[name])
    save_model(model, tmp_path / "m.safetensors", layout="original")
    monkeypatch.setattr(inferred_config, "STEM", SMALL.resnet_width)
    for name in ("m.pth", "m.safetensors"):
        assert same_weights(load_model(tmp_path / name, "cpu"), model)


def test_a_file_for_transformers_has_timms_names_unless_asked(tmp_path):
    model = small(True)
    path = tmp_path / "model.safetensors"
    save_model(model, path, layout="transformers")
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        assert file.metadata() == {"format": "pt"}
    body = "detr.model.backbone.conv_encoder.model."
    assert f"{body}layer1.0.conv1.weight" in names
    assert same_weights(load_model(path, "cpu"), model)


def test_a_file_holds_no_tensor_twice(tmp_path):
    """Queries, keys and values are parts of one tensor in memory."""
    model = small(True)
    size = sum(t.nbytes for t in model.state_dict().values())
    for layout in ("original", "transformers", "transformers5"):
        for name in ("m.pth", "m.safetensors"):
            save_model(model, tmp_path / name, layout)
            written = (tmp_path / name).stat().st_size
            assert size < written < 1.2 * size


@pytest.mark.parametrize(
    "change",
    [{"pool": False}, {"temperature": 20.0}, {"cycles": 2.0},
     {"joint_softmax": False}, {"pyramid": False}],
)  # fmt: skip
def test_a_model_that_the_original_cannot_be_is_not_written_as_one(
    tmp_path, change
):
    model = build_model(replace(SMALL, **change), numbered_categories(5))
    path = tmp_path / "m.pth"
    for layout in ("original", "transformers"):
        with refusal(*change, layout, error=WeightsError):
            save_model(model, path, layout)
    assert not list(tmp_path.iterdir())
    save_model(model, path)
    assert load_model(path, "cpu").config == model.config


def test_unknown_layouts_and_places_are_refused(tmp_path):
    model = small(False)
    with pytest.raises(WeightsError, match="original"):
        save_model(model, tmp_path / "m.pth", "keras")
    (tmp_path / "wall").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(model, tmp_path / "wall" / "m.pth", "original")
    assert [p.name for p in tmp_path.iterdir()] == ["wall"]


FULL = """
import resource, signal, sys
from detr_lite import load_model
from detr_lite.weights.writing import save_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = load_model(sys.argv[1], "cpu")
resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))
save_model(model, sys.argv[2], sys.argv[3])
"""


@pytest.mark.parametrize("end", ["pth original", "safetensors detr_lite"])
def test_a_full_disk_is_said_whatever_writes(tmp_path, end):
    """torch.save itself raises a RuntimeError there."""
    save_model(small(True), tmp_path / "m.safetensors")
    suffix, layout = end.split()
    goal = tmp_path / f"new.{suffix}"
    words = ["-c", FULL, tmp_path / "m.safetensors", goal, layout]
    done = ran(sys.executable, *words)
    assert "OutputError" in done.stderr.splitlines()[-1]
    assert "cannot be written (File too large)" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_the_scenes_model_is_of_a_kind_of_its_own(tmp_path):
    model = build_model(CONFIG, SCENE_CATEGORIES)
    with pytest.raises(WeightsError, match="pool=False"):
        save_model(model, tmp_path / "m.pth", "original")
