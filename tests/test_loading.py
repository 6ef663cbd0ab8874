"""Files of the original and of transformers become models, and adapt."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
import torch
from fetching import serve
from PIL import Image
from safetensors.torch import save_file
from support import refusal, same_weights

from detr_lite.cli.main import main
from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.categories import coco_categories, original_categories
from detr_lite.errors import ConfigError, DetrLiteError, WeightsError
from detr_lite.inference.loading import load_backbone, load_model
from detr_lite.inference.model import (
    DetectionModel,
    PanopticModel,
    build_model,
)
from detr_lite.models import ModelConfig
from detr_lite.weights import catalog as sources
from detr_lite.weights import inferred_config
from detr_lite.weights.layouts import convert
from detr_lite.weights.writing import save_model

# Small, and of the kind that the original can be.
SMALL = ModelConfig(
    num_classes=250,
    depths=(1, 2, 1, 1),
    resnet_width=8,
    width=32,
    heads=8,
    encoder_layers=1,
    decoder_layers=2,
    feedforward=48,
    num_queries=7,
    context=128,
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Let the original have a backbone that is narrow, too."""
    monkeypatch.setattr(inferred_config, "STEM", SMALL.resnet_width)


def small(**changes):
    """Return a small model, and its tensors as the original names them."""
    config = replace(SMALL, **changes)
    model = build_model(config, original_categories(config.num_classes))
    return model.eval(), convert(model.state_dict(), "original")


@pytest.fixture
def panoptic(tmp_path):
    """A file of the original's layout with 250 classes, and its model."""
    model, state = small()
    path = tmp_path / "panoptic.pth"
    torch.save({"model": state}, path)
    return path, model


@pytest.fixture
def boxes(tmp_path):
    """A file of the original's layout for boxes of 91 classes."""
    model, state = small(masks=False, num_classes=91)
    path = tmp_path / "boxes.pth"
    torch.save({"model": state}, path)
    return path, model


def refused(*arguments, words=(), error=WeightsError, **options):
    with refusal(*words, error=error) as caught:
        load_model(*arguments, **options)
    assert ". " not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"masks": False, "num_classes": 91},
        {"bottleneck": False, "encoder_layers": 3, "num_classes": 5},
    ],
    ids=["panoptic", "boxes", "other sizes"],
)
def test_any_file_is_loaded_as_the_model_that_it_is(tmp_path, changes):
    model, _ = small(**changes)
    for layout in ("original", "transformers", "transformers5"):
        for own_resnet in (False, True):
            state = convert(model.state_dict(), layout, own_resnet)
            counter = {"bn.num_batches_tracked": torch.tensor(1)}
            torch.save(state, tmp_path / "a.bin")
            torch.save({"model": state | counter}, tmp_path / "b.pth")
            state = {n: t.contiguous().clone() for n, t in state.items()}
            save_file(state, tmp_path / "c.safetensors", {"format": "pt"})
            for name in ("a.bin", "b.pth", "c.safetensors"):
                loaded = load_model(tmp_path / name, "cpu")
                assert same_weights(loaded, model)
                wanted = replace(model.config)
                if not wanted.masks:  # nothing of the mask head is known
                    wanted = replace(wanted, context=256)
                assert loaded.config == wanted
                assert not loaded.load_report
                assert str(loaded.load_report) == ""
                assert not loaded.training


def test_published_files_know_cocos_classes(panoptic, boxes):
    for (path, _), kind, count in (
        (panoptic, PanopticModel, 250),
        (boxes, DetectionModel, 91),
    ):
        model = load_model(path, "cpu")
        assert isinstance(model, kind)
        assert model.categories == original_categories(count)
        assert model.categories[17].name == "cat"
        config = model.config
        assert (config.shortest, config.longest) == (800, 1333)
        assert config.threshold == 0.85
        assert config.exact_padding


