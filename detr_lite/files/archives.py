"""Unpacking zips: whole or not at all, and nowhere else.

zipfile itself leads `..`, absolute names and links into the folder, and
compares checksums; handmade is what it lacks: all or nothing, and a limit.
"""

import shutil
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from tqdm import tqdm

from detr_lite.errors import DataError

RATIO = 100  # of unpacked to packed, at most; bombs reach 1,000
# What zipfile raises on a zip that is broken, encrypted or of another method.
DAMAGE = (BadZipFile, EOFError, RuntimeError, ValueError, zlib.error)


def unpack(zip_path: Path, name: str, goal: Path) -> None:
    """Unpack one file or folder of a zip to `goal`, unless it is there.

    It grows in a hidden folder beside, and gets its name when every checksum
    was right: what is there is whole.

    name: as in the zip, without a slash at its end.
    DataError says what is wrong with the zip, or with the place.
    """
    if goal.exists():
        return
    stage = goal.with_name(f".unfinished-{goal.name}")
    # A process that was killed may have left one.
    shutil.rmtree(stage, ignore_errors=True)
    try:
        with ZipFile(zip_path) as archive:
            members = [
                member
                for member in archive.infolist()
                if f"{member.filename}/".startswith(f"{name}/")
            ]
            if not members:
                raise DataError(f"{zip_path} has no {name} in it.")
            size = sum(member.file_size for member in members)
            if size > RATIO * zip_path.stat().st_size:
                raise DataError(
                    f"{zip_path} would unpack to {size:,} bytes, more than "
                    f"{RATIO} times its own; it is not unpacked."
                )
            for member in tqdm(
                members, f"unpack {goal.name}", leave=False, disable=None
            ):
                archive.extract(member, stage)
        (stage / name).rename(goal)
    except (*DAMAGE, OSError) as error:
        raise DataError(
            f"{zip_path} cannot be unpacked to {goal} ({error}); fix that "
            "or remove the zip, and run the same command again."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
