"""COCO panoptic data sets: images, PNGs of segment ids, and one JSON."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import (
    Entry,
    Files,
    find_files,
    read_content,
    read_entries,
    read_sample,
)
from detr_lite.data.images import read_size
from detr_lite.data.sample import Sample
from detr_lite.data.subsets import Part
from detr_lite.errors import DataError


class CocoPanoptic(Sequence[Sample]):
    """A data set on disk in COCO's panoptic format.

    Reads images when they are asked for.  The structure of the JSON and
    the presence of every file are checked at once, what is in the PNGs when
    it is read: DataError names the file and the segment.

    An image without segments is a sample like any other, and so is one of
    void alone (id 0: pixels that nobody annotated).  A segment may have one
    pixel.  Crowds, which stand for a group of things, are marked in the
    sample; make_targets leaves them out, evaluation ignores what lies there.

    Args:
        annotations: the JSON file.
        images: the folder of the images.
        panoptic: the folder of the PNGs.
        upright: turn images as their orientation tags say; False leaves
            them as they are stored, as the original does, for annotations
            that were made so.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path,
        panoptic: str | Path,
        upright: bool = True,
    ):
        self.upright = upright
        self.files = Files(Path(annotations), Path(images), Path(panoptic))
        content = read_content(self.files.annotations)
        self.categories = Categories.read(
            content["categories"], str(self.files.annotations)
        )
        self._entries: list[Entry] = []
        for entry in read_entries(content, self.categories, self.files):
            if isinstance(entry, str):
                raise DataError(entry)
            self._entries.append(entry)
        # Ids may be texts, which have no order with numbers.
        self._entries.sort(
            key=lambda e: (isinstance(e.image_id, str), e.image_id)
        )

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        split: str | None = None,
        upright: bool = True,
    ) -> "CocoPanoptic":
        """Open a folder in our layout or in COCO's; see find_files.

        split: for COCO's layout, like "val2017", if the folder has several.
        """
        return cls(*find_files(folder, split), upright)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index) -> Any:
        if isinstance(index, slice):
            return Part(self, range(len(self))[index])
        sample, problems = read_sample(
            self._entries[index], self.files, self.upright
        )
        if problems:
            raise DataError(problems[0])
        return sample

    @cached_property
    def fingerprint(self) -> dict:
        """The hash of the JSON: images may move, annotations may not."""
        content = self.files.annotations.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        told = {"images": len(self), "annotations": f"sha256 {digest}"}
        return told if self.upright else told | {"upright": False}

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each image, by the JSON; none is opened for it.

        Only where the JSON does not say is the head of the file read.
        """
        return [
            entry.size
            or read_size(self.files.images / entry.file_name, self.upright)
            for entry in self._entries
        ]

    @property
    def segment_counts(self) -> list[int]:
        """The number of segments of each image, crowds not counted."""
        return [
            int((entry.segments[:, 2] == 0).sum()) for entry in self._entries
        ]

    def subset(
        self,
        count: int | None = None,
        seed: int = 0,
        categories: Sequence[str | int] | None = None,
    ) -> Part:
        """Return some of the images, in their order.

        count: how many, drawn by the seed (default: all that qualify);
        categories: names or ids of classes; only images that show a
        segment of one of them, crowds included, qualify.
        """
        chosen = range(len(self))
        if categories is not None:
            labels = [self._label(name) for name in categories]
            chosen = [
                i
                for i, entry in enumerate(self._entries)
                if np.isin(entry.segments[:, 1], labels).any()
            ]
        if count is None:
            count = len(chosen)
        if not 0 < count <= len(chosen):
            raise DataError(
                f"{self.files.annotations} has {len(chosen)} such images; "
                f"a subset of {count} cannot be taken."
            )
        if count < len(chosen):
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(chosen), generator=generator)
            chosen = sorted(chosen[i] for i in order[:count].tolist())
        return Part(self, chosen)

    def _label(self, name: str | int) -> int:
        for label, category in enumerate(self.categories):
            if name in (category.name, category.id):
                return label
        names = ", ".join(c.name for c in self.categories)
        raise DataError(f"There is no class {name!r}; there are {names}.")
