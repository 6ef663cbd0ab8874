"""Writing results: all of them or none, and never half a file."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from detr_lite.errors import ConfigError, OutputError

MARKER = ".detr-lite"  # a file in a folder of results: which command's
LOCK = ".detr-lite.lock"  # held while somebody writes there
PART = ".unfinished-"  # how the names begin of what is not whole
MOVES = ".moves"  # in a staged folder whose files move: the names of all
# Seconds to wait for a lock: workers of a killed run outlive it by five.
PATIENCE = 10.0


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error that tells a user why a place cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(
        f"{path} cannot be written ({reason}); fix that or name another place."
    )


def expanded(path: str | Path) -> Path:
    """Return a path whose ~ is written out; ConfigError if it is nobody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{path} begins with a home that there is not; write the path out."
        ) from error


@contextmanager
def entered(
    folder: str | Path, command: str, new: bool = False, known: bool = False
) -> Iterator[Path]:
    """Hold a folder for the results of a command; nobody else may enter it.

    It is made if it is not there.  What a killed run of the command left
    unfinished is cleared away.  Whose folder it is stands in its file MARKER;
    see check_folder.  After an error nothing is left of an empty folder.

    new: refuse a folder that holds results already; known: ask for no
    MARKER, for the folder is known to be the command's.
    OutputError says why a folder cannot be entered.
    """
    folder = expanded(folder)
    lock = FileLock(folder / LOCK)
    marker = folder / MARKER
    try:
        if not known:
            check_folder(folder, command, new)
        created = _locked(lock, PATIENCE)
    except Timeout as error:
        raise OutputError(
            f"Another process writes to {folder}; let it end, or name "
            "another folder."
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        if not known:
            check_folder(folder, command, new)  # it may have waited
        try:
            for path in _half_moved(folder) if new else ():
                path.unlink(missing_ok=True)
            for part in folder.glob(f"{PART}*"):
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink()
            # At the start: what a killed command leaves is its own, too.
            if not known:
                marker.write_text(command)
        except OSError as error:
            raise cannot_write(folder, error) from error
        yield folder
    finally:
        with suppress(OSError):
            if {p.name for p in folder.iterdir()} == {LOCK, MARKER}:
                marker.unlink()
        _release(lock)
        _remove(created)


@contextmanager
def staged(
    folder: str | Path, command: str | None = None, new: bool = False
) -> Iterator[Path]:
    """Give a temporary folder whose files move into `folder` at the end.

    On any error nothing is moved and nothing is left.  Files of the same
    name are replaced, others stay: so name the command whose results they
    are, and a folder that holds anything else is refused; see `entered`.
    OutputError says why a folder cannot be written to.
    """
    folder = expanded(folder)
    with entered(folder, command, new) if command else nullcontext():
        created = _missing_parents(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=PART, dir=folder))
        except OSError as error:
            _remove(created)
            raise cannot_write(folder, error) from error
        try:
            yield stage
            files = sorted(p for p in stage.rglob("*") if p.is_file())
            names = [str(p.relative_to(stage)) for p in files]
            if new:
                (stage / PART).write_bytes(os.fsencode("\0".join(names)))
                (stage / PART).rename(stage / MOVES)
            for source, name in zip(files, names, strict=True):
                goal = folder / name
                goal.parent.mkdir(parents=True, exist_ok=True)
                source.replace(goal)
        except OSError as error:
            if _elsewhere(error, folder):
                raise
            raise cannot_write(folder, error) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            _remove(created)


