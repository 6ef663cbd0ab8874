"""A small web server and zips, for tests of what is fetched."""

import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from zipfile import ZIP_DEFLATED, ZipFile

import pytest


class Handler(BaseHTTPRequestHandler):
    """Answers with the server's files, and takes notes."""

    def do_GET(self):
        wanted = self.headers.get("Range", "")
        self.server.asked.append(f"{self.path} {wanted}".strip())
        content = self.server.files.get(self.path)
        if callable(content):
            content(self)
        elif content is None or not wanted:
            self.answer(content or b"", 404 if content is None else 200)
        else:
            start, size = int(wanted[6:-1]), len(content)
            place = f"bytes {start}-{size - 1}/{size}"
            code = 206 if start < size else 416
            self.answer(content[start:], code, Content_Range=place)

    def answer(self, body, code=200, length=None, **headers):
        """Send `body`, but announce another length if one is given."""
        self.send_response(code)
        headers["Content-Length"] = str(length or len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serve(files: dict):
    """Serve files by their paths, with ranges, while the block runs.

    files: bytes, or functions that are given the handler and answer.
    Gives a server with `url`, `files`, and `asked`: paths and ranges.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        patch.setenv("no_proxy", "*")
        server.asked, server.files = [], files
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def packed(files: dict, method: int = ZIP_DEFLATED) -> bytes:
    """Return a zip of files by their names, or by ZipInfo."""
    target = io.BytesIO()
    with ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()