def test_predicting_lists_cocos_classes_and_no_unused_ones(panoptic, tmp_path):
    path, _ = panoptic
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["--model", str(path), "--out", str(tmp_path / "found")]
    assert main(["predict", str(tmp_path / "a.png"), *arguments]) == 0
    content = json.loads((tmp_path / "found/panoptic.json").read_text())
    ids = [c["id"] for c in content["categories"]]
    assert ids == [c.id for c in coco_categories()]


@torch.no_grad()
def test_dc5_is_in_the_files_name_or_an_argument(panoptic):
    path, _ = panoptic
    assert not load_model(path, "cpu").config.dilate_res5
    for model in (
        load_model(path, "cpu", dilate_res5=True),
        load_model(path.rename(path.with_name("r50-DC5.pth")), "cpu"),
    ):
        assert model.config.dilate_res5
        image = torch.zeros(1, 3, 64, 64)
        body = model.detr.backbone[0].body
        assert body(image).res5.shape[-1] == 4
    again = load_model(path.with_name("r50-DC5.pth"), dilate_res5=False)
    assert not again.config.dilate_res5


def test_a_model_of_ours_can_be_given_dc5(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors", "cpu", dilate_res5=False)
    assert not model.config.dilate_res5


def test_classes_that_nobody_knows_are_numbered_or_named(tmp_path):
    _, state = small(num_classes=3)
    path = tmp_path / "mine.pth"
    torch.save({"model": state}, path)
    assert [c.id for c in load_model(path).categories] == [0, 1, 2]
    mine = [Category(5, "cup", True, (1, 2, 3)),
            Category(6, "jug", True, (1, 2, 4)),
            Category(9, "table", False, (1, 2, 5))]  # fmt: skip
    model = load_model(path, "cpu", categories=mine)
    assert model.categories == Categories(mine)
    assert not model.load_report  # the labels have names now, no more


@pytest.mark.parametrize("part", ["missing", "unknown", "shape"])
@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_tensors_that_do_not_fit_are_named(tmp_path, part, layout):
    model, _ = small()
    state = convert(model.state_dict(), layout)
    name = "mask_head.gn4.weight"
    if part == "missing":
        del state[name]
    elif part == "unknown":
        name = "detr.transformer.encoder.norm.weight"
        state[name] = torch.ones(32)
    else:
        state[name] = torch.ones(3)
    path = tmp_path / "bad.pth"
    torch.save({"model": state}, path)
    refused(path, words=[path.name, name])


@pytest.mark.parametrize(
    "name",
    ["class_embed.weight", "class_embed.bias", "query_embed.weight",
     "backbone.0.body.conv1.weight",
     "transformer.decoder.layers.0.linear1.weight"],
)  # fmt: skip
def test_tensors_that_tell_the_sizes_are_missed(tmp_path, name):
    _, state = small()
    path = tmp_path / "bad.pth"
    torch.save({k: v for k, v in state.items() if k != f"detr.{name}"}, path)
    refused(path, words=[f"no tensor detr.{name}"])
    state[f"detr.{name}"] = torch.ones(())
    torch.save(state, path)
    refused(path, words=[f"detr.{name} has the shape ()"])


def test_another_number_of_classes_has_a_new_head_that_is_told(panoptic):
    path, whole = panoptic
    model = load_model(path, "cpu", num_classes=4)
    old, new = (m.detr.class_embed.weight for m in (whole, model))
    assert new.shape == (5, 32)
    assert torch.equal(new[-1], old[-1])  # "no object"
    assert len(model.categories) == model.config.num_classes == 4
    text = str(model.load_report)
    assert "of 4 classes, none keeps its weights by id and name, but" in text
    assert "boxes before masks" in text
    unchanged = load_model(path, "cpu", num_classes=250)
    assert not unchanged.load_report
    for part, its in zip(
        model.named_parameters(), whole.named_parameters(), strict=True
    ):
        if "class_embed" not in part[0]:
            assert torch.equal(part[1], its[1])


def test_classes_that_both_lists_have_keep_their_rows(panoptic):
    path, whole = panoptic
    mine = [
        Category(300, "balloon", True, (9, 9, 9)),
        Category(17, "cat", True, (8, 8, 8)),
        Category(18, "hound", True, (7, 7, 7)),  # 18 is the dog in COCO
        Category(187, "sky-other-merged", False, (6, 6, 6)),
    ]
    model = load_model(path, "cpu", categories=mine)
    old, new = (m.detr.class_embed for m in (whole, model))
    for row, its in ((1, 17), (3, 187), (4, 250)):
        assert torch.equal(new.weight[row], old.weight[its])
        assert torch.equal(new.bias[row], old.bias[its])
    for row, its in ((0, 0), (2, 18)):
        assert not torch.equal(new.weight[row], old.weight[its])
    words = 'of 4 classes, 2 keep their weights by id and name, and so does "'
    assert words in str(model.load_report)
    one = load_model(path, "cpu", categories=mine[:2])
    assert "of 2 classes, 1 keeps its weights by id" in str(one.load_report)


def test_cocos_133_classes_keep_all_their_rows(panoptic):
    path, whole = panoptic
    model = load_model(path, "cpu", categories=coco_categories())
    assert "all 133 classes keep their weights" in str(model.load_report)
    rows = [c.id for c in coco_categories()] + [250]
    old, new = (m.detr.class_embed for m in (whole, model))
    assert torch.equal(new.weight, old.weight[rows])
    assert torch.equal(new.bias, old.bias[rows])


def test_our_own_files_adapt_too(tiny_model, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(tiny_model, path)
    some = [*tiny_model.categories[2:5], Category(77, "x", True, (1, 1, 1))]
    model = load_model(path, "cpu", categories=some, num_queries=5)
    old, new = (m.detr.class_embed.weight for m in (tiny_model, model))
    assert torch.equal(new[[0, 1, 2, 4]], old[[2, 3, 4, 8]])
    assert len(model.detr.query_embed.weight) == 5
    assert len(model.load_report.changed) == 2
    save_model(model, path)
    again = load_model(path, "cpu")
    assert same_weights(again, model)
    assert not again.load_report


def test_class_counts_that_cannot_be_are_refused(panoptic):
    path, _ = panoptic
    two = coco_categories()[:2]
    refused(path, num_classes=3, categories=two, words=["num_classes"],
            error=ConfigError)  # fmt: skip
    refused(path, num_classes=0, words=["num_classes"], error=ConfigError)
    refused(path, num_queries=0, words=["num_queries"], error=ConfigError)
    refused(path, num_queries=-3, words=["num_queries"], error=ConfigError)


def test_fewer_queries_are_the_first_ones(panoptic):
    path, whole = panoptic
    model = load_model(path, "cpu", num_queries=3)
    old, new = (m.detr.query_embed.weight for m in (whole, model))
    assert torch.equal(new, old[:3])
    assert model.config.num_queries == 3
    assert "the first 3 of 7" in str(model.load_report)


def test_more_queries_are_copies_that_can_part(panoptic):
    path, whole = panoptic
    model = load_model(path, "cpu", num_queries=40)
    old, new = (m.detr.query_embed.weight for m in (whole, model))
    assert torch.equal(new[:7], old)
    copies = old.repeat(6, 1)[:40]
    noise = (new - copies)[7:]
    assert 0.05 * old.std() < noise.std() < 0.2 * old.std()
    assert (noise.abs().sum(1) > 0).all()
    # As spread as the loaded ones, not a fiftieth of them.
    assert 0.9 < new.std() / old.std() < 1.1
    assert "33 copies" in str(model.load_report)


def test_a_mask_head_can_be_left_out(panoptic):
    path, whole = panoptic
    model = load_model(path, "cpu", masks=False)
    assert isinstance(model, DetectionModel)
    assert same_weights(model.detr, whole.detr)
    assert len(model.load_report.unexpected) == 32
    assert "bbox_attention, mask_head: 32 tensors are not used" in str(
        model.load_report
    )


def test_a_mask_head_can_be_added_to_250_classes(tmp_path):
    whole, state = small(masks=False)
    path = tmp_path / "boxes250.pth"
    torch.save({"model": state}, path)
    model = load_model(path, "cpu", masks=True)
    assert isinstance(model, PanopticModel)
    assert same_weights(model.detr, whole.detr)
    assert len(model.load_report.missing) == 32
    assert "32 tensors are not in the file" in str(model.load_report)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    assert model.predict(image, threshold=0.0).id_map.shape == (64, 64)


def test_a_mask_head_on_91_classes_of_things_is_refused_with_advice(boxes):
    path, whole = boxes
    refused(
        path, masks=True,
        words=["things alone", "detr_resnet50_panoptic", "categories="],
    )  # fmt: skip
    model = load_model(path, "cpu", masks=True, categories=coco_categories())
    new, old = model.detr.class_embed.weight, whole.detr.class_embed.weight
    assert torch.equal(new[0], old[1])  # person
    assert "of 133 classes, 80 keep" in str(model.load_report)
    assert "boxes before masks" in str(model.load_report)


def test_every_option_is_the_files_by_default(panoptic):
    path, model = panoptic
    same = load_model(
        path, "cpu", masks=True, num_classes=250, num_queries=7,
        categories=original_categories(250), dilate_res5=False,
    )  # fmt: skip
    assert same_weights(same, model)
    assert asdict(same.config) == asdict(load_model(path).config)
    assert not same.load_report


@pytest.fixture
def published(tmp_path, monkeypatch, panoptic):
    """`detr_resnet50_dc5_panoptic` on a local server, under its own hash."""
    path, model = panoptic
    content = path.read_bytes()
    file = f"detr-r50-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    name = "detr_resnet50_dc5_panoptic"
    with serve({f"/{file}": content}) as server:
        source = replace(
            sources.SOURCES[name], file=file, url=f"{server.url}/{file}"
        )
        monkeypatch.setitem(sources.SOURCES, name, source)
        yield name, model, server


def test_a_name_is_fetched_once_to_where_torch_hub_keeps_it(
    published, tmp_path, capsys
):
    name, model, server = published
    (file,) = server.files
    main(["models"])
    assert "not here yet: http://127.0.0.1" in capsys.readouterr().out
    for alias in (name, "facebook/detr-resnet-50-dc5-panoptic"):
        loaded = load_model(alias, "cpu")
        assert same_weights(loaded, model)
        assert loaded.config.dilate_res5
        assert not loaded.load_report
    cached = tmp_path / f"home/hub/checkpoints{file}"
    assert list(cached.parent.iterdir()) == [cached]
    main(["models"])
    assert f"here: {cached}" in capsys.readouterr().out
    main(["download", name])
    found, after = capsys.readouterr().out.splitlines()
    assert found == f"{name} is in {cached}."
    assert f"--model {name}" in after
    assert server.asked == [file]


def test_another_file_than_the_published_one_is_not_kept(published, tmp_path):
    name, _, server = published
    (file,) = server.files
    server.files[file] = server.files[file][:-1] + b"x"
    refused(name, words=["not the file that was published"],
            error=DetrLiteError)  # fmt: skip
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file()]


def test_a_cached_file_that_is_cut_off_is_noticed(published, tmp_path):
    name, *_ = published
    load_model(name, "cpu")
    (cached,) = (tmp_path / "home/hub/checkpoints").iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])
    refused(name, words=[str(cached), "remove it"], error=DetrLiteError)


