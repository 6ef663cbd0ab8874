"""COCO is fetched and unpacked, and gone on with where it stopped."""

import hashlib
import io
import shlex
import shutil
import zipfile
from dataclasses import replace

import pytest

from detr_lite.cli.download import EXAMPLE
from detr_lite.cli.main import main
from detr_lite.data.coco import download as coco_download
from detr_lite.data.coco.download import SPLITS, download_coco
from detr_lite.errors import ConfigError, DataError, DownloadError, OutputError
from detr_lite.files import archives

STEMS = ["000000000001", "000000000002", "000000000003"]


def packed(files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def pictures(name, stems=STEMS):
    return packed({f"{name}/{s}.jpg": f"picture {s}" for s in stems})


def annotations(stems=STEMS):
    """Zips in a zip, and what macOS adds, as COCO has them."""
    files = {"annotations/": "", "__MACOSX/annotations/._x": "attributes"}
    for name in ("train2017", "val2017"):
        inner = {f"panoptic_{name}/{s}.png": f"ids {s}" for s in stems}
        inner[f"__MACOSX/panoptic_{name}/._1"] = "attributes"
        files[f"annotations/panoptic_{name}.zip"] = packed(inner)
        files[f"annotations/panoptic_{name}.json"] = f"the JSON of {name}"
    return packed(files)


class Site:
    """Stands for the server: what it has, and what was fetched."""

    def __init__(self, monkeypatch):
        self.files, self.fetched = {}, []
        monkeypatch.setattr(coco_download, "download", self.download)
        for split in SPLITS:
            name = f"{split}2017"
            images = self.put(SPLITS[split].images, pictures(name))
            part = replace(SPLITS[split], images=images, pictures=3)
            monkeypatch.setitem(SPLITS, split, part)
        monkeypatch.setattr(
            coco_download,
            "ANNOTATIONS",
            self.put(coco_download.ANNOTATIONS, annotations()),
        )

    def put(self, archive, content):
        self.files[archive.place] = content
        digest = hashlib.sha256(content).hexdigest()
        return replace(archive, size=len(content), sha256=digest)

    def download(self, url, path, *, sha256):
        place = url.removeprefix("http://images.cocodataset.org/")
        if not path.exists():
            self.fetched.append(path.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.files[place])
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            path.unlink()
            raise DownloadError(f"{url} is another file.")
        return path


@pytest.fixture
def site(monkeypatch):
    return Site(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "coco"


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_text("latin-1")
        for p in folder.rglob("*")
        if p.is_file()
    }


def expected(name):
    there = {f"{name}/{s}.jpg": f"picture {s}" for s in STEMS}
    there |= {
        f"annotations/panoptic_{name}/{s}.png": f"ids {s}" for s in STEMS
    }
    there[f"annotations/panoptic_{name}.json"] = f"the JSON of {name}"
    return there


@pytest.mark.parametrize("split", ["val", "train"])
def test_a_split_is_laid_out_as_its_users_expect(site, folder, split):
    download_coco(split, folder)
    assert files(folder) == expected(f"{split}2017")


def test_one_split_beside_the_other(site, folder):
    download_coco("val", folder)
    download_coco("train", folder)
    assert files(folder) == expected("val2017") | expected("train2017")


def test_it_says_what_it_will_do_and_what_to_do_next(site, folder, capsys):
    download_coco("val", folder)
    first, found, after = capsys.readouterr().out.splitlines()
    assert "val2017.zip (0.00 GB) and panoptic_annotations_" in first
    assert "on the way" in first
    assert found == f"3 pictures, each with its PNG, are in {folder}."
    assert after.startswith("Next: detr-lite ")
    assert str(folder) in after


def test_again_fetches_nothing(site, folder, capsys):
    download_coco("val", folder)
    site.fetched.clear()
    capsys.readouterr()
    download_coco("val", folder)
    assert site.fetched == []
    assert "To fetch" not in capsys.readouterr().out


@pytest.mark.parametrize("stop", range(8))
def test_a_stop_anywhere_does_no_harm(site, folder, monkeypatch, stop):
    """Ctrl-C at each file that is written; then the same again."""
    write, count = archives._write, iter(range(100))

    def stopped(*arguments):
        if next(count) == stop:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(archives, "_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        download_coco("val", folder)
    there = files(folder).items()
    zips = {item for item in there if item[0].endswith(".zip")}
    assert there - zips <= expected("val2017").items()
    monkeypatch.setattr(archives, "_write", write)
    download_coco("val", folder)
    assert files(folder) == expected("val2017")
    assert len(site.fetched) == 2  # nothing twice


def test_a_missing_part_is_made_again(site, folder):
    download_coco("val", folder)
    (folder / "annotations/panoptic_val2017.json").unlink()
    download_coco("val", folder)
    assert files(folder) == expected("val2017")
    shutil.rmtree(folder / "val2017")
    download_coco("val", folder)
    assert files(folder) == expected("val2017")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("val2017", "jpg"), ("annotations/panoptic_val2017", "png")],
)
def test_a_folder_that_lacks_files_is_noticed(site, folder, name, kind):
    download_coco("val", folder)
    (folder / name / f"{STEMS[1]}.{kind}").unlink()
    with pytest.raises(DataError, match=f"{name} holds 2 files, not 3"):
        download_coco("val", folder)


