"""ONNX files give what PyTorch gives, for batches of any size."""

import json
from dataclasses import replace

import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from support import CONFIG, randomized

from detr_lite.cli.main import main
from detr_lite.data.batch import IMAGENET_MEAN, IMAGENET_STD
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.errors import ExportError, OutputError
from detr_lite.inference import export
from detr_lite.inference.export import OnnxModel, export_onnx
from detr_lite.inference.model import build_model
from detr_lite.models import ModelConfig
from detr_lite.panoptic_detr import all_queries
from detr_lite.weights.writing import save_model

SMALL = replace(CONFIG, decoder_layers=1)
INTERMEDIATES = [
    "src_proj",
    "memory",
    "box_embeddings",
    "attention_maps",
    "res2",
    "res3",
    "res4",
    "res5",
]


def small_model(seed=0, **changes):
    torch.manual_seed(seed)
    config = replace(SMALL, **changes)
    return randomized(build_model(config, SCENE_CATEGORIES))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a model, its program, and the file and report of it: once.

    Tracing takes many times what running takes.
    """
    model = small_model().train()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    programs, trace = [], torch.onnx.export

    def kept(*args, **options):
        programs.append(trace(*args, **options))
        return programs[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", kept)
        report = export_onnx(model, path, intermediates=True)
    return model, programs[0], path, report


@pytest.fixture
def session(exported):
    return InferenceSession(exported[2], providers=["CPUExecutionProvider"])


def run(session, images, padding_mask):
    names = [output.name for output in session.get_outputs()]
    inputs = {"images": images.numpy(), "padding_mask": padding_mask.numpy()}
    values = session.run(names, inputs)
    return {n: torch.from_numpy(v) for n, v in zip(names, values, strict=True)}


def batch(count, height, width):
    images = torch.randn(count, 3, height, width)
    return images, torch.zeros(count, height, width, dtype=torch.bool)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def agree(found, wanted):
    """Compare what a session gives with the package's output."""
    close(found["class_logits"], wanted.class_logits)
    close(found["boxes"], wanted.boxes)
    close(found["mask_logits"].flatten(0, 1), wanted.mask_logits)


def test_names_and_free_sizes(session):
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    assert inputs == {
        "images": ("tensor(float)", ["batch", 3, "height", "width"]),
        "padding_mask": ("tensor(bool)", ["batch", "height", "width"]),
    }
    outputs = {o.name: o.shape for o in session.get_outputs()}
    assert list(outputs) == [
        "class_logits",
        "boxes",
        "mask_logits",
        *INTERMEDIATES,
    ]
    assert outputs["boxes"] == ["batch", 12, 4]
    assert outputs["class_logits"] == ["batch", 12, 9]
    for name, shape in outputs.items():
        assert shape[0] == "batch", name
        if name not in ("boxes", "class_logits", "box_embeddings"):
            assert "height" in shape[-2]
            assert "width" in shape[-1]


@pytest.mark.parametrize("size", [(1, 96, 96), (3, 75, 131), (2, 192, 80)])
def test_pictures_without_padding_are_as_in_the_package(
    exported, session, size
):
    model = exported[0].eval()
    images, padding_mask = batch(*size)
    found = run(session, images, padding_mask)
    with torch.no_grad():
        wanted = model(images, padding_mask, all_queries)
    agree(found, wanted)
    close(found["attention_maps"].flatten(0, 1), wanted.attention_maps)
    for name in ("src_proj", "memory", "box_embeddings"):
        close(found[name], getattr(wanted.detection, name))
    for name in ("res2", "res3", "res4", "res5"):
        close(found[name], getattr(wanted.detection.pyramid, name))


def test_padded_pictures_are_as_in_the_original(session):
    model = small_model().eval()
    images, padding_mask = batch(3, 104, 150)
    padding_mask[1, 60:] = True
    padding_mask[1, :, 99:] = True
    padding_mask[2, 100:] = True
    found = run(session, images, padding_mask)
    with torch.no_grad():
        wanted = model(images, padding_mask, all_queries)
    agree(found, wanted)
    assert found["attention_maps"][1, :, :, 8:].abs().max() == 0
    other = run(session, images, torch.zeros_like(padding_mask))
    assert not torch.allclose(found["boxes"][1], other["boxes"][1])
    close(found["boxes"][0], other["boxes"][0])


