"""Checking a whole data set: every problem, and what it consists of."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import (
    Entry,
    find_files,
    read_content,
    read_entries,
    read_sample,
)
from detr_lite.data.images import read_orientation
from detr_lite.data.sample import Sample, areas_of
from detr_lite.errors import DataError

QUERIES = 100  # of the paper's models
FEW, THIN = 10, 2  # segments of a class; pixels of a side


@dataclass
class Report:
    """What was found in a data set.

    Attributes:
        problems: a sentence each; with any, the data cannot be used.
        warnings: a sentence each; what training may suffer from.
        images: how many could be read.
        classes: how many segments each class has, in the data's order;
            without crowds, from which nothing is learned.
        most: (segments, image) of the image with most segments.
        crowds: how many of the segments are crowds.
        untrue: (segment and image, bbox and area that the JSON says, those
            of the pixels), where they differ by more than a pixel.
        pixels, void: pixels in all, and those of no segment.
        smallest: (pixels, id, image) of the smallest segments.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    images: int = 0
    classes: Counter = field(default_factory=Counter)
    most: tuple[int, str] = (0, "none")
    crowds: int = 0
    pixels: int = 0
    void: int = 0
    untrue: list[str] = field(default_factory=list)
    smallest: list[tuple[int, int, str]] = field(default_factory=list)

    def count(self, sample: Sample, categories: Categories) -> None:
        """Count one image, and warn of what is in it."""
        boxes = sample.boxes().int()
        self.images += 1
        self.pixels += sample.id_map.numel()
        self.void += int((sample.id_map == 0).sum())
        self.crowds += int(sample.crowd.sum())
        self.most = max(
            self.most, (len(sample.labels), sample.name), key=lambda m: m[0]
        )
        if len(sample.labels) > QUERIES:
            self.warnings.append(
                f"{sample.name} has {len(sample.labels)} segments, more than "
                f"the usual {QUERIES} queries; give the model more."
            )
        for number, label, crowd, area, side in zip(
            sample.segment_ids.tolist(),
            sample.labels.tolist(),
            sample.crowd.tolist(),
            areas_of(sample.id_map, sample.segment_ids).tolist(),
            (boxes[:, 2:] - boxes[:, :2]).amin(1).tolist(),
            strict=True,
        ):
            if not crowd:
                self.classes[categories[label].name] += 1
            self.smallest.append((area, number, sample.name))
            if side < THIN:
                self.warnings.append(
                    f"{sample.name}: the box of segment {number} is "
                    f"{side} pixel thin; such boxes are hard to find."
                )
        self.smallest = sorted(self.smallest)[:5]

    def compare(self, sample: Sample, told: np.ndarray) -> None:
        """Compare what the JSON says of bbox and area with the pixels.

        told: as in Entry.  They may differ by a pixel, which some tools add.
        """
        boxes = sample.boxes().numpy()
        boxes[:, 2:] -= boxes[:, :2]
        areas = areas_of(sample.id_map, sample.segment_ids)
        true = np.column_stack((boxes, areas))
        # No number: the JSON says nothing, and no comparison is true.
        for row in np.flatnonzero((abs(told - true) > 1.01).any(1)):
            said, is_so = (
                f"bbox {[*values[:4].tolist()]}, area {values[4]:g}"
                for values in (told[row], true[row])
            )
            number = int(sample.segment_ids[row])
            self.untrue.append(
                f"segment {number} of {sample.name}: {said}, by its pixels "
                f"{is_so}"
            )

    def lines(self) -> list[str]:
        """Return the counts as lines to print."""
        segments = self.classes.total() + self.crowds
        crowds = "1 crowd" if self.crowds == 1 else f"{self.crowds} crowds"
        return [
            f"{self.images} images, {segments} segments: "
            f"{segments / max(self.images, 1):.1f} an image, at most "
            f"{self.most[0]} ({self.most[1]}); {crowds}",
            f"void: {100 * self.void / max(self.pixels, 1):.1f} % of all "
            "pixels",
            *(f"  {n:7} {name}" for name, n in self.classes.items()),
            *(
                f"  {area} pixels: segment {number} of {name}"
                for area, number, name in self.smallest
            ),
        ]


def check_folder(
    folder: str | Path,
    split: str | None = None,
    progress: Callable[[Sequence[Entry]], Iterable[Entry]] = iter,
    upright: bool = True,
) -> Report:
    """Return what is wrong with a data set, and what it consists of.

    folder, split, upright: as for CocoPanoptic.from_folder, which raises the
    first of the problems; progress: wraps the entries that are read.
    """
    report = Report()
    try:
        files = find_files(folder, split)
        content = read_content(files.annotations)
        categories = Categories.read(
            content["categories"], str(files.annotations)
        )
    except DataError as error:  # nothing more can be said
        report.problems.append(str(error))
        return report
    entries = []
    for found in read_entries(content, categories, files):
        (report.problems if isinstance(found, str) else entries).append(found)
    del content  # of a large data set a gigabyte
    report.classes.update({c.name: 0 for c in categories})
    for entry in progress(entries):
        sample, problems = read_sample(entry, files, upright)
        report.problems += problems
        if sample is None or problems:
            continue
        report.count(sample, categories)
        report.compare(sample, entry.told)
        path = files.images / entry.file_name
        if upright and (tag := read_orientation(path)) != 1:
            report.warnings.append(
                f"{path} is turned when it is read, for its orientation tag "
                f"is {tag}; its annotation must be of the turned image, or "
                "read it with --as-stored."
            )
    if report.untrue:
        report.warnings.append(
            f"{len(report.untrue)} segments have another bbox or area than "
            f"their pixels, which count, like {report.untrue[0]}."
        )
    report.warnings += [
        f"The class {name} has {n} segments to learn from, crowds apart; it "
        "may not be learned."
        for name, n in report.classes.items()
        if n < FEW
    ]
    if entries and not report.problems and not report.classes.total():
        report.problems.append(
            f"{files.annotations} has no segment to learn from: none at all, "
            "or crowds alone; annotate some."
        )
    return report
