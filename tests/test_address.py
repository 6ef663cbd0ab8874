"""One address and one ref, changed everywhere by one command."""

import shutil
from pathlib import Path

import address
import nbformat
import pytest
import weave
import yaml
from support import ROOT, contents, git

URL, REF = "https://github.com/some-org/a-book", "v99.0"


@pytest.fixture
def copy(tmp_path):
    """A copy of all that names the address, beside the package."""
    for pattern in address.PLACES:
        for file in ROOT.glob(pattern):
            place = tmp_path / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    shutil.copytree(ROOT / "book" / "_assets", tmp_path / "book" / "_assets")
    (tmp_path / "detr_lite").symlink_to(ROOT / "detr_lite")
    return tmp_path


def moved(folder: Path, url: str, ref: str) -> None:
    arguments = ["--root", str(folder), "--url", url, "--ref", ref]
    assert address.main(arguments) == 0


def test_the_notebooks_stay_what_their_texts_give(copy, monkeypatch, capsys):
    moved(copy, URL, REF)
    monkeypatch.setattr(weave, "ROOT", copy)
    capsys.readouterr()
    assert weave.main(["--check", "--book", str(copy / "book")]) == 0
    assert capsys.readouterr() == ("", "")


def test_every_notebook_opens_and_installs_what_was_named(copy):
    moved(copy, URL, REF)
    paths = sorted((copy / "book").glob("*.ipynb"))
    assert paths
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells)
        assert f"/github/some-org/a-book/blob/{REF}/book/{path.name}" in text
        assert f'"detr-lite @ git+{URL}.git@{REF}"' in text


def test_nothing_but_addresses_and_ids_changes(copy):
    before = contents(copy)
    moved(copy, URL, REF)
    for name, data in contents(copy).items():
        lines = data.splitlines()
        for old, new in zip(before[name].splitlines(), lines, strict=True):
            if old != new:
                words = (
                    b'"id": ',
                    b"some-org/a-book",
                    b"branch: " + REF.encode(),
                )
                assert any(word in new for word in words), name


def test_the_way_back_leads_to_the_same_bytes(copy):
    before = contents(copy)
    old = address.present(copy)
    moved(copy, URL, REF)
    assert address.present(copy) == (URL, REF)
    assert contents(copy) != before
    moved(copy, *old)
    assert contents(copy) == before


def test_the_ref_is_changed_alone(copy, capsys):
    old, ref = address.present(copy)
    assert address.main(["--root", str(copy), "--ref", REF]) == 0
    assert address.present(copy) == (old, REF)
    said = capsys.readouterr().out
    assert "_config.yml: 1 place\n" in said
    assert "book/01_encoded_image.ipynb: 2 places\n" in said
    assert said.endswith(f"{old} at {ref} is now {old} at {REF}.\n")
    assert address.main(["--root", str(copy), "--ref", REF]) == 0
    assert capsys.readouterr().out.startswith("Nothing to change")


def test_no_other_file_names_the_address():
    """But for the tests, which ask _config.yml."""
    path = address.present(ROOT)[0].removeprefix(address.HOST)
    named = git(ROOT, "grep", "-lF", path).split()
    covered = {
        str(file.relative_to(ROOT))
        for pattern in address.PLACES
        for file in ROOT.glob(pattern)
    }
    assert set(named) <= covered


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("see https://github.com/a/b.", "see https://github.com/c/d."),
        ("git+https://github.com/a/b.git@main.", "git+https://github.com/c/d.git@v1."),
        ("https://github.com/a/b/tree/main", "https://github.com/c/d/tree/v1"),
        ("https://github.com/a/b/blob/mainly/x", "https://github.com/c/d/blob/mainly/x"),
        ("https://github.com/a/b/blob/main.1/x", "https://github.com/c/d/blob/main.1/x"),
        ("https://github.com/a/b-more", "https://github.com/a/b-more"),
        ("https://github.com/za/b", "https://github.com/za/b"),
        ("main is a/b", "main is a/b"),
    ],
)  # fmt: skip
def test_what_only_looks_alike_stays(text, wanted):
    host = address.HOST
    move = address.Move((host + "a/b", "main"), (host + "c/d", "v1"))
    assert move(text) == wanted
    assert move.places == (text != wanted)


@pytest.mark.parametrize(
    "option",
    [
        ["--url", "https://example.org/me/mine"],
        ["--url", "https://github.com/me"],
        ["--ref", "1.0"],
        ["--ref", "no"],
        ["--ref", "a branch"],
    ],
)
def test_what_colab_or_yaml_would_not_take_is_refused(capsys, option):
    with pytest.raises(SystemExit):
        address.main(option)
    assert f"{option[1]} is no " in capsys.readouterr().err


def test_without_an_option_the_present_ones_are_said(capsys):
    assert address.main([]) == 0
    place = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    said = capsys.readouterr().out
    assert said == f"{place['url']} {place['branch']}\n"
