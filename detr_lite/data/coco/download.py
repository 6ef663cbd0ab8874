"""COCO's pictures and panoptic annotations of 2017, fetched and unpacked."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detr_lite.errors import ConfigError, DataError, OutputError
from detr_lite.files.archives import unpack, unpack_file
from detr_lite.files.download import download

BASE = "http://images.cocodataset.org"


@dataclass(frozen=True)
class Archive:
    """A zip as it was published.

    Attributes:
        place: its address below the base.
        size: bytes.
        sha256: hexadecimal.  COCO's own site gives none; these are the ones
            that tensorflow_datasets checks, found by others since too.
    """

    place: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.place.rpartition("/")[2]


ANNOTATIONS = Archive(
    "annotations/panoptic_annotations_trainval2017.zip",
    860_725_834,
    "c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
)


@dataclass(frozen=True)
class CocoSplit:
    """One part of COCO.

    Attributes:
        images: the pictures' zip; stored as they are, so they are as large.
        pictures: their number.
        annotations: about the bytes that JSON and PNGs take on a disk,
            with the zip in the zip while it is there.
        next: what to run with it.
    """

    images: Archive
    pictures: int
    annotations: int
    next: str


SPLITS = {
    "val": CocoSplit(
        Archive(
            "zips/val2017.zip",
            815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        ),
        5_000,
        150_000_000,
        "detr-lite evaluate --model detr_resnet50_panoptic --data {folder} "
        "--split val2017",
    ),
    "train": CocoSplit(
        Archive(
            "zips/train2017.zip",
            19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        ),
        118_287,
        2_500_000_000,
        "detr-lite train --preset coco --data {folder} --out runs/coco",
    ),
}


def download_coco(
    split: str,
    folder: str | Path,
    base: str = BASE,
    say: Callable[[str], None] = print,
) -> None:
    """Fetch a split and unpack it; go on where an earlier call stopped.

    In the folder there are then, for example, val2017/*.jpg,
    annotations/panoptic_val2017.json and annotations/panoptic_val2017/*.png;
    the zips are gone.  They are checked by sha256, their files by the
    checksums in the zips, and at the end the files are counted.

    split: "val" or "train".
    base: the address that "zips" and "annotations" are below.
    say: is told what will be done, and what was.
    ConfigError, DownloadError, DataError or OutputError say what is wrong.
    """
    if split not in SPLITS:
        raise ConfigError(
            f"COCO has no split {split!r} with panoptic annotations; name "
            f"one of {', '.join(SPLITS)}."
        )
    part, folder, name = SPLITS[split], Path(folder), f"{split}2017"
    pictures = folder / name
    annotations = folder / "annotations"
    json = annotations / f"panoptic_{name}.json"
    pngs = annotations / f"panoptic_{name}"
    # Each step's result appears when it is whole, so what is there is done.
    need_pictures = not pictures.exists()
    need_annotations = not (json.exists() and pngs.exists())
    _check_room(part, folder, need_pictures, need_annotations, say)
    if need_pictures:
        path = _fetch(part.images, folder, base)
        unpack(path, pictures, inside=name)
        path.unlink(missing_ok=True)
    if need_annotations:
        path = _fetch(ANNOTATIONS, folder, base)
        if not json.exists():
            unpack_file(path, f"annotations/{json.name}", json)
        if not pngs.exists():
            inner = annotations / f"{pngs.name}.zip"
            unpack_file(path, f"annotations/{inner.name}", inner)
            unpack(inner, pngs, inside=pngs.name)
            inner.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    _count(pictures, pngs, part.pictures)
    say(f"{part.pictures:,} pictures, each with its PNG, are in {folder}.")
    say("Next: " + part.next.format(folder=folder))


def _fetch(archive: Archive, folder: Path, base: str) -> Path:
    return download(
        f"{base.rstrip('/')}/{archive.place}",
        folder / archive.name,
        sha256=archive.sha256,
    )


def _check_room(part, folder, need_pictures, need_annotations, say) -> None:
    """Say how much is fetched and what it takes, or that there is no room."""
    fetched, peak, kept = [], 0, 0
    if need_pictures:
        fetched.append(part.images)
        peak = 2 * part.images.size
        kept += part.images.size
    if need_annotations:
        fetched.append(ANNOTATIONS)
        peak = max(peak, kept + ANNOTATIONS.size + part.annotations)
        kept += part.annotations
    there = sum(_bytes_there(folder, archive) for archive in fetched)
    if not fetched:
        return
    say(
        "To fetch: "
        + " and ".join(f"{a.name} ({a.size / 1e9:.2f} GB)" for a in fetched)
        + (f", of which {there / 1e9:.2f} GB are there" if there else "")
        + f"; they take {kept / 1e9:.1f} GB of disk in {folder}, and up to "
        f"{peak / 1e9:.1f} GB on the way."
    )
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if peak - there > free:
        raise OutputError(
            f"{folder} needs {(peak - there) / 1e9:.1f} GB but its disk has "
            f"{free / 1e9:.1f} GB free; make room or name another place."
        )


def _bytes_there(folder: Path, archive: Archive) -> int:
    for name in (archive.name, f"{archive.name}.part"):
        if (folder / name).exists():
            return (folder / name).stat().st_size
    return 0


def _count(pictures: Path, pngs: Path, wanted: int) -> None:
    """Raise DataError unless all pictures and their PNGs are there."""
    stems = [
        {path.stem for path in folder.glob(f"*{suffix}")}
        for folder, suffix in ((pictures, ".jpg"), (pngs, ".png"))
    ]
    for folder, found in zip((pictures, pngs), stems, strict=True):
        if len(found) != wanted:
            raise DataError(
                f"{folder} holds {len(found):,} files, not {wanted:,}; "
                "remove it and run the same command again."
            )
    alone = stems[0] - stems[1]
    if alone:
        raise DataError(
            f"{pngs} has no PNG of the picture {min(alone)}.jpg; remove "
            "both folders and run the same command again."
        )
