"""Evaluation: box AP and panoptic quality of a model on a split."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from detr_lite.data.categories import Categories
from detr_lite.data.sample import Sample
from detr_lite.data.split import Split
from detr_lite.data.subsets import relabel
from detr_lite.errors import ConfigError, DataError
from detr_lite.files.ahead import ahead
from detr_lite.inference.batches import FittedBatch, fitted_batches
from detr_lite.inference.box_ap import BoxAP
from detr_lite.inference.model import (
    DetectionModel,
    PanopticModel,
    evaluating,
)
from detr_lite.panoptic import Panoptic, panoptic_results
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.ragged import to_host


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one split.

    Attributes:
        metrics: box_ap, box_ap50, pq, sq, rq, and the last three for
            things and stuff alone.
        per_class: for each class name its pq, sq, rq, box_ap, tp, fp, fn.
        images: how many images were counted.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    images: int


def evaluate(
    model: PanopticModel | DetectionModel,
    split: Split,
    batch_size: int | None = None,
    masks: bool = True,
    progress=None,
    accelerator=None,
    mode: str = "union",
    results: Callable[[Sample, Panoptic], None] | None = None,
) -> Evaluation:
    """Return box AP and PQ of a model on a split.

    batch_size: images at a time; see usual_batch_size.
    masks=False counts boxes alone; progress wraps the range of images;
    accelerator: of several processes, each of which takes its share of the
    images; all return what one process alone would.
    mode: how stuff is merged; see panoptic_segmentation.
    results: called with each sample and its segmentation; of several
    processes each calls it with its share.

    The model may know more classes than the data, joined by category id:
    the figures are those of the data's classes.  What it finds of another
    class is no class's false positive (panopticapi refuses such results),
    but pays by the pixels it takes.  DataError names a class of the data
    that the model does not know.
    """
    if isinstance(split, str | Path):
        raise ConfigError(
            "evaluate takes samples, not a path; open the folder with "
            "CocoPanoptic.from_folder."
        )
    if masks and not model.config.masks:
        raise ConfigError(
            "The model finds boxes and makes no masks; evaluate it with "
            "masks=False."
        )
    categories = model.categories
    there = split.categories
    split = relabel(split, categories)
    device = next(model.parameters()).device
    numbers = range(len(split))
    if accelerator is not None:
        numbers = numbers[
            accelerator.process_index :: accelerator.num_processes
        ]

    def read(number: int) -> tuple[tuple[int, Sample], Tensor]:
        sample = split[number]
        return (number, sample), sample.image

    samples = ahead(read, progress(numbers) if progress else numbers)
    counted = []
    for batch in fitted_batches(samples, model.config, device, batch_size):
        places, shown = zip(*batch.items, strict=True)
        figures = _figures(model, batch, shown, masks, mode, results)
        counted += zip(places, figures, strict=True)
    quality, box_ap = _sums(counted, len(categories), accelerator)
    if not box_ap.segments:
        raise DataError(
            "The data have no segment at all, or crowds alone; there is "
            "nothing to compare the model with."
        )
    labels = [categories.label(c.id) for c in there]
    return _summarize(categories, labels, quality, box_ap, len(split), masks)


@torch.inference_mode()
def _figures(
    model: PanopticModel | DetectionModel,
    batch: FittedBatch,
    samples: Sequence[Sample],
    masks: bool,
    mode: str,
    results: Callable[[Sample, Panoptic], None] | None,
) -> list[tuple[PanopticQuality, BoxAP]]:
    """Return the counts of each image of a batch."""
    sizes = [tuple(s.id_map.shape) for s in samples]
    if masks or not model.config.masks:
        output = model.run(batch)
    else:
        with evaluating(model):
            output = model.detr(batch.images, batch.padding_mask)
    scores = output.class_logits.softmax(-1)[..., :-1]
    found = [None] * len(samples)
    if masks:
        # Copied meanwhile: the results wait for the device.
        columns = [
            x.to("cpu", non_blocking=True) for x in (scores, output.boxes)
        ]
        isthing = [c.isthing for c in model.categories]
        size = batch.padded_size
        found = panoptic_results(
            output, isthing, size, batch.sizes, sizes, mode=mode
        )
    else:
        columns = to_host(scores, output.boxes)
    counted = []
    for sample, size, result, score, boxes in zip(
        samples, sizes, found, *columns, strict=True
    ):
        num_classes = len(model.categories)
        quality, box_ap = PanopticQuality(num_classes), BoxAP(num_classes)
        box_ap.update(
            size, score, boxes, sample.labels, sample.boxes(), sample.crowd
        )
        if result is not None:
            if results is not None:
                results(sample, result)
            ids, labels = sample.segment_ids, sample.labels
            quality.update(
                result.id_map,
                {s.id: s.label for s in result.segments},
                sample.id_map,
                dict(zip(ids.tolist(), labels.tolist(), strict=True)),
                ids[sample.crowd].tolist(),
            )
        counted.append((quality, box_ap))
    return counted


def _sums(
    counted: list[tuple[int, tuple[PanopticQuality, BoxAP]]],
    num_classes: int,
    accelerator,
) -> tuple[PanopticQuality, BoxAP]:
    """Return the counts of all images, those of other processes too.

    Always in the data's order: sums of floats depend on it.
    """
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        counted = gather_object(counted)
    quality, box_ap = PanopticQuality(num_classes), BoxAP(num_classes)
    for _, (some_quality, some_boxes) in sorted(counted, key=itemgetter(0)):
        quality.add(some_quality)
        box_ap.add(some_boxes)
    return quality, box_ap


def to_json(result: Evaluation) -> str:
    """Return the figures as JSON, the metrics on the top level."""
    rest = {"images": result.images, "per_class": result.per_class}
    return as_json(result.metrics | rest)


def as_json(figures: dict) -> str:
    """Return figures as JSON, with null in place of NaN, which JSON lacks."""
    return json.dumps(_without_nan(figures), indent=1) + "\n"


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    return None if content != content else content


def is_evaluation(path: Path) -> bool:
    """Return whether a file holds what to_json gives."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {
        "box_ap",
        "images",
        "per_class",
    } <= set(content)


def _summarize(
    categories: Categories,
    labels: Sequence[int],
    quality: PanopticQuality,
    box_ap: BoxAP,
    images: int,
    masks: bool,
) -> Evaluation:
    boxes = box_ap.compute()
    per_box = boxes.pop("per_class")
    metrics = dict(boxes)
    things = [i for i in labels if categories[i].isthing]
    stuff = [i for i in labels if not categories[i].isthing]
    if masks:
        metrics |= quality.compute(labels)
        for name, group in (("things", things), ("stuff", stuff)):
            for key, value in quality.compute(group).items():
                metrics[f"{key}_{name}"] = value
    per_class = {}
    for i in labels:
        row = {"box_ap": per_box[i]}
        if masks:
            row |= quality.compute([i])
            row |= {
                name: int(getattr(quality, name)[i])
                for name in ("tp", "fp", "fn")
            }
        per_class[categories[i].name] = row
    return Evaluation(metrics, per_class, images)
