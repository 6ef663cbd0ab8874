"""Fetching files: resumed where it stopped, checked before it counts."""

import hashlib
import http.client
import re
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from detr_lite.errors import ConfigError, DownloadError, OutputError
from detr_lite.files.output import alone, cannot_write

TIMEOUT = 60.0  # seconds without a byte
BLOCK = 2**20


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    progress: bool = True,
) -> Path:
    """Fetch `url` to `path`; return the path.

    The bytes go to PATH.part, which gets its name when the size that the
    server announced and the hash are right.  A part that a broken
    connection left is gone on with, if sha256 is given: without it nobody
    could tell that the rest belongs to the same file.  A file that is there
    already is taken if its hash is right, or if none is given.  Several
    processes may ask for the same file: one fetches it.

    url: http or https.
    sha256: the hash in hexadecimal, whole or its first 8 digits or more.
    progress: draw a bar on stderr, if that is a terminal.
    DownloadError, OutputError or ConfigError say what went wrong.
    """
    path = Path(path)
    if not re.match(r"https?://", url):
        raise ConfigError(f"{url} is no address of http:// or https://.")
    if sha256 is not None:
        sha256 = sha256.lower()
        if not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
            raise ConfigError(
                f"{sha256!r} is no sha256; give 8 to 64 hexadecimal digits."
            )
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file.")
    if _already_there(path, sha256):
        return path
    with alone(path):
        if not _already_there(path, sha256):  # fetched by another meanwhile
            _fetch(url, path, sha256, progress)
    return path


def _already_there(path: Path, sha256: str | None) -> bool:
    if not path.exists():
        return False
    if sha256 and not _digest(path).hexdigest().startswith(sha256):
        raise DownloadError(
            f"{path} is there but is not the file that was published "
            f"(its sha256 does not begin with {sha256[:8]}); remove it and "
            "run the same command again."
        )
    return True


def _digest(path: Path):
    """Return the running hash over what a file holds."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be read ({error.strerror}); mend that or remove "
            "it."
        ) from None


def _fetch(url: str, path: Path, sha256: str | None, progress: bool) -> None:
    part = path.with_name(path.name + ".part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    digest, size = hashlib.sha256(), 0
    if part.exists():
        digest, size = _digest(part), part.stat().st_size
        # A process may have died between the last byte and the new name.
        if digest.hexdigest().startswith(sha256):
            part.replace(path)
            return
    try:
        with _answer(url, size) as response:
            start, total = _range(response, url, size)
            if start != size:
                digest, size = hashlib.sha256(), 0
            _check_room(path, None if total is None else total - size)
            with (
                _opened(part, "ab" if size else "wb") as file,
                tqdm(
                    desc=path.name,
                    initial=size,
                    total=total,
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    disable=None if progress else True,
                ) as bar,
            ):
                for block in _blocks(response, url, size, total):
                    file.write(block)
                    digest.update(block)
                    bar.update(len(block))
        if sha256 and not digest.hexdigest().startswith(sha256):
            part.unlink()
            raise DownloadError(
                f"{url} is not the file that was published: its sha256 "
                f"begins with {digest.hexdigest()[:8]}, not {sha256[:8]}; "
                "nothing was kept, run the same command again."
            )
        try:
            part.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from None
    finally:
        if part.exists() and (sha256 is None or part.stat().st_size == 0):
            part.unlink()  # nothing that could be gone on with


@contextmanager
def _answer(url: str, size: int) -> Iterator[http.client.HTTPResponse]:
    """Ask for a file from byte `size` on; explain what can go wrong."""
    request = urllib.request.Request(url)
    if size:
        request.add_header("Range", f"bytes={size}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and size:  # the part is longer than the file
                response = None
            else:
                advice = (
                    "check the address"
                    if 400 <= error.code < 500 and error.code != 429
                    else "try again later"
                )
                raise DownloadError(
                    f"{url} cannot be fetched: the server answers "
                    f"{error.code} {error.reason}; {advice}."
                ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _no_connection(url, error) from None
    if response is None:
        with _answer(url, 0) as response:
            yield response
        return
    with response:
        yield response


def _no_connection(url: str, error: Exception) -> DownloadError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return DownloadError(
            f"{url} did not answer for {TIMEOUT:g} seconds; run the same "
            "command again."
        )
    if isinstance(reason, socket.gaierror):
        what = "the name of the server cannot be found"
    else:
        what = getattr(reason, "strerror", None) or str(reason) or "no answer"
    return DownloadError(
        f"{url} cannot be reached ({what}); check the network and run the "
        "same command again."
    )


def _range(response, url: str, size: int) -> tuple[int, int | None]:
    """Return the first byte of an answer, and the size of the whole file."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise _web_page(url)
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)",
            response.headers.get("Content-Range", ""),
        )
        if not found or int(found[1]) != size:
            raise DownloadError(
                f"{url} cannot be fetched: the server was asked for the rest "
                f"from byte {size:,} on and answers with another part; "
                "remove the .part file and run the same command again."
            )
        return size, int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _web_page(url: str) -> DownloadError:
    return DownloadError(
        f"{url} gives a web page instead of the file; open it in a browser "
        "to see what it says, for example that you must log in."
    )


def _check_room(path: Path, wanted: int | None) -> None:
    free = shutil.disk_usage(path.parent).free
    if wanted is not None and wanted > free:
        raise OutputError(
            f"{path} needs {wanted / 1e9:.2f} GB more but its disk has "
            f"{free / 1e9:.2f} GB free; make room or name another place."
        )


@contextmanager
def _opened(part: Path, mode: str) -> Iterator[BinaryIO]:
    try:
        with part.open(mode) as file:
            yield file
    except OSError as error:  # of writing: _blocks has none of the network
        raise cannot_write(part, error) from None


def _blocks(response, url, size, total) -> Iterator[bytes]:
    """Give the bytes of an answer, of which `size` came before."""
    broken = False
    while not broken:
        try:
            block = response.read1(BLOCK)
        except (OSError, http.client.HTTPException):
            broken = True
            break
        if not block:
            break
        page = block[:64].lstrip().lower()
        if size == 0 and page.startswith((b"<!doctype", b"<html")):
            raise _web_page(url)
        size += len(block)
        yield block
    if broken or total not in (None, size):
        of = "" if total is None else f" of {total:,}"
        raise DownloadError(
            f"The connection to {url} broke after {size:,}{of} bytes; run "
            "the same command again."
        )
