"""Whatever files hold, they are used or refused with a sentence, and soon.

Sound files are changed at random: bytes of images, of weights and of zips,
values of JSON.  `make stress` tries 250 times as many, and new ones each
time.
"""

import gc
import io
import json
import resource
import shutil
import struct
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import CONFIG, TWO_CLASSES, randomized, sampled

from detr_lite.data.categories import Category
from detr_lite.data.coco.check import check_folder
from detr_lite.data.coco.convert import convert
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.images import read_image, read_size
from detr_lite.errors import DetrLiteError
from detr_lite.files.archives import unpack
from detr_lite.files.records import read_json
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model
from detr_lite.weights.reading import read_checkpoint
from detr_lite.weights.writing import save_model


def fuzzed(test):
    """Let a file of a test be written again by each of its examples.

    In parts, so that processes share them, and `make stress` gets on.
    """
    parts = pytest.mark.parametrize("part", sampled(range(5), 1))
    return parts(settings(suppress_health_check=list(HealthCheck))(test))


@contextmanager
def used_or_refused():
    """No error but one of ours, a sentence; in 2 seconds and 1 GB."""
    began = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.disable()  # what lies about of other inputs would cost seconds
    try:
        yield
    except DetrLiteError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 5000
    finally:
        gc.enable()
    assert time.process_time() - began < 2
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 1_000_000  # kB


# A place in a file as a part of its length, and what becomes of it there.
changes = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "cut", "double", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"]),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, edits) -> bytes:
    for what, part, new in edits:
        place = int(part * len(content))
        head, tail = content[:place], content[place:]
        if what == "replace":
            content = head + new + tail[len(new) :]
        elif what == "insert":
            content = head + new + tail
        elif what == "cut":
            content = head + tail[len(new) :]
        elif what == "double":
            content = head + tail[:64] + tail
        else:
            content = head
    return content


def picture(kind: str, mode: str = "RGB", **options) -> bytes:
    noise = np.random.RandomState(0).randint(0, 256, (11, 13, 4), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a beach"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)  # GPS
    return exif.tobytes()


PICTURES = [
    picture("PNG"),
    picture("PNG", "RGBA", exif=turned()),
    picture("PNG", "P"),
    picture("PNG", "1"),
    picture("PNG", "I;16"),
    picture("JPEG", exif=turned()),
    picture("JPEG", progressive=True),
    picture("JPEG", "CMYK"),
    picture("JPEG", "L"),
    picture("BMP"),
    picture("GIF", "P"),
    picture("TIFF", compression="tiff_lzw"),
    picture("TIFF", "F"),
    picture("TIFF", exif=turned()),
    picture("WEBP", exif=turned()),
    picture("WEBP", "RGBA", lossless=True),
    *(picture(kind) for kind in ("PPM", "TGA", "PCX", "DDS", "SGI", "ICO")),
    picture("EPS"),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n",
]


@fuzzed
@given(st.sampled_from(PICTURES), changes)
def test_pictures(tmp_path_factory, part, tally, content, edits):
    tally["fuzzed inputs"] += 1
    path = _folder(tmp_path_factory) / "a.png"
    path.write_bytes(changed(content, edits))
    with used_or_refused():
        image = read_image(path)
        assert image.shape[1:] == read_size(path)
    with used_or_refused():
        read_image(path, upright=False)


_made: dict = {}


def _folder(factory, name="fuzz") -> Path:
    """Return a folder of this process, one for all examples of a test."""
    if name not in _made:
        _made[name] = factory.mktemp(name)
    return _made[name]


# What no field expects.
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from(
        [2**24, 2**31, 2**63, 10**30, -(2**63), 0.5, 1e9, 1e308, -1.0,
         float("nan"), float("inf"), "", "0", "1", "-1", "1e5", "\0",
         "x" * 300, "..", "../a.png", "/etc/passwd", "a\nb", "\ud800",
         "\u732b", [], {},
         [[]], [None], [0, 0, 0], {"id": 1}, [[0, 0, 5, 5]]]
    ),
    st.text(max_size=5),
    st.lists(st.integers(-5, 300), max_size=8),
    st.lists(st.floats(), max_size=8),
)  # fmt: skip


