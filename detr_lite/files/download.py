"""Fetching files: resumed where it stopped, checked before it counts.

Handmade: after a break torch.hub and pooch begin again, huggingface_hub goes
on with files of its own hub alone, and gdown checks no hash when it resumes.
"""

import hashlib
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from detr_lite.errors import ConfigError, DownloadError, OutputError
from detr_lite.files.output import alone

TIMEOUT = 60.0  # seconds without a byte


def download(url: str, path: str | Path, sha256: str | None = None) -> Path:
    """Fetch `url` to `path`, unless it is there; return the path.

    The bytes go to PATH.part, which gets its name when size and hash are
    right.  With a hash, a part that an earlier call left is continued.
    Several processes may ask for the same file: one fetches it.

    sha256: lower-case hexadecimal digits, all or the first few.
    DownloadError, OutputError or ConfigError say what went wrong, also
    where a file is there that has another hash.
    """
    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url} is no address of http:// or https://.")
    try:
        if not path.exists():
            with alone(path):
                if not path.exists():  # not fetched by another meanwhile
                    _fetch(url, path, sha256)
                    return path
        if not _matches(path, sha256):
            raise DownloadError(
                f"{path} is there but is not the file that was published; "
                "remove it and run the same command again."
            )
    except (OSError, HTTPException, ValueError) as error:
        reason = " ".join(str(error).strip("<>").split())
        raise DownloadError(
            f"{url} cannot be fetched to {path} ({reason}); fix that and run "
            "the same command again."
        ) from error
    return path


def check_room(path: Path, wanted: int) -> None:
    """Raise OutputError unless the disk has room for that many bytes."""
    place = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise OutputError(
            f"{path} needs {wanted / 1e9:.2f} GB more but its disk has "
            f"{free / 1e9:.2f} GB free; make room or name another place."
        )


def _fetch(url: str, path: Path, sha256: str | None) -> None:
    part = path.with_name(f"{path.name}.part")
    _receive(url, part, resume=sha256 is not None)
    if not _matches(part, sha256):
        part.unlink()
        raise DownloadError(
            f"{url} is not the file that was published, by its sha256; "
            "nothing was kept, run the same command again."
        )
    part.replace(path)


def _receive(url: str, part: Path, resume: bool) -> None:
    """Write to a part what it lacks."""
    size = part.stat().st_size if resume and part.exists() else 0
    headers = {"Range": f"bytes={size}-"} if size else {}
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code != 416 or not size:
            raise
        return  # nothing follows: the hash tells whether the part is whole
    with answer:
        total = answer.length  # None if the server does not say
        if answer.status == 206:
            place = answer.headers.get("Content-Range", "")
            found = re.fullmatch(rf"bytes {size}-\d+/(\d+)", place)
            if not found:
                raise DownloadError(
                    f"{url} was asked for from byte {size:,} on but answers "
                    f"with another range; remove {part} and try again."
                )
            total = int(found[1])
        else:
            size = 0
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise DownloadError(
                f"{url} gives a web page instead of the file; open it in a "
                "browser to see what it says."
            )
        check_room(part, (total or 0) - size)
        bar = {"desc": part.stem, "leave": False, "disable": None}
        with (
            tqdm.wrapattr(answer, "read", total, initial=size, **bar) as rest,
            part.open("ab" if size else "wb") as file,
        ):
            shutil.copyfileobj(rest, file)
    size = part.stat().st_size
    if total not in (None, size):
        raise DownloadError(
            f"The connection to {url} broke after {size:,} of {total:,} "
            "bytes; run the same command again."
        )


def _matches(path: Path, sha256: str | None) -> bool:
    if sha256 is None:
        return True
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith(sha256)