def test_the_originals_are_known_by_the_names_and_files_of_torch_hub():
    """Each file's name ends with the beginning of its sha256."""
    known = {
        name: source.file
        for name, source in sources.SOURCES.items()
        if name != "scenes"
    }
    assert known == {
        "detr_resnet50": "detr-r50-e632da11.pth",
        "detr_resnet50_dc5": "detr-r50-dc5-f0fb7ef5.pth",
        "detr_resnet101": "detr-r101-2c7b67e5.pth",
        "detr_resnet101_dc5": "detr-r101-dc5-a2e86def.pth",
        "detr_resnet50_panoptic": "detr-r50-panoptic-00ce5173.pth",
        "detr_resnet50_dc5_panoptic": "detr-r50-dc5-panoptic-da08f1b1.pth",
        "detr_resnet101_panoptic": "detr-r101-panoptic-40021d53.pth",
    }
    for name, file in known.items():
        source = sources.source_named(name)
        assert source.url == f"https://dl.fbaipublicfiles.com/detr/{file}"
        assert source.dilate_res5 is ("dc5" in name)
        assert source.license == "Apache-2.0"
    assert (
        sources.source_named("facebook/detr-resnet-101")
        == (sources.SOURCES["detr_resnet101"])
    )
    assert sources.source_named("facebook/dino") is None


