"""Unpacking zips that come from elsewhere: all of one, and nowhere else."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from detr_lite.errors import DataError, OutputError
from detr_lite.files.output import alone, cannot_write, staged_file


def unpack(
    zip_path: str | Path,
    folder: str | Path,
    *,
    inside: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> Path:
    """Unpack a zip into a new folder; return the folder.

    The names and sizes of all members are looked at before anything is
    written.  The files grow in a hidden folder beside, which gets its name
    when every checksum was right: a folder that is there is whole.  What a
    process that was killed has left is cleared by the next; of several that
    unpack to one folder, the first does it for all.

    inside: unpack only what lies in this folder of the zip, without it.
    limit: the most bytes that the files may have (default: 100 times the
        zip's, and at least 100 MB).
    progress: draw a bar on stderr, if that is a terminal.
    DataError says what is wrong with the zip, OutputError with the folder.
    """
    zip_path, folder = Path(zip_path), Path(folder)
    with _opened(zip_path) as archive:
        members = _members(archive, zip_path, inside)
        wanted = sum(m.file_size for m in members.values())
        if limit is None:
            limit = max(100 * zip_path.stat().st_size, 10**8)
        if wanted > limit:
            raise DataError(
                f"{zip_path} would unpack to {wanted:,} bytes, more than "
                f"the {limit:,} that are plausible; it is not unpacked."
            )
        if folder.exists():
            raise OutputError(
                f"{folder} is there already; remove it or name another."
            )
        with alone(folder):
            if folder.exists():  # unpacked by another meanwhile
                return folder
            _check_room(folder, wanted)
            stage = folder.with_name(f".unfinished-{folder.name}")
            try:
                shutil.rmtree(stage, ignore_errors=True)
                stage.mkdir()
                with tqdm(
                    members.items(),
                    f"unpack {folder.name}",
                    leave=False,
                    disable=None if progress else True,
                ) as bar:
                    for name, member in bar:
                        _write(archive, member, stage / name, zip_path)
                stage.rename(folder)
            except OSError as error:
                raise cannot_write(folder, error) from None
            finally:
                shutil.rmtree(stage, ignore_errors=True)
    return folder


def unpack_file(zip_path: str | Path, name: str, path: str | Path) -> Path:
    """Unpack one file of a zip to `path`; return the path.

    The file gets its name when its checksum was right; see unpack.
    """
    zip_path, path = Path(zip_path), Path(path)
    with _opened(zip_path) as archive:
        member = _members(archive, zip_path, None).get(name)
        if member is None:
            raise DataError(f"{zip_path} has no file {name} in it.")
        with staged_file(path) as part:
            _check_room(path, member.file_size)
            _write(archive, member, part, zip_path)
    return path


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); mend that."
        ) from None
    except zipfile.BadZipFile as error:
        raise _broken(path, error) from None


def _broken(path: Path, reason: object) -> DataError:
    return DataError(
        f"{path} is not a whole zip file ({str(reason).rstrip('.')}); it may "
        "be cut off: remove it and fetch it again."
    )


def _members(
    archive: zipfile.ZipFile, path: Path, inside: str | None
) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by where they go; refuse what is hostile."""
    members: dict[str, zipfile.ZipInfo] = {}
    places: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        # On Windows both slashes part names, and C: leaves the folder.
        parts = PureWindowsPath(name)
        if parts.drive or parts.root or ".." in parts.parts or "\\" in name:
            raise _refused(path, name, "lies outside of the folder")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, name, "is a link or a device")
        if member.flag_bits & 1:
            raise _refused(path, name, "is encrypted")
        # Where upper and lower case are one, the second would win.
        place = "/".join(parts.parts)
        if place.lower() in places:
            raise _refused(path, name, "is in it twice")
        places.add(place.lower())
        # macOS adds a twin of each file, with its attributes.
        if member.is_dir() or parts.parts[:1] == ("__MACOSX",):
            continue
        if inside is None:
            members[place] = member
        elif place.startswith(f"{inside}/"):
            members[place.removeprefix(f"{inside}/")] = member
    if not members:
        where = f" in {inside}/" if inside else ""
        raise DataError(f"{path} has no files{where}.")
    return members


def _refused(path: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{path} is not unpacked: {name!r} in it {what}; fetch the zip from "
        "a place that you trust."
    )


def _check_room(place: Path, wanted: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if wanted > free:
        raise OutputError(
            f"{place} needs {wanted / 1e9:.2f} GB but its disk has "
            f"{free / 1e9:.2f} GB free; make room or name another place."
        )


def _write(archive, member: zipfile.ZipInfo, goal: Path, zip_path) -> None:
    """Write one file; zipfile compares size and checksum at its end."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    with goal.open("wb") as file:
        try:
            with archive.open(member) as source:
                shutil.copyfileobj(source, file, 2**20)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _broken(zip_path, error or "it ends early") from None
        except NotImplementedError as error:
            raise DataError(
                f"{zip_path} cannot be unpacked ({error}); pack it anew "
                "with the usual method, deflate."
            ) from None
        if file.tell() != member.file_size:
            raise _broken(zip_path, f"{member.filename} ends early")
