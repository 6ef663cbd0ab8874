"""COCO panoptic data sets: pictures, PNGs of segment ids, and one JSON."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detr_lite.errors import DataError, ImageError
from detr_lite.images import read_image
from detr_lite.output import staged
from detr_lite.prediction import Prediction
from detr_lite.samples import (
    Categories,
    Category,
    Sample,
    Split,
    boxes_from_id_map,
)


def ids_to_rgb(id_map: Tensor) -> np.ndarray:
    """Return segment ids as colors: id = R + 256 G + 256^2 B.

    id_map: (H, W) integers below 2^24.  Returns (H, W, 3) uint8.
    """
    ids = id_map.numpy().astype(np.int64)
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(
        np.uint8
    )


def rgb_to_ids(rgb: np.ndarray) -> Tensor:
    """Return the segment ids of an (H, W, 3) uint8 array, (H, W) int32."""
    rgb = rgb.astype(np.int32)
    return torch.from_numpy(rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16)


class CocoPanoptic(Sequence[Sample]):
    """A data set on disk in COCO's panoptic format.

    Reads pictures when they are asked for.  The structure of the JSON and
    the presence of every file are checked at once, what is in the PNGs when
    it is read: DataError names the file and the segment.

    Args:
        annotations: the JSON file.
        images: the folder of the pictures.
        panoptic: the folder of the PNGs.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path,
        panoptic: str | Path,
    ):
        self.path = Path(annotations)
        self._images, self._panoptic = Path(images), Path(panoptic)
        content = _read_json(self.path)
        self.categories = _read_categories(content, self.path)
        self._entries = self._read_entries(content)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "CocoPanoptic":
        """Open FOLDER/panoptic.json with FOLDER/images and /panoptic."""
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(
                f"There is no folder {folder}; make one with "
                f"`detr-lite scenes --out {folder}`."
            )
        return cls(
            folder / "panoptic.json", folder / "images", folder / "panoptic"
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        entry, annotation = self._entries[index]
        name = entry["file_name"]
        png = self._panoptic / annotation["file_name"]
        try:
            image = read_image(self._images / name)
            rgb = read_image(png).permute(1, 2, 0).numpy()
        except ImageError as error:
            raise DataError(str(error)) from None
        if image.shape[1:] != rgb.shape[:2]:
            raise DataError(
                f"{png} has {rgb.shape[1]} x {rgb.shape[0]} pixels but its "
                f"picture {name} has {image.shape[2]} x {image.shape[1]}; "
                "they must be of one size."
            )
        id_map = rgb_to_ids(rgb)
        segments = annotation["segments_info"]
        listed = {s["id"] for s in segments}
        drawn = set(id_map.unique().tolist()) - {0}
        if listed - drawn:
            raise DataError(
                f"{png} has no pixel of segment {min(listed - drawn)}, which "
                f"{self.path} lists; remove the segment from the JSON."
            )
        if drawn - listed:
            raise DataError(
                f"{png} shows segment {min(drawn - listed)}, which "
                f"{self.path} does not list; add it to the JSON."
            )
        labels = [self.categories.label(s["category_id"]) for s in segments]
        return Sample(
            image=image,
            id_map=id_map,
            segment_ids=torch.tensor(
                [s["id"] for s in segments], dtype=torch.int64
            ),
            labels=torch.tensor(labels, dtype=torch.int64),
            crowd=torch.tensor(
                [bool(s.get("iscrowd", 0)) for s in segments],
                dtype=torch.bool,
            ),
            image_id=entry["id"],
            name=Path(name).stem,
        )

    def _read_entries(self, content: dict) -> list[tuple[dict, dict]]:
        """Return (image, annotation) pairs, checked, by ascending id."""
        annotations = {}
        for annotation in content["annotations"]:
            self._need(
                annotation,
                {"image_id": int, "file_name": str, "segments_info": list},
                "an annotation",
            )
            if annotation["image_id"] in annotations:
                raise DataError(
                    f"{self.path} annotates image {annotation['image_id']} "
                    "twice; keep one."
                )
            annotations[annotation["image_id"]] = annotation
        pictures = _names_in(self._images)
        pngs = _names_in(self._panoptic)
        entries = []
        for image in content["images"]:
            self._need(image, {"id": int, "file_name": str}, "an image")
            annotation = annotations.pop(image["id"], None)
            if annotation is None:
                raise DataError(
                    f"{self.path} has no annotation for image {image['id']} "
                    f"({image['file_name']}); add one or remove the image."
                )
            for folder, names, file in (
                (self._images, pictures, image["file_name"]),
                (self._panoptic, pngs, annotation["file_name"]),
            ):
                if file not in names and not (folder / file).is_file():
                    raise DataError(
                        f"{folder / file} is missing, though {self.path} "
                        "lists it; add the file or remove its entry."
                    )
            self._check_segments(image, annotation)
            entries.append((image, annotation))
        if annotations:
            raise DataError(
                f"{self.path} annotates image {next(iter(annotations))}, "
                "which is not among its images; add or remove it."
            )
        if not entries:
            raise DataError(f"{self.path} lists no image; there is no data.")
        return sorted(entries, key=lambda pair: pair[0]["id"])

    def _need(self, item, kinds: dict[str, type], what: str) -> None:
        for key, kind in kinds.items():
            value = item.get(key) if isinstance(item, dict) else None
            if not isinstance(value, kind):
                raise DataError(
                    f'{self.path}: {what} has no "{key}", or a wrong one; '
                    "this is not COCO's panoptic format."
                )

    def _check_segments(self, image: dict, annotation: dict) -> None:
        seen = set()
        for segment in annotation["segments_info"]:
            name = segment.get("id") if isinstance(segment, dict) else None
            picture = image["file_name"]
            where = f"{self.path}: segment {name} of image {picture}"
            if not isinstance(name, int) or not 0 < name < 2**24:
                raise DataError(
                    f"{where}: an id must be a whole number from 1 to "
                    f"{2**24 - 1}, because a PNG color holds it."
                )
            if name in seen:
                raise DataError(f"{where} is listed twice; ids are unique.")
            seen.add(name)
            self._need(segment, {"category_id": int}, f"segment {name}")
            try:
                self.categories.label(segment["category_id"])
            except DataError as error:
                raise DataError(f"{where}: {error}") from None
            self._check_box(segment, image, where)

    @staticmethod
    def _check_box(segment: dict, image: dict, where: str) -> None:
        """Refuse a box that leaves the picture (boxes are optional)."""
        if "bbox" not in segment:
            return
        try:
            x, y, w, h = (float(side) for side in segment["bbox"])
            width = float(image.get("width", "inf"))
            height = float(image.get("height", "inf"))
        except (TypeError, ValueError):
            raise DataError(
                f"{where} has the box {segment['bbox']}; a box is the four "
                "numbers x, y, width, height."
            ) from None
        if min(x, y, w, h) < 0 or x + w > width or y + h > height:
            raise DataError(
                f"{where} has the box {segment['bbox']}, which leaves the "
                f"picture of {width:g} x {height:g} pixels; correct it."
            )


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); a data folder holds "
            "panoptic.json, images/ and panoptic/."
        ) from None
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); write it again."
        ) from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(
            content.get(key), list
        ):
            raise DataError(
                f'{path} has no list "{key}"; '
                "this is not COCO's panoptic format."
            )
    return content