@pytest.mark.parametrize("name", [n for n in sources.SOURCES if n != "scenes"])
def test_sizes_told_are_those_of_the_tensors(name):
    masks = "panoptic" in name
    depths = (3, 4, 23 if "101" in name else 6, 3)
    count = 250 if masks else 91
    config = ModelConfig(num_classes=count, masks=masks, depths=depths)
    with torch.device("meta"):
        model = build_model(config, original_categories(count))
    size = sum(t.nbytes for t in model.state_dict().values())
    assert sources.SOURCES[name].size == pytest.approx(size / 1e6, abs=1)


def imagenet_state(model) -> dict[str, torch.Tensor]:
    """Return the ResNet's tensors as torchvision's file holds them."""
    state = model.detr.backbone[0].body.state_dict()
    state = {n: torch.randn_like(t) for n, t in state.items()}
    return state | {
        "fc.weight": torch.ones(1000, 3),
        "fc.bias": torch.ones(1000),
        "bn1.num_batches_tracked": torch.tensor(9),
    }


def test_torchvisions_file_is_a_backbone(tmp_path):
    model, _ = small()
    state = imagenet_state(model)
    torch.save(state, tmp_path / "resnet.pth")
    load_backbone(model, tmp_path / "resnet.pth")
    body = model.detr.backbone[0].body.state_dict()
    assert all(torch.equal(body[n], state[n]) for n in body)
    del state["layer4.0.conv2.weight"]
    torch.save(state, tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match=r"no tensor layer4.0.conv2"):
        load_backbone(model, tmp_path / "resnet.pth")


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({}, "resnet50-0676ba61.pth"),
        ({"depths": (3, 4, 23, 3)}, "resnet101-63fe2227.pth"),
        ({"bottleneck": False, "depths": (2, 2, 2, 2)},
         "resnet18-f37072fd.pth"),
        ({"bottleneck": False}, "resnet34-b627a593.pth"),
    ],
)  # fmt: skip
def test_imagenet_weights_are_those_that_the_original_starts_from(
    monkeypatch, tmp_path, changes, file
):
    asked = {}

    def download(url, path, *, sha256):
        asked.update(url=url, path=path, sha256=sha256)
        return path

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(sources, "download", download)
    config = ModelConfig(num_classes=3, **changes)
    sources.imagenet_file(config)
    assert asked == {
        "url": f"https://download.pytorch.org/models/{file}",
        "path": tmp_path / "hub/checkpoints" / file,
        "sha256": file.split("-")[1].removesuffix(".pth"),
    }


def test_imagenet_is_loaded_into_a_model(monkeypatch, tmp_path):
    model, _ = small()
    with pytest.raises(ConfigError, match="ResNet-18, 34, 50 and 101"):
        load_backbone(model, "imagenet")
    state = imagenet_state(model)
    torch.save(state, tmp_path / "resnet.pth")
    monkeypatch.setattr(
        "detr_lite.inference.loading.imagenet_file",
        lambda c: tmp_path / "resnet.pth",
    )
    load_backbone(model, "imagenet")
    body = model.detr.backbone[0].body
    assert torch.equal(body.conv1.weight, state["conv1.weight"])