def test_the_file_says_how_to_use_it(exported):
    model, _, path, _ = exported
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    metadata = {p.key: json.loads(p.value) for p in proto.metadata_props}
    assert metadata["mean"] == list(IMAGENET_MEAN)
    assert metadata["std"] == list(IMAGENET_STD)
    assert metadata["threshold"] == 0.5
    names = [c["name"] for c in metadata["categories"]]
    assert names == [c.name for c in model.categories]
    assert {c["isthing"] for c in metadata["categories"]} == {True, False}
    config = metadata["config"]
    config["depths"] = tuple(config["depths"])
    assert ModelConfig(**config) == model.config


def test_the_report_says_what_was_measured(exported):
    _, _, path, report = exported
    assert report.size == path.stat().st_size
    assert 0 < report.relative <= report.difference < 1e-3
    assert report.outputs[:2] == ("class_logits", "boxes")
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_the_model_is_left_as_it_was(exported):
    model = exported[0]
    again = small_model()
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_file_that_computes_something_else_is_not_written(
    exported, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: exported[1])
    path = tmp_path / "new" / "model.onnx"
    with pytest.raises(ExportError, match=r"model\.onnx is not written"):
        export_onnx(small_model(seed=1), path, intermediates=True)
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_a_difference(exported, tmp_path, monkeypatch):
    model = small_model()
    with torch.no_grad():
        model.detr.class_embed.bias.fill_(torch.nan)
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: exported[1])
    with pytest.raises(ExportError, match="class_logits is off by nan"):
        export_onnx(model, tmp_path / "model.onnx", intermediates=True)


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path, monkeypatch):
    def never(*args, **options):
        raise AssertionError

    monkeypatch.setattr(torch.onnx, "export", never)
    (tmp_path / "wall").write_text("in the way")
    with pytest.raises(OutputError, match="wall"):
        export_onnx(small_model(), tmp_path / "wall" / "model.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_said(tmp_path, monkeypatch, package):
    spec = export.find_spec
    monkeypatch.setattr(
        export, "find_spec", lambda name: None if name == package else spec
    )
    words = rf"needs the package {package}; .*'detr-lite\[export\]'"
    with pytest.raises(ExportError, match=words):
        export_onnx(small_model(), tmp_path / "model.onnx")


def test_without_masks_there_is_less_to_see_on_the_way():
    with_masks = OnnxModel(small_model(), True, True)
    without = OnnxModel(small_model(), False, True)
    gone = set(with_masks.names) - set(without.names)
    assert gone == {"mask_logits", "attention_maps"}
    assert OnnxModel(small_model(), True, False).names == [
        "class_logits",
        "boxes",
        "mask_logits",
    ]
    with torch.no_grad():
        outputs = without.eval()(*batch(1, 96, 96))
    assert len(outputs) == len(without.names)


def test_a_detector_is_exported_by_the_command(
    exported, tmp_path, capsys, monkeypatch
):
    """A model without a mask head; its graph is a part of the other's."""
    detector = small_model(masks=False)
    detector.detr.load_state_dict(exported[0].detr.state_dict())
    save_model(detector, tmp_path / "boxes.safetensors")
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: exported[1])
    arguments = ["--model", str(tmp_path / "boxes.safetensors")]
    out = tmp_path / "boxes.onnx"
    assert main(["export", *arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert f"{out} ({size}) takes images and padding_mask" in printed.out
    assert "gives class_logits, boxes." in printed.out
    assert "differs from PyTorch by at most" in printed.out
    assert "as in the original" in printed.out
    assert printed.err == ""
    metadata = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert not json.loads(metadata["config"])["masks"]


def test_no_masks_is_an_argument_of_the_command(monkeypatch, capsys):
    asked = {}

    def instead(model, path, **options):
        asked.update(options)
        return export.ExportReport(("boxes",), 0.0, 0.0, 1)

    monkeypatch.setattr(export, "export_onnx", instead)
    main(["export", "--out", "x.onnx", "--no-masks", "--intermediates"])
    assert asked == {"masks": False, "intermediates": True}
    main(["export", "--out", "x.onnx"])
    assert asked == {"masks": True, "intermediates": False}