def check_folder(folder: Path, command: str, new: bool = False) -> None:
    """Refuse a folder that holds anything but a command's own results.

    Whose they are stands in its file MARKER.  OutputError if it is not that
    command, if the folder is not empty and has no such file, or if `new` and
    there are results: files, but for those of a killed run, see _half_moved.
    """
    try:
        names = {p.name for p in folder.iterdir()} if folder.exists() else []
        there = {n for n in names if n != LOCK and not n.startswith(PART)}
        marker = folder / MARKER
        ours = marker.is_file() and marker.read_bytes() == command.encode()
        results = new and any(
            _files(folder / name) - _half_moved(folder)
            for name in there - {MARKER}
        )
    except OSError as error:
        raise cannot_write(folder, error) from error
    if results:
        raise OutputError(f"{folder} is not an empty folder; name a new one.")
    if there and not ours:
        raise OutputError(
            f"{folder} is not empty, and what it holds was not written by "
            f"`detr-lite {command}`; name a new folder, so that nothing is "
            "lost."
        )


def _files(path: Path) -> set[Path]:
    """Return a file itself, or what is in a folder and is no folder."""
    if not path.is_dir() or path.is_symlink():
        return {path}
    return {p for p in path.rglob("*") if not p.is_dir() or p.is_symlink()}


def _half_moved(folder: Path) -> set[Path]:
    """Return the files of a killed run whose other files haven't moved."""
    found: set[Path] = set()
    for moves in folder.glob(f"{PART}*/{MOVES}"):
        names = os.fsdecode(moves.read_bytes()).split("\0")
        waiting = {n for n in names if (moves.parent / n).is_file()}
        if waiting:
            found |= {folder / name for name in names if name not in waiting}
    inside = folder.resolve()
    return {p for p in found if p.resolve().is_relative_to(inside)}


def check_file(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a file that is there and is not of the kind we would write."""
    if path.exists() and not is_ours(path):
        raise OutputError(
            f"{path} is there already and holds something else; name a new "
            "file, so that nothing is lost."
        )


@contextmanager
def staged_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` at the end, or nothing.

    One process at a time; what a killed one left is written over.  Where
    `path` is a link, it stays one: the file that it leads to is written.
    """
    path = expanded(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OutputError(
                f"{path} is a link that leads back to itself; name another "
                "place."
            )
    part = path.with_name(f"{PART}{path.name}")
    if path.exists() and not path.is_file():  # such as a device
        raise OutputError(
            f"{path} cannot be written (it is no file); name another place."
        )
    with alone(path):
        try:
            part.touch()  # a place that cannot be written shows at once
            yield part
            part.replace(path)
        except OSError as error:
            if _elsewhere(error, path, part):
                raise
            raise cannot_write(path, error) from error
        finally:
            with suppress(OSError):
                part.unlink()


def _elsewhere(error: OSError, *places: Path) -> bool:
    """Return whether an error is of a file that lies in none of the places."""
    if not isinstance(error.filename, str | bytes):  # such as of a full disk
        return False
    path = Path(os.fsdecode(error.filename)).absolute()
    return not any(path.is_relative_to(p.absolute()) for p in places)


@contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Let one process at a time make `path`; the others wait for it.

    A process that dies, however it does, gives way to the next.  What was
    made meanwhile must be looked for inside.
    """
    path = Path(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        try:
            created = _locked(lock, 0)
        except Timeout:
            print(f"Another process makes {path}: waiting.", file=sys.stderr)
            created = _locked(lock, -1)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        _release(lock)
        _remove(created)


def _locked(lock: FileLock, timeout: float) -> list[Path]:
    """Take a lock; return the folders that had to be made for it.

    They are made again where others remove them meanwhile, whose work
    failed.  timeout: seconds to wait for the lock; -1 waits for ever.
    """
    folder = Path(lock.lock_file).parent
    for tries in reversed(range(100)):
        created = _missing_parents(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout)
            break
        except OSError as error:
            _remove(created)
            if not isinstance(error, FileNotFoundError) or not tries:
                raise
            time.sleep(0.01)
    return created


def _missing_parents(folder: Path) -> list[Path]:
    """Return the folders that writing to `folder` would create."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing


def _release(lock: FileLock) -> None:
    # While it is held: who waits for a file that is gone starts anew.
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()


def _remove(folders: list[Path]) -> None:
    """Remove the folders, innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
