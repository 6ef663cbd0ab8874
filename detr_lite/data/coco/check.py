"""Checking a whole data set: every problem, and what it consists of."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detr_lite.data.categories import Categories
from detr_lite.data.coco.format import (
    Entry,
    Files,
    find_files,
    read_categories,
    read_entries,
    read_json,
    read_sample,
)
from detr_lite.data.sample import Sample
from detr_lite.errors import DataError

QUERIES = 100  # of the paper's models
FEW, THIN = 10, 2  # segments of a class; pixels of a side


@dataclass
class Report:
    """What was found in a data set.

    Attributes:
        problems: a sentence each; with any, the data cannot be used.
        warnings: a sentence each; what training may suffer from.
        pictures: how many could be read.
        classes: how many segments each class has, in the data's order.
        most: (segments, picture) of the picture with most segments.
        crowds: how many of the segments are crowds.
        pixels, void: pixels in all, and those of no segment.
        smallest: (pixels, id, picture) of the smallest segments.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pictures: int = 0
    classes: Counter = field(default_factory=Counter)
    most: tuple[int, str] = (0, "none")
    crowds: int = 0
    pixels: int = 0
    void: int = 0
    smallest: list[tuple[int, int, str]] = field(default_factory=list)

    def count(self, sample: Sample, categories: Categories) -> None:
        """Count one picture, and warn of what is in it."""
        ids, boxes = sample.drawn
        areas = np.unique(sample.id_map.numpy(), return_counts=True)[1]
        area = dict(zip(ids.tolist(), areas.tolist(), strict=True))
        side = dict(
            zip(
                ids.tolist(),
                (boxes[:, 2:] - boxes[:, :2]).min(1).tolist(),
                strict=True,
            )
        )
        self.pictures += 1
        self.pixels += sample.id_map.numel()
        self.void += area.get(0, 0)
        self.crowds += int(sample.crowd.sum())
        self.most = max(
            self.most, (len(sample.labels), sample.name), key=lambda m: m[0]
        )
        if len(sample.labels) > QUERIES:
            self.warnings.append(
                f"{sample.name} has {len(sample.labels)} segments, more than "
                f"the usual {QUERIES} queries; give the model more."
            )
        for number, label in zip(
            sample.segment_ids.tolist(), sample.labels.tolist(), strict=True
        ):
            self.classes[categories[label].name] += 1
            self.smallest.append((area[number], number, sample.name))
            if side[number] < THIN:
                self.warnings.append(
                    f"{sample.name}: the box of segment {number} is "
                    f"{side[number]} pixel thin; such boxes are hard to find."
                )
        self.smallest = sorted(self.smallest)[:5]

    def lines(self) -> list[str]:
        """Return the figures as lines to print."""
        segments = self.classes.total()
        return [
            f"{self.pictures} pictures, {segments} segments: "
            f"{segments / max(self.pictures, 1):.1f} a picture, at most "
            f"{self.most[0]} ({self.most[1]}); {self.crowds} crowds",
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
) -> Report:
    """Return what is wrong with a data set, and what it consists of.

    folder, split: as for CocoPanoptic.from_folder, which raises the first
    of the problems; progress: wraps the entries that are read.
    """
    report = Report()
    try:
        files = find_files(folder, split)
        content = read_json(files.annotations)
        categories = read_categories(content, files.annotations)
    except DataError as error:  # nothing more can be said
        report.problems.append(str(error))
        return report
    entries = []
    for found in read_entries(content, categories, files):
        (report.problems if isinstance(found, str) else entries).append(found)
    del content  # of a large data set a gigabyte
    report.classes.update({c.name: 0 for c in categories})
    _read_all(report, progress(entries), files, categories)
    report.warnings += [
        f"The class {name} has {n} segments; it may not be learned."
        for name, n in report.classes.items()
        if n < FEW
    ]
    return report


def _read_all(
    report: Report,
    entries: Iterable[Entry],
    files: Files,
    categories: Categories,
) -> None:
    for entry in entries:
        sample, problems = read_sample(entry, files)
        report.problems += problems
        if not problems:
            report.count(sample, categories)
