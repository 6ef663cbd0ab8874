"""The site for the tests: built of a book, and served on this machine."""

import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from support import ROOT, ran


def bare_book(root: Path, *left_out: str) -> None:
    """Copy into a new folder what a book needs, but for its pages."""
    skip = shutil.ignore_patterns(
        "__pycache__", "*.ipynb", "*.md", "_toc.yml", *left_out
    )
    for name in ("book", "tools"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    shutil.copy(ROOT / "_config.yml", root)


def build(out: Path, root: Path = ROOT) -> CompletedProcess[str]:
    """Run the tool that builds the site."""
    return ran(sys.executable, root / "tools" / "build_site.py", out)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder while the block runs; give the server's address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
