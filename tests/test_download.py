"""Files are fetched whole, checked, and continued where they stopped."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fetching import serve
from support import refusal

from detr_lite.errors import ConfigError, DownloadError, OutputError
from detr_lite.files import download as module
from detr_lite.files.download import download

CONTENT = bytes(range(256)) * 2000  # half a megabyte
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serve({"/a.zip": CONTENT}) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "a.zip"


@pytest.fixture
def part(path):
    path.parent.mkdir()
    return path.with_name("a.zip.part")


def fetch(server, path, sha256=SHA):
    """What comes is whole and alone."""
    assert download(f"{server.url}/a.zip", path, sha256) == path
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def refused(server, path, words, sha256=SHA):
    """Nothing gets the file's name; one sentence says why."""
    url = f"{server.url}/a.zip"
    with refusal(url, words, error=DownloadError):
        download(url, path, sha256)
    assert not path.exists()


@pytest.mark.parametrize("sha256", [None, SHA, SHA[:8]])
def test_a_file_is_fetched_once(server, path, sha256, capsys):
    fetch(server, path, sha256)
    fetch(server, path, sha256)
    assert server.asked == ["/a.zip"]
    assert capsys.readouterr().err == ""  # no bar where nobody looks


def test_an_interrupted_download_is_resumed(server, path, part):
    """Also where the second answer breaks off, and just before the name."""
    server.files["/a.zip"] = lambda handler: handler.answer(
        CONTENT[:1000], length=len(CONTENT)
    )
    refused(server, path, "broke after 1,000 of 512,000 bytes")
    server.files["/a.zip"] = lambda handler: handler.answer(
        CONTENT[1000:3000], 206, Content_Range="bytes 1000-2999/512000"
    )
    refused(server, path, "broke after 3,000 of 512,000 bytes")
    server.files["/a.zip"] = CONTENT
    fetch(server, path)
    path.rename(part)
    fetch(server, path)
    starts = [f"/a.zip bytes={start}-" for start in (1000, 3000, 512000)]
    assert server.asked == ["/a.zip", *starts]


@pytest.mark.parametrize("place", ["bytes 5-9/512000", "bytes 1000-9/*", ""])
def test_another_range_than_asked_costs_nothing(server, path, part, place):
    part.write_bytes(CONTENT[:1000])
    server.files["/a.zip"] = lambda handler: handler.answer(
        CONTENT[:5], 206, Content_Range=place
    )
    refused(server, path, "from byte 1,000 on")
    server.files["/a.zip"] = CONTENT
    fetch(server, path)
    assert server.asked == ["/a.zip bytes=1000-"] * 2


@pytest.mark.parametrize("sha256", [None, SHA])
def test_nothing_is_glued_to_what_does_not_belong(server, path, part, sha256):
    """Without a hash nobody could tell; a server may have no ranges."""
    part.write_bytes(b"of another version")
    server.files["/a.zip"] = lambda handler: handler.answer(CONTENT)
    fetch(server, path, sha256)
    assert ("bytes=18-" in server.asked[0]) == bool(sha256)


@pytest.mark.parametrize("start", [b"", b"another", CONTENT + b"!"])
def test_another_content_leaves_nothing(server, path, part, start):
    part.write_bytes(start)
    server.files["/a.zip"] = CONTENT[:-1] + b"!"
    refused(server, path, "not the file that was published")
    assert not part.exists()


def test_another_file_of_that_name_is_not_replaced(server, path, part):
    path.write_text("mine")
    with pytest.raises(DownloadError, match="is there but is not the file"):
        fetch(server, path)
    assert path.read_text() == "mine"
    assert server.asked == []


@pytest.mark.parametrize("sha256", [None, SHA])
@pytest.mark.parametrize(
    ("say", "words"),
    [
        (lambda handler: handler.answer(b"a", length=9), "1 of 9 bytes"),
        (lambda handler: handler.answer(b"", 404), "404"),
        (lambda handler: handler.answer(b"", 416), "416"),
        (lambda h: h.answer(b"log in", Content_Type="text/html"), "web page"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n"), "nonsense"),
        (lambda handler: None, "closed"),
    ],
)
def test_an_answer_that_is_no_file(server, path, say, words, sha256):
    server.files["/a.zip"] = say
    refused(server, path, words, sha256)


def test_a_server_that_falls_silent(server, path, monkeypatch):
    server.files["/a.zip"] = lambda handler: time.sleep(0.5)
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    refused(server, path, "timed out")


def test_several_at_once_fetch_once(server, path):
    server.files["/a.zip"] = lambda h: time.sleep(0.1) or h.answer(CONTENT)
    with ThreadPoolExecutor(4) as pool:
        url, paths = f"{server.url}/a.zip", [path] * 4
        assert list(pool.map(download, [url] * 4, paths, [SHA] * 4)) == paths
    fetch(server, path)
    assert server.asked == ["/a.zip"]


def test_what_the_disk_cannot_take(server, path, part, monkeypatch):
    part.mkdir()
    refused(server, path, "a directory")
    part.rmdir()
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: free)
    with pytest.raises(OutputError, match=r"a\.zip\S* needs 0\.00 GB more"):
        fetch(server, path)
    assert not part.exists()


def test_only_the_web_is_asked(path):
    with pytest.raises(ConfigError, match="http"):
        download("file:///etc/passwd", path)
