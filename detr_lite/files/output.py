"""Writing results: all of them or none, and never half a file."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detr_lite.errors import OutputError

MARKER = ".detr-lite"  # a file in a folder of results: which command's


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error that tells a user why a place cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(
        f"{path} cannot be written ({reason}); mend that or name another "
        "place."
    )


@contextmanager
def staged(folder: str | Path, command: str | None = None) -> Iterator[Path]:
    """Give a temporary folder whose files move into `folder` at the end.

    On any error nothing is moved and nothing is left.  Files of the same
    name are replaced, others stay: so name the command whose results they
    are, and a folder that holds anything else is refused; see check_folder.
    OutputError says why a folder cannot be written to.
    """
    folder = Path(folder)
    created = _missing_parents(folder)
    marker, marked = folder / MARKER, False
    if command:
        check_folder(folder, command)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if command and not marker.exists():
            # At the start: what a killed command leaves is its own, too.
            marker.write_text(command)
            marked = True
        stage = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        _unmark(marker, marked)
        _remove(created)
        raise cannot_write(folder, error) from None
    done = False
    try:
        yield stage
        for source in sorted(p for p in stage.rglob("*") if p.is_file()):
            goal = folder / source.relative_to(stage)
            goal.parent.mkdir(parents=True, exist_ok=True)
            source.replace(goal)
        done = True
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if not done:
            _unmark(marker, marked)
            _remove(created)


def check_folder(folder: Path, command: str) -> None:
    """Refuse a folder that holds anything but a command's own results.

    Whose they are stands in its file MARKER.  OutputError if it is not that
    command, or if the folder is not empty and has no such file.
    """
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return
        marker = folder / MARKER
        if marker.is_file() and marker.read_bytes() == command.encode():
            return
    except OSError as error:
        raise cannot_write(folder, error) from error
    raise OutputError(
        f"{folder} is not empty, and what it holds was not written by "
        f"`detr-lite {command}`; name a new folder, so that nothing is lost."
    )


def check_file(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a file that is there and is not of the kind we would write."""
    if path.exists() and not is_ours(path):
        raise OutputError(
            f"{path} is there already and holds something else; name a new "
            "file, so that nothing is lost."
        )


@contextmanager
def staged_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` at the end, or nothing."""
    path = Path(path)
    part = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    created, done = _missing_parents(path.parent), False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()  # a place that cannot be written shows at once
        yield part
        part.replace(path)
        done = True
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink()
        if not done:
            _remove(created)


@contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Let one process at a time make `path`; the others wait for it.

    A process that dies, however it does, gives way to the next.  What was
    made meanwhile must be looked for inside.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    created = _missing_parents(path.parent)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"Another process makes {path}: waiting.", file=sys.stderr)
            lock.acquire()
    except OSError as error:
        _remove(created)
        raise cannot_write(path, error) from None
    try:
        yield
    finally:
        # While it is held: who waits for a file that is gone starts anew.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
        _remove(created)


def _missing_parents(folder: Path) -> list[Path]:
    """Return the folders that writing to `folder` would create."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing


def _unmark(marker: Path, marked: bool) -> None:
    """Take back the marker that was set."""
    if marked:
        with suppress(OSError):
            marker.unlink()


def _remove(folders: list[Path]) -> None:
    """Remove the folders, innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