def places(content, path=()):
    """Return the paths of all values of a JSON."""
    items = []
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))
    found = [path] if path else []
    for key, value in items:
        found += places(value, (*path, key))
    return found


@st.composite
def json_like(draw, content):
    """Draw a JSON with some of its values changed, gone or doubled."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(content)))
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        what = draw(st.sampled_from(["odd", "odd", "odd", "gone", "twice"]))
        if what == "gone":
            del inner[path[-1]]
        elif what == "twice" and isinstance(inner, list):
            inner.append(inner[path[-1]])
        else:
            # A copy: a list of the strategy's own must stay as it is.
            inner[path[-1]] = json.loads(json.dumps(draw(odd)))
        if not content or not places(content):
            break
    return content


CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1, "color": [200, 30, 30]},
    {"id": 70, "name": "sky", "isthing": 0},
]
PANOPTIC = {
    "images": [
        {"id": i, "file_name": f"{i}.png", "width": 10, "height": 9}
        for i in (1, 2)
    ],
    "annotations": [
        {
            "image_id": i,
            "file_name": f"{i}.png",
            "segments_info": [
                {"id": 5, "category_id": 3, "iscrowd": 0, "area": 45,
                 "bbox": [0, 0, 5, 9]},
                {"id": 600, "category_id": 70, "iscrowd": 0, "area": 45,
                 "bbox": [5, 0, 5, 9]},
            ],
        }
        for i in (1, 2)
    ],
    "categories": CATEGORIES,
}  # fmt: skip


@fuzzed
@given(json_like(PANOPTIC), st.none() | changes)
def test_annotations(tmp_path_factory, part, tally, content, edits):
    tally["fuzzed inputs"] += 1
    folder = _folder(tmp_path_factory, "annotations")
    if not (folder / "images").exists():
        ids = np.zeros((9, 10, 3), np.uint8)
        ids[:, :5, 0], ids[:, 5:] = 5, (600 % 256, 600 // 256, 0)
        for part in ("images", "panoptic"):
            (folder / part).mkdir()
            for i in (1, 2):
                Image.fromarray(ids).save(folder / part / f"{i}.png")
    text = json.dumps(content).encode()
    (folder / "panoptic.json").write_bytes(
        text if edits is None else changed(text, edits)
    )
    problems = None
    with used_or_refused():
        report = check_folder(folder)
        problems = report.problems
        report.lines()
    assert problems is not None, "check lists what is wrong"
    used = None
    with used_or_refused():
        used = [s.boxes() for s in CocoPanoptic.from_folder(folder)]
    # Crowds alone can be read, but are a problem to learn from.
    only_crowds = ["no segment to learn from" in p for p in problems]
    assert (used is None) == (len(problems) > sum(only_crowds))


SQUARE = [1, 1, 6, 1, 6, 6, 1, 6]
INSTANCES = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [
        {"id": 7, "image_id": 1, "category_id": 3, "segmentation": [SQUARE]},
        {
            "id": 8,
            "image_id": 1,
            "category_id": 3,
            "iscrowd": 1,
            "segmentation": {"size": [9, 10], "counts": [9, 40, 41]},
        },
        {
            "id": 9,
            "image_id": 1,
            "category_id": 3,
            "segmentation": {"size": [9, 10], "counts": "97h0"},
        },
    ],
}


@fuzzed
@given(
    json_like(INSTANCES) | st.just(INSTANCES),
    json_like(CATEGORIES) | st.just(CATEGORIES),
    st.booleans(),
)
def test_convert(tmp_path_factory, part, tally, instances, classes, semantic):
    tally["fuzzed inputs"] += 1
    folder = _folder(tmp_path_factory, "convert")
    if not (folder / "a.png").exists():
        Image.new("RGB", (10, 9), "red").save(folder / "a.png")
        (folder / "labels").mkdir()
        Image.new("L", (10, 9), 70).save(folder / "labels" / "a.png")
    (folder / "i.json").write_text(json.dumps(instances))
    (folder / "c.json").write_text(json.dumps(classes))
    number = _made["number"] = _made.get("number", 0) + 1
    out = folder / f"out{number}"
    with used_or_refused():
        convert(
            folder / "i.json",
            folder / "labels" if semantic else None,
            folder,
            folder / "c.json",
            out,
        )
        # What was written can be used; there may be nothing to learn.
        for problem in check_folder(out).problems:
            assert "no segment to learn from" in problem
        list(CocoPanoptic.from_folder(out))
    if out.exists():
        shutil.rmtree(out)
    left = {p.name for p in folder.iterdir()}
    assert left == {"a.png", "labels", "i.json", "c.json"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small model as safetensors, and as a pickle of few tensors."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    model = randomized(build_model(CONFIG, TWO_CLASSES_OF_8))
    save_model(model, folder / "m.safetensors")
    state = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
    torch.save({"model": state}, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder


TWO_CLASSES_OF_8 = [
    *TWO_CLASSES,
    *(Category(100 + i, f"c{i}", True) for i in range(6)),
]


@fuzzed
@given(st.sampled_from(["new.pth", "old.pth", "m.safetensors"]), changes)
def test_bytes_of_weights(tmp_path_factory, part, tally, weights, name, edits):
    tally["fuzzed inputs"] += 1
    content = (weights / name).read_bytes()
    if name == "m.safetensors":  # the header, not the numbers
        size = 8 + struct.unpack("<Q", content[:8])[0]
        content = changed(content[:size], edits) + content[size:]
    else:
        content = changed(content, edits)
    path = _folder(tmp_path_factory, "spoilt") / name
    path.write_bytes(content)
    with used_or_refused():
        read_checkpoint(path)
    with used_or_refused():
        load_model(path, "cpu")


@fuzzed
@given(st.data())
def test_configurations_of_weights(
    tmp_path_factory, part, tally, weights, data
):
    tally["fuzzed inputs"] += 1
    content = (weights / "m.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    text = header["__metadata__"]
    for key in ("config", "categories"):
        if data.draw(st.booleans()):
            value = data.draw(json_like(json.loads(text[key])))
            text[key] = json.dumps(value)
    new = json.dumps(header).encode()
    path = _folder(tmp_path_factory, "spoilt") / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])
    with used_or_refused():
        load_model(path, "cpu")


def zipped(*names) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            kind = zipfile.ZIP_DEFLATED if "b" in name else None
            archive.writestr(name, b"image " * 40, kind)
    return buffer.getvalue()


ZIPS = [
    zipped("val/a.jpg", "val/b.jpg"),
    zipped("val/a.jpg", "val/../../b.jpg", "/val/c.jpg"),
    zipped("val/", "val/deep/a.jpg", "else/b.jpg"),
]


@fuzzed
@given(st.sampled_from(ZIPS), changes)
def test_zips(tmp_path_factory, part, tally, content, edits):
    tally["fuzzed inputs"] += 1
    folder = _folder(tmp_path_factory, "zips")
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    path = inside / "val.zip"
    path.write_bytes(changed(content, edits))
    with used_or_refused():
        unpack(path, "val", inside / "val")
    val = inside / "val"
    shutil.rmtree(val) if val.is_dir() else val.unlink(missing_ok=True)
    assert [p.name for p in inside.iterdir()] == ["val.zip"]
    assert [p.name for p in folder.iterdir()] == ["inside"]


@fuzzed
@given(
    st.recursive(odd, lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_json(tmp_path_factory, part, tally, content):
    tally["fuzzed inputs"] += 1
    path = _folder(tmp_path_factory) / "a.json"
    path.write_text(json.dumps(content))
    with used_or_refused():
        read_json(path)
    with used_or_refused():
        CocoPanoptic(path, path.parent, path.parent)
