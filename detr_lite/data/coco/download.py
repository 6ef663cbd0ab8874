"""COCO's images and panoptic annotations of 2017, fetched and unpacked.

Handmade: torchvision reads COCO, but neither fetches it nor knows its panoptic
part; tensorflow_datasets, whose hashes these are, keeps it in its own records.
"""

from pathlib import Path

from detr_lite.errors import ConfigError, DataError
from detr_lite.files.archives import unpack
from detr_lite.files.download import check_room, download
from detr_lite.files.output import alone

BASE = "http://images.cocodataset.org"
ANNOTATIONS = "annotations/panoptic_annotations_trainval2017.zip"
# Bytes and sha256 of the zips, by their addresses below BASE.  COCO's own
# site gives no hashes; others have found the same ones since.
ZIPS = {
    "zips/val2017.zip": (
        815_585_330,
        "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
    "zips/train2017.zip": (
        19_336_861_798,
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    ANNOTATIONS: (
        860_725_834,
        "c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
    ),
}
COUNTS = {"val": 5_000, "train": 118_287}  # of images, and of their PNGs
# About the bytes that an image's PNG and its part of the JSON take on a disk,
# with the zip in the zip while it is there.
ANNOTATION = 30_000
NEXT = {
    "val": "evaluate --model detr_resnet50_panoptic --split val2017 --data",
    "train": "train --preset coco --out runs/coco --data",
}


def download_coco(split: str, folder: str | Path, base: str = BASE) -> None:
    """Fetch a split and unpack it; continue where an earlier call stopped.

    In the folder there are then, for example, val2017/*.jpg,
    annotations/panoptic_val2017.json and annotations/panoptic_val2017/*.png;
    the zips are gone.  Prints what will be done, and what was.

    split: "val" or "train".
    base: the address that "zips" and "annotations" are below.
    ConfigError, DownloadError, DataError or OutputError say what is wrong.
    """
    if split not in COUNTS:
        raise ConfigError(
            f"COCO has no split {split!r} with panoptic annotations; name "
            f"one of {', '.join(COUNTS)}."
        )
    folder, count = Path(folder), COUNTS[split]
    images, annotations = folder / f"{split}2017", folder / "annotations"
    pngs = annotations / f"panoptic_{split}2017"
    json, inner = pngs.with_suffix(".json"), pngs.with_suffix(".zip")
    with alone(annotations):  # where both splits write
        # Each result appears when it is whole: what is there is done.
        todo = {}  # zips, and the bytes that are kept of them
        if not images.exists():
            place = f"zips/{images.name}.zip"
            todo[place] = ZIPS[place][0]  # stored as they are
        if not (json.exists() and pngs.exists()):
            todo[ANNOTATIONS] = count * ANNOTATION
        if todo:
            _check_room(todo, folder)
        for place in todo:
            path = folder / Path(place).name
            download(f"{base.rstrip('/')}/{place}", path, ZIPS[place][1])
            if place == ANNOTATIONS:
                unpack(path, f"annotations/{json.name}", json)
                unpack(path, f"annotations/{inner.name}", inner)
                unpack(inner, pngs.name, pngs)
                inner.unlink()
            else:
                unpack(path, images.name, images)
            path.unlink()
    for made, kind in ((images, "jpg"), (pngs, "png")):
        found = len(list(made.glob(f"*.{kind}")))
        if found != count:
            raise DataError(
                f"{made} holds {found:,} files, not {count:,}; remove it "
                "and run the same command again."
            )
    print(f"{count:,} images, each with its PNG, are in {folder}.")
    print(f"Next: detr-lite {NEXT[split]} {folder}")


def _check_room(todo: dict[str, int], folder: Path) -> None:
    """Say what is fetched and how much room it takes, or that it's missing."""
    zips, kept, peak, there = [], 0, 0, 0
    for place, unpacked in todo.items():
        name, size = Path(place).name, ZIPS[place][0]
        zips.append(f"{name} ({size / 1e9:.2f} GB)")
        peak = max(peak, kept + size + unpacked)
        kept += unpacked
        # The zip, or what a call that was interrupted has of it.
        there += sum(p.stat().st_size for p in folder.glob(f"{name}*"))
    print(
        f"To fetch: {' and '.join(zips)}; {folder} takes {kept / 1e9:.1f} GB "
        f"of disk for it, and up to {peak / 1e9:.1f} GB on the way."
    )
    check_room(folder, peak - there)
