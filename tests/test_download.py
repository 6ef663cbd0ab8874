"""Files are fetched whole, checked, and gone on with where they stopped."""

import hashlib
import io
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from detr_lite.errors import ConfigError, DownloadError, OutputError
from detr_lite.files import download as module
from detr_lite.files.download import download

CONTENT = bytes(range(256)) * 2000  # half a megabyte
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `say` tells it, and takes notes."""

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        self.server.say(self)

    def log_message(self, *arguments):
        pass

    def answer(self, body=CONTENT, code=200, announced=None, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if announced is not False:
            length = len(body) if announced is None else announced
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


def whole(handler):
    handler.answer()


def with_ranges(handler):
    wanted = handler.headers.get("Range")
    if wanted is None:
        return handler.answer()
    start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
    size = len(CONTENT)
    if start >= size:
        return handler.answer(b"", 416, Content_Range=f"bytes */{size}")
    return handler.answer(
        CONTENT[start:], 206, Content_Range=f"bytes {start}-{size - 1}/{size}"
    )


def cut_off(handler):
    """Announce all, send 1,000 bytes, and hang up."""
    handler.answer(CONTENT[:1000], announced=len(CONTENT))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.say = [], whole
        server.url = f"http://127.0.0.1:{server.server_port}/file.zip"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "file.zip"


def left(path):
    """Return what lies where the file should come."""
    if not path.parent.exists():
        return []
    return sorted(p.name for p in path.parent.iterdir())


@pytest.mark.parametrize("sha256", [None, SHA, SHA[:8], SHA.upper()])
def test_a_file_comes_whole_and_alone(server, path, sha256):
    assert download(server.url, path, sha256=sha256) == path
    assert path.read_bytes() == CONTENT
    assert left(path) == ["file.zip"]
    download(server.url, path, sha256=sha256)
    assert server.asked == [None]  # once is enough


def test_a_file_without_announced_size(server, path):
    server.say = lambda handler: handler.answer(announced=False)
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT


def test_another_file_of_that_name_is_not_replaced(server, path):
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(DownloadError, match=r"file\.zip is there but is not"):
        download(server.url, path, sha256=SHA)
    assert path.read_text() == "mine"
    assert server.asked == []


@pytest.mark.parametrize("say", [with_ranges, whole])
def test_a_broken_connection_is_gone_on_with(server, path, say):
    """Where the server has no ranges, from the start."""
    server.say = cut_off
    with pytest.raises(DownloadError, match="1,000 of 512,000 bytes; run"):
        download(server.url, path, sha256=SHA)
    assert left(path) == ["file.zip.part"]
    server.say = say
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]
    assert left(path) == ["file.zip"]


def test_a_broken_connection_twice(server, path):
    def cut_again(handler):
        handler.answer(
            CONTENT[1000:3000],
            206,
            announced=511_000,
            Content_Range="bytes 1000-511999/512000",
        )

    for server.say in (cut_off, cut_again):
        with pytest.raises(DownloadError, match="broke after"):
            download(server.url, path, sha256=SHA)
    server.say = with_ranges
    download(server.url, path, sha256=SHA)
    assert server.asked == [None, "bytes=1000-", "bytes=3000-"]
    assert path.read_bytes() == CONTENT


def test_a_broken_stream_without_size_is_noticed(server, path):
    def chunks(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3e8\r\n" + CONTENT[:1000] + b"\r\n3e8\r\nab")
        handler.close_connection = True

    server.say = chunks
    with pytest.raises(DownloadError, match=r"broke after 1,00\d bytes"):
        download(server.url, path)
    assert left(path) == []


def test_without_a_hash_nothing_is_glued_together(server, path):
    server.say = cut_off
    with pytest.raises(DownloadError, match="broke"):
        download(server.url, path)
    assert left(path) == []
    path.parent.mkdir(exist_ok=True)
    path.with_name("file.zip.part").write_bytes(b"of another version")
    server.say = with_ranges
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_part_that_is_whole_needs_no_server(server, path):
    path.parent.mkdir()
    path.with_name("file.zip.part").write_bytes(CONTENT)
    download(server.url, path, sha256=SHA)
    assert (left(path), server.asked) == (["file.zip"], [])


def test_a_part_that_is_too_long_is_fetched_again(server, path):
    path.parent.mkdir()
    path.with_name("file.zip.part").write_bytes(CONTENT + b"!")
    server.say = with_ranges
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=512001-", None]


@pytest.mark.parametrize("content_range", ["bytes 5-9/512000", "", "nonsense"])
def test_another_part_than_was_asked_for_is_refused(
    server, path, content_range
):
    server.say = cut_off
    with pytest.raises(DownloadError):
        download(server.url, path, sha256=SHA)
    server.say = lambda handler: handler.answer(
        CONTENT[:5], 206, Content_Range=content_range
    )
    with pytest.raises(DownloadError, match="from byte 1,000 on"):
        download(server.url, path, sha256=SHA)


def test_a_wrong_hash_leaves_nothing(server, path):
    server.say = lambda handler: handler.answer(CONTENT[:-1] + b"!")
    with pytest.raises(DownloadError, match=f"not {SHA[:8]}; nothing was"):
        download(server.url, path, sha256=SHA)
    assert left(path) == []


def test_a_wrong_part_is_noticed_and_leaves_nothing(server, path):
    path.parent.mkdir()
    path.with_name("file.zip.part").write_bytes(b"something else")
    server.say = with_ranges
    with pytest.raises(DownloadError, match="not the file that was"):
        download(server.url, path, sha256=SHA)
    assert left(path) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"please log in", "text/html; charset=utf-8"),
        (b"\n<!DOCTYPE html><p>log in", "application/zip"),
        (b"<html><p>log in", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("sha256", [None, SHA])
def test_a_web_page_is_refused(server, path, body, kind, sha256):
    server.say = lambda handler: handler.answer(body, Content_Type=kind)
    with pytest.raises(DownloadError, match="web page"):
        download(server.url, path, sha256=sha256)
    assert left(path) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(404, "404 .*check the address"), (503, "503 .*try again later")],
)
def test_what_the_server_says_is_passed_on(server, path, code, words):
    server.say = lambda handler: handler.answer(b"<html>no", code)
    with pytest.raises(DownloadError, match=words) as caught:
        download(server.url, path, sha256=SHA)
    assert server.url in str(caught.value)
    assert not path.parent.exists()  # not even the folder


def test_a_server_that_is_not_there(path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.zip"
        with pytest.raises(DownloadError, match="cannot be reached"):
            download(url, path)
    assert not path.parent.exists()


def test_a_name_that_nobody_has(path, monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match="name of the server"):
        download("http://nowhere.invalid/file.zip", path)


@pytest.mark.parametrize("sent", [0, 1000])
def test_a_server_that_falls_silent(server, path, monkeypatch, sent):
    quiet = threading.Event()

    def silent(handler):
        if sent:
            handler.answer(CONTENT[:sent], announced=len(CONTENT))
            handler.wfile.flush()
        if not quiet.wait(5):  # nobody has lost patience
            handler.answer()

    server.say = silent
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    try:
        with pytest.raises(DownloadError, match="run the same command again"):
            download(server.url, path, sha256=SHA)
    finally:
        quiet.set()
    assert left(path) == (["file.zip.part"] if sent else [])


def test_ctrl_c_keeps_the_part(server, path, monkeypatch):
    blocks = module._blocks

    def stopped(*arguments):
        yield next(blocks(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_blocks", stopped)
    with pytest.raises(KeyboardInterrupt):
        download(server.url, path, sha256=SHA)
    assert left(path) == ["file.zip.part"]
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    server.say = with_ranges
    download(server.url, path, sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert server.asked[1].startswith("bytes=")


def test_several_at_once_fetch_once(server, path, capsys):
    started = threading.Event()

    def slow(handler):
        started.set()
        with_ranges(handler)

    server.say = slow
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(download, server.url, path, sha256=SHA)
            for _ in range(4)
        ]
        assert [job.result() for job in jobs] == [path] * 4
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert left(path) == ["file.zip"]


def test_a_disk_without_room_is_said_before(server, path, monkeypatch):
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: free)
    with pytest.raises(OutputError, match=r"file\.zip needs 0\.00 GB more"):
        download(server.url, path)
    assert left(path) == []


def test_a_disk_that_fills_up_is_said(server, path):
    try:
        full = open("/dev/full", "wb")  # noqa: SIM115
    except OSError:
        pytest.skip("needs /dev/full")
    full.close()
    path.parent.mkdir()
    path.with_name("file.zip.part").symlink_to("/dev/full")
    with (
        pytest.raises(OutputError, match="No space left"),
        module._opened(path.with_name("file.zip.part"), "wb") as file,
    ):
        file.write(CONTENT[:10])  # fails when the file is closed


@pytest.mark.parametrize("place", ["wall/file.zip", "wall/a/file.zip"])
def test_a_place_that_cannot_be_written(server, tmp_path, place):
    (tmp_path / "wall").write_text("in the way")
    with pytest.raises(OutputError, match="wall"):
        download(server.url, tmp_path / place)
    assert server.asked == []


def test_a_folder_is_no_file(server, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        download(server.url, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "a/b"])
def test_only_the_web_is_asked(path, url):
    with pytest.raises(ConfigError, match="http"):
        download(url, path)


@pytest.mark.parametrize("sha256", ["", "abc", "x" * 64, SHA + "0"])
def test_a_hash_that_is_none(server, path, sha256):
    with pytest.raises(ConfigError, match="sha256"):
        download(server.url, path, sha256=sha256)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_is_for_terminals_alone(server, path, monkeypatch, progress):
    screen, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    download(server.url, path, progress=progress)
    assert ("file.zip" in screen.getvalue()) == progress
    assert ("B/s" in screen.getvalue()) == progress
    path.unlink()
    monkeypatch.setattr("sys.stderr", pipe)
    download(server.url, path, progress=progress)
    assert pipe.getvalue() == ""
