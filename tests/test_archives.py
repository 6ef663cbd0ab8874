"""Zips are unpacked whole or not at all, and stay in their folder."""

import errno
import re
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from detr_lite.errors import DataError, OutputError
from detr_lite.files import archives
from detr_lite.files.archives import unpack, unpack_file

FILES = {
    "val/1.jpg": b"one" * 1000,
    "val/deep/2.jpg": b"two",
    "notes.txt": b"",
}


def pack(path, files, method=zipfile.ZIP_DEFLATED):
    """Write a zip; a name may be a ZipInfo."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def packed(tmp_path):
    return pack(tmp_path / "some.zip", FILES)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "here"


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def refused(zip_path, folder, words, **options):
    """Unpacking fails in one sentence and leaves nothing anywhere."""
    before = sorted(zip_path.parent.rglob("*"))
    with pytest.raises(DataError, match=words) as caught:
        unpack(zip_path, folder, **options)
    message = str(caught.value)
    assert str(zip_path) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert sorted(zip_path.parent.rglob("*")) == before


def test_a_zip_unpacks_whole(packed, folder):
    assert unpack(packed, folder) == folder
    assert contents(folder) == FILES
    assert sorted(p.name for p in folder.parent.iterdir()) == ["here"]


def test_a_folder_of_a_zip_unpacks_without_its_name(packed, folder):
    unpack(packed, folder, inside="val")
    assert contents(folder) == {"1.jpg": b"one" * 1000, "deep/2.jpg": b"two"}


def test_what_macos_adds_is_left_out(tmp_path, folder):
    files = {"__MACOSX/val/._1.jpg": b"x", "val/": b"", "val/1.jpg": b"one"}
    unpack(pack(tmp_path / "some.zip", files), folder)
    assert contents(folder) == {"val/1.jpg": b"one"}


def test_others_may_read_what_was_unpacked(packed, folder):
    """As with any new file: what the umask says."""
    unpack(packed, folder)
    plain = folder.parent / "plain"
    plain.mkdir()
    assert folder.stat().st_mode == plain.stat().st_mode


def test_one_file_of_a_zip(packed, tmp_path):
    path = tmp_path / "new" / "one.jpg"
    assert unpack_file(packed, "val/1.jpg", path) == path
    assert path.read_bytes() == FILES["val/1.jpg"]
    with pytest.raises(DataError, match="has no file 3"):
        unpack_file(packed, "3", tmp_path / "other" / "3")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "val/../../out.txt",
        "/out.txt",
        "//server/share/out.txt",
        "C:/out.txt",
        "C:out.txt",
        "..\\out.txt",
        "val\\..\\..\\out.txt",
        "\\out.txt",
        "val\\out.txt",  # or a strange name, elsewhere than on Windows
    ],
)
def test_members_that_leave_the_folder(tmp_path, folder, name):
    """Also behind a good one: nothing is written before all are seen."""
    bad = pack(tmp_path / "bad.zip", {"good.txt": b"good", name: b"bad"})
    refused(bad, folder, re.escape(repr(name)) + ".*outside")


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO]
)
def test_links_and_devices(tmp_path, folder, kind):
    member = zipfile.ZipInfo("link")
    member.create_system = 3
    member.external_attr = (kind | 0o777) << 16
    bad = pack(tmp_path / "bad.zip", {"good.txt": b"", member: b"/etc"})
    refused(bad, folder, "'link' in it is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "./a")])
def test_one_file_twice(tmp_path, folder, names):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    refused(tmp_path / "bad.zip", folder, "twice")


def test_a_file_in_the_way_of_a_folder(tmp_path, folder):
    bad = pack(tmp_path / "bad.zip", {"a": b"file", "a/b": b"in it"})
    with pytest.raises(OutputError):
        unpack(bad, folder)
    assert not folder.parent.exists()


def test_a_zip_that_needs_a_password(tmp_path, folder, packed):
    content = bytearray(packed.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    packed.write_bytes(content)
    refused(packed, folder, "encrypted")


def test_bombs(tmp_path, folder):
    limit = 10**6
    bomb = pack(tmp_path / "bomb.zip", {"zeros": bytes(limit + 1)})
    assert bomb.stat().st_size < limit / 100
    refused(bomb, folder, "1,000,001 bytes, more than", limit=limit)
    unpack(bomb, folder, limit=limit + 1)


def test_the_limit_is_a_hundred_times_the_zip(tmp_path, folder, packed):
    """A declared size is enough: nothing is read."""
    content = bytearray(packed.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", 2 * 10**8)
    packed.write_bytes(content)
    refused(packed, folder, "200,000,003 bytes, more than")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_member_of_another_size_than_declared(
    tmp_path, folder, packed, change
):
    content = bytearray(packed.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", 3000 + change)
    packed.write_bytes(content)
    refused(packed, folder, "not a whole zip")


def stored(tmp_path):
    return pack(tmp_path / "some.zip", FILES, zipfile.ZIP_STORED)


def test_a_wrong_checksum(tmp_path, folder):
    bad = stored(tmp_path)
    content = bytearray(bad.read_bytes())
    content[content.index(b"oneone")] = 0
    bad.write_bytes(content)
    refused(bad, folder, "Bad CRC-32 for file 'val/1.jpg'")


def test_broken_compression(folder, packed):
    content = bytearray(packed.read_bytes())
    start = content.index(b"val/1.jpg") + len("val/1.jpg")
    content[start : start + 8] = b"\xff" * 8
    packed.write_bytes(content)
    refused(packed, folder, "not a whole zip")


def test_an_unknown_compression(folder, packed):
    content = bytearray(packed.read_bytes())
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(mark) + place] = 99
    packed.write_bytes(content)
    refused(packed, folder, "deflate")


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_zip_that_was_cut_off(folder, packed, keep):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(keep * len(content))])
    refused(packed, folder, "fetch it again")


def test_no_zip(tmp_path, folder):
    refused(tmp_path / "gone.zip", folder, "no file")
    (tmp_path / "folder.zip").mkdir()
    refused(tmp_path / "folder.zip", folder, "cannot be read")
    refused(pack(tmp_path / "empty.zip", {}), folder, "no files")


def test_a_folder_that_the_zip_lacks(packed, folder):
    refused(packed, folder, "no files in train/", inside="train")


def test_a_folder_that_is_there_is_left_alone(packed, folder):
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        unpack(packed, folder)
    assert contents(folder) == {"mine.txt": b"mine"}


def test_a_disk_without_room_is_said_before(packed, folder, monkeypatch):
    usage = type("Usage", (), {"free": 3002})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OutputError, match="GB free"):
        unpack(packed, folder)
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()]
)
def test_a_stop_on_the_way_leaves_nothing(packed, folder, monkeypatch, error):
    def stop(source, file, size):
        file.write(b"half")
        raise error

    monkeypatch.setattr(archives.shutil, "copyfileobj", stop)
    kind = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(kind):
        unpack(packed, folder)
    with pytest.raises(kind):
        unpack_file(packed, "val/1.jpg", folder)
    assert not folder.parent.exists()


def test_a_killed_process_harms_nobody(packed, folder):
    """What it left is no data set, and is cleared by the next."""
    code = (
        "import shutil, sys, time\n"
        "from detr_lite.files.archives import unpack\n"
        "shutil.copyfileobj = lambda *a: (print(flush=True), "
        "time.sleep(99))\n"
        "unpack(*sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, packed, folder], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    left = sorted(p.name for p in folder.parent.iterdir())
    assert left == [".here.lock", ".unfinished-here"]
    unpack(packed, folder)
    assert contents(folder) == FILES
    assert [p.name for p in folder.parent.iterdir()] == ["here"]


def test_several_at_once_unpack_once(packed, folder, monkeypatch):
    write, count = archives._write, []
    alone, barrier = archives.alone, threading.Barrier(3)

    def counted(*arguments):
        count.append(1)
        write(*arguments)

    def together(path):
        barrier.wait()
        return alone(path)

    monkeypatch.setattr(archives, "_write", counted)
    monkeypatch.setattr(archives, "alone", together)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(unpack, packed, folder) for _ in range(3)]
        assert [job.result() for job in jobs] == [folder] * 3
    assert contents(folder) == FILES
    assert len(count) == len(FILES)