def test_a_png_of_another_picture_is_noticed(site, folder):
    download_coco("val", folder)
    pngs = folder / "annotations/panoptic_val2017"
    (pngs / f"{STEMS[0]}.png").rename(pngs / "7.png")
    with pytest.raises(DataError, match=f"no PNG of .*{STEMS[0]}"):
        download_coco("val", folder)


def test_another_zip_than_the_published_is_refused(site, folder):
    site.files["zips/val2017.zip"] = pictures("val2017", STEMS[:2])
    with pytest.raises(DownloadError):
        download_coco("val", folder)
    assert files(folder) == {}


def test_a_full_disk_is_said_before(site, folder, monkeypatch):
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OutputError, match=r"needs 0\.2 GB"):
        download_coco("val", folder)
    assert site.fetched == []
    assert not folder.exists()


def test_what_is_there_needs_no_room_again(site, folder, monkeypatch):
    """The zip and its files take twice its size, of which one is there."""
    big = 10**9
    images = replace(SPLITS["val"].images, size=big)
    monkeypatch.setitem(SPLITS, "val", replace(SPLITS["val"], images=images))
    usage = type("Usage", (), {"free": 2 * big - 10**6})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OutputError, match=r"needs 2\.0 GB"):
        download_coco("val", folder)
    folder.mkdir(parents=True)
    with (folder / "val2017.zip.part").open("wb") as file:
        file.truncate(2 * 10**6)
    said = []
    download_coco("val", folder, say=said.append)
    assert "of which 0.00 GB are there" in said[0]


def test_an_unknown_split(folder):
    with pytest.raises(ConfigError, match=r"'test'.*val, train"):
        download_coco("test", folder)


def test_the_published_sizes_are_plausible():
    """Bytes a picture: a slip of a digit would be seen."""
    for part in SPLITS.values():
        assert 150_000 < part.images.size / part.pictures < 175_000
        assert len(part.images.sha256) == 64
    assert len(coco_download.ANNOTATIONS.sha256) == 64


def test_the_example_in_the_help_runs(site, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(EXAMPLE)[1:]) == 0
    assert files(tmp_path / "data/coco") == expected("val2017")
    assert "Next: detr-lite" in capsys.readouterr().out


def test_another_place_of_the_zips(site, folder, capsys):
    site.files = {f"http://my.mirror/{k}": v for k, v in site.files.items()}
    arguments = ["--out", str(folder), "--base", "http://my.mirror/"]
    assert main(["download", "coco-panoptic", *arguments]) == 0
    assert files(folder) == expected("val2017")


def test_an_error_is_one_line(site, folder, capsys):
    command = ["download", "coco-panoptic", "--split", "test"]
    assert main([*command, "--out", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("detr-lite: COCO has no split 'test'")
    assert error.count("\n") == 1


def test_weights_are_fetched_by_name(monkeypatch, capsys, tmp_path):
    asked = []

    def instead(source):
        asked.append(source.name)
        return tmp_path / "weights.pth"

    monkeypatch.setattr("detr_lite.weights.catalog.source_file", instead)
    assert main(["download", "detr_resnet50_panoptic"]) == 0
    assert asked == ["detr_resnet50_panoptic"]
    first, after = capsys.readouterr().out.splitlines()
    assert first.endswith(f"is in {tmp_path / 'weights.pth'}.")
    assert "--model detr_resnet50_panoptic" in after


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
