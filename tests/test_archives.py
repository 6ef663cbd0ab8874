"""Zips are unpacked whole or not at all, and stay in their folder."""

import stat
import zipfile

import pytest
from fetching import packed
from support import contents, refusal

from detr_lite.errors import DataError
from detr_lite.files.archives import unpack

FILES = {
    "val/ä.jpg": bytes(range(256)) * 4,
    "val/deep/2.jpg": b"two",
    "valley.txt": b"another",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.zip"


@pytest.fixture
def goal(tmp_path):
    (tmp_path / "made").mkdir()
    return tmp_path / "made" / "here"


def refused(path, content, goal, words="cannot be unpacked"):
    """Unpacking fails in one sentence and leaves nothing anywhere."""
    path.write_bytes(content)
    with refusal(path, words, error=DataError):
        unpack(path, "val", goal)
    assert sorted(path.parent.rglob("*")) == [goal.parent, path]


def test_a_folder_of_a_zip(path, goal):
    """What a process that was killed has left is no part of it."""
    half = goal.with_name(".unfinished-here") / "val" / "half.jpg"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    path.write_bytes(packed(FILES))
    unpack(path, "val", goal)
    wanted = {"ä.jpg": FILES["val/ä.jpg"], "deep/2.jpg": b"two"}
    assert contents(goal) == wanted
    assert goal.stat().st_mode == goal.parent.stat().st_mode
    path.unlink()
    unpack(path, "val", goal)  # is there already
    assert contents(goal.parent) == {f"here/{k}": wanted[k] for k in wanted}


@pytest.mark.parametrize(
    "name",
    ["../out", "../../out", "../../../out", "/out", "C:/out", "..\\..\\out"],
)
def test_no_member_leaves_the_folder(tmp_path, path, goal, name):
    path.write_bytes(packed({f"val/{name}": b"bad"}))
    unpack(path, "val", goal)
    assert list(contents(goal).values()) == [b"bad"]
    assert len(contents(tmp_path)) == 2  # with the zip


def test_a_link_becomes_a_file(tmp_path, path, goal):
    member = zipfile.ZipInfo("val/link")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    files = {member: str(tmp_path)}
    refused(path, packed(files | {"val/link/out": b"bad"}), goal)
    path.write_bytes(packed(files))
    unpack(path, "val", goal)
    assert not (goal / "link").is_symlink()
    assert contents(goal) == {"link": str(tmp_path).encode()}


def test_bombs_and_others(path, goal):
    bomb = packed({"val/zeros": bytes(10**6)})
    refused(path, bomb, goal, "1,000,000 bytes")
    other = packed({"value": b"", "a/val/b": b""})
    refused(path, other, goal, "has no val in it")


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("mark", "place", "new"),
    [
        (b"PK\3\4", 0, b""),  # cut off, here and in the next two
        (b"PK\3\4", 99, b""),
        (b"PK\5\6", 9, b""),
        (b"PK\3\4", 40, b"\xff" * 8),  # the file itself
        (b"PK\1\2", 8, b"\1"),  # encrypted
        (b"PK\1\2", 10, b"\x63"),  # packed in a way that nobody knows
        (b"PK\1\2", 16, b"\xff\x3f\0\0" * 3),  # longer than it is
        (b"PK\1\2", 50, b"\xff"),  # a name that is no text
    ],
)
def test_a_zip_that_was_changed(path, goal, way, mark, place, new):
    content = packed(FILES, way)
    place += content.index(mark)
    rest = content[place + len(new) :] if new else b""
    refused(path, content[:place] + new + rest, goal)
