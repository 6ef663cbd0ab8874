"""COCO is fetched and unpacked, and continued where it stopped."""

import hashlib
import shlex
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from fetching import packed, serve
from support import contents

from detr_lite.cli.download import EXAMPLE
from detr_lite.cli.main import main
from detr_lite.data.coco.download import COUNTS, ZIPS, download_coco
from detr_lite.errors import DataError, DownloadError, OutputError

ANNOTATIONS = "/annotations/panoptic_annotations_trainval2017.zip"
IMAGES = "/zips/val2017.zip"


def images(name):
    return {f"{name}/{i}.jpg": b"image %d" % i for i in range(3)}


def annotations(name):
    pngs = {f"panoptic_{name}/{i}.png": b"ids %d" % i for i in range(3)}
    return pngs | {f"panoptic_{name}.json": b"the JSON"}


def expected(name):
    below = {f"annotations/{k}": v for k, v in annotations(name).items()}
    return images(name) | below


@pytest.fixture
def site(monkeypatch):
    """A server of a small COCO: zips in a zip, and what macOS adds."""
    inside, zips = {"annotations/": "", "__MACOSX/annotations/._x": ""}, {}
    for split in COUNTS:
        name = f"{split}2017"
        pngs = annotations(name) | {"__MACOSX/._1.png": ""}
        json = f"panoptic_{name}.json"
        inside[f"annotations/{json}"] = pngs.pop(json)
        inside[f"annotations/panoptic_{name}.zip"] = packed(pngs)
        zips[f"/zips/{name}.zip"] = packed(images(name))
        monkeypatch.setitem(COUNTS, split, 3)
    zips[ANNOTATIONS] = packed(inside)
    for place, content in zips.items():
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(ZIPS, place[1:], (len(content), digest))
    with serve(zips) as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "coco"


def test_splits_are_fetched_once_and_it_is_said(site, folder, capsys):
    for _ in range(2):
        download_coco("val", folder, site.url)
        assert contents(folder) == expected("val2017")
        assert site.asked == [IMAGES, ANNOTATIONS]
    first, *others = capsys.readouterr().out.splitlines()
    assert "To fetch: val2017.zip (0.00 GB) and panoptic_annotations_" in first
    found = f"3 images, each with its PNG, are in {folder}."
    assert others[:3:2] == [found, found]
    assert others[1].startswith("Next: detr-lite evaluate ")
    assert others[1].endswith(f"--data {folder}")
    download_coco("train", folder, f"{site.url}/")
    assert contents(folder) == expected("val2017") | expected("train2017")


@pytest.mark.parametrize("stop", range(8))
def test_a_stop_anywhere_does_no_harm(site, folder, monkeypatch, stop):
    """Ctrl-C at each file that is written; then the same again."""
    extract, count = zipfile.ZipFile.extract, iter(range(100))

    def stopped(*arguments):
        if next(count) == stop:
            raise KeyboardInterrupt
        extract(*arguments)

    monkeypatch.setattr(zipfile.ZipFile, "extract", stopped)
    with pytest.raises(KeyboardInterrupt):
        download_coco("val", folder, site.url)
    there = {k: v for k, v in contents(folder).items() if k[-4:] != ".zip"}
    assert there.items() <= expected("val2017").items()
    download_coco("val", folder, site.url)
    assert contents(folder) == expected("val2017")
    assert site.asked == [IMAGES, ANNOTATIONS]  # nothing twice


@pytest.mark.parametrize("place", [IMAGES, ANNOTATIONS])
def test_another_zip_is_refused_and_half_a_zip_resumed(site, folder, place):
    whole = site.files[place]
    for bad, words in (
        (lambda h: h.answer(whole[:-1] + b"!"), "not the file that was"),
        (lambda h: h.answer(whole[:99], length=len(whole)), "broke after"),
    ):
        site.files[place] = bad
        with pytest.raises(DownloadError, match=words):
            download_coco("val", folder, site.url)
    site.files[place] = whole
    download_coco("val", folder, site.url)
    assert contents(folder) == expected("val2017")
    assert f"{place} bytes=99-" in site.asked


def test_two_at_once_fetch_once(site, folder):
    with ThreadPoolExecutor(2) as pool:
        arguments = ["val"] * 2, [folder] * 2, [site.url] * 2
        list(pool.map(download_coco, *arguments))
    assert contents(folder) == expected("val2017")
    assert site.asked == [IMAGES, ANNOTATIONS]


def test_what_is_missing_is_made_again_or_named(site, folder):
    pngs = folder / "annotations/panoptic_val2017"
    download_coco("val", folder, site.url)
    pngs.with_suffix(".json").unlink()
    shutil.rmtree(folder / "val2017")
    download_coco("val", folder, site.url)
    assert contents(folder) == expected("val2017")
    for file in (pngs / "1.png", folder / "val2017/2.jpg"):
        file.unlink()
        with pytest.raises(DataError, match=f"{file.parent} holds 2 files"):
            download_coco("val", folder, site.url)


def test_a_full_disk_is_said_before(site, folder, monkeypatch):
    """A zip and its files take twice its size; what is there, none."""
    monkeypatch.setitem(ZIPS, IMAGES[1:], (10**9, ZIPS[IMAGES[1:]][1]))
    usage = type("Usage", (), {"free": 2 * 10**9 - 99})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OutputError, match=r"needs 2\.00 GB"):
        download_coco("val", folder, site.url)
    assert site.asked == []
    assert not folder.exists()
    folder.mkdir(parents=True)
    (folder / "val2017.zip.part").write_bytes(site.files[IMAGES][:99])
    download_coco("val", folder, site.url)


def test_the_published_sizes_are_plausible():
    """Bytes an image: a slip of a digit would be seen."""
    for split, count in COUNTS.items():
        assert 150_000 < ZIPS[f"zips/{split}2017.zip"][0] / count < 175_000
    assert all(len(sha256) == 64 for _, sha256 in ZIPS.values())


def test_the_example_in_the_help_runs(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("detr_lite.data.coco.download.BASE", site.url)
    assert main(shlex.split(EXAMPLE)[1:]) == 0
    assert contents(tmp_path / "data/coco") == expected("val2017")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["coco-panoptic", "--split", "test", "--out", "x"], "val, train"),
        (["coco-panoptic"], "--out DIR"),
        (["detr_resnet7"], "detr_resnet7 cannot be fetched"),
        (["detr_resnet50", "--out", "here"], "leave it out"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(capsys, arguments, words):
    assert main(["download", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