def _read_categories(content: dict, path: Path) -> Categories:
    try:
        return Categories(
            [
                Category(
                    c["id"],
                    c["name"],
                    bool(c["isthing"]),
                    tuple(c.get("color", (128, 128, 128))),
                )
                for c in content["categories"]
            ]
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: a category cannot be read ({error}); each needs id, "
            "name and isthing, and color, if given, is three numbers."
        ) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _names_in(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def categories_json(categories: Categories) -> list[dict]:
    """Return the categories as the JSON holds them."""
    return [
        {
            "id": c.id,
            "name": c.name,
            "isthing": int(c.isthing),
            "color": list(c.color),
        }
        for c in categories
    ]


def write_json(path: Path, content) -> None:
    """Write JSON on one line a list entry would be too long: compact."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")


def write_split(split: Split, folder: Path) -> None:
    """Write a split into an existing folder in COCO's panoptic format.

    FOLDER/images/*.png, FOLDER/panoptic/*.png and FOLDER/panoptic.json.
    """
    (folder / "images").mkdir()
    (folder / "panoptic").mkdir()
    images, annotations = [], []
    for sample in split:
        file = f"{sample.name}.png"
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / "images" / file)
        Image.fromarray(ids_to_rgb(sample.id_map)).save(
            folder / "panoptic" / file
        )
        height, width = sample.id_map.shape
        images.append(
            {
                "id": sample.image_id,
                "file_name": file,
                "width": width,
                "height": height,
            }
        )
        annotations.append(
            {
                "image_id": sample.image_id,
                "file_name": file,
                "segments_info": _segments_info(sample, split.categories),
            }
        )
    write_json(
        folder / "panoptic.json",
        {
            "images": images,
            "annotations": annotations,
            "categories": categories_json(split.categories),
        },
    )


def _segments_info(sample: Sample, categories: Categories) -> list[dict]:
    areas = sample.id_map.flatten().bincount()
    corners = boxes_from_id_map(sample.id_map, sample.segment_ids).int()
    return [
        {
            "id": number,
            "category_id": categories[label].id,
            "area": areas[number].item(),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": int(crowd),
        }
        for number, label, crowd, (x0, y0, x1, y1) in zip(
            sample.segment_ids.tolist(),
            sample.labels.tolist(),
            sample.crowd.tolist(),
            corners.tolist(),
            strict=True,
        )
    ]


def write_predictions(
    predictions: Iterable[tuple[Path, Prediction]],
    categories: Categories,
    folder: Path,
) -> None:
    """Write results in COCO's panoptic format, with pictures to look at.

    FOLDER/panoptic/<stem>.png, FOLDER/overlay/<stem>.png and
    FOLDER/panoptic.json; all of it or nothing.
    """
    images, annotations = [], []
    with staged(folder) as stage:
        (stage / "panoptic").mkdir()
        (stage / "overlay").mkdir()
        for number, (path, prediction) in enumerate(predictions, 1):
            file = f"{path.stem}.png"
            Image.fromarray(ids_to_rgb(prediction.id_map)).save(
                stage / "panoptic" / file
            )
            prediction.overlay().save(stage / "overlay" / file)
            height, width = prediction.id_map.shape
            images.append(
                {
                    "id": number,
                    "file_name": path.name,
                    "width": width,
                    "height": height,
                }
            )
            annotations.append(
                {
                    "image_id": number,
                    "file_name": file,
                    "segments_info": prediction.segments_info(),
                }
            )
        write_json(
            stage / "panoptic.json",
            {
                "images": images,
                "annotations": annotations,
                "categories": categories_json(categories),
            },
        )
