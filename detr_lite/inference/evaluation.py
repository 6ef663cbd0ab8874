"""Evaluation: box AP and panoptic quality of a model on a split."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from detr_lite.data.batch import pad_images
from detr_lite.data.categories import Categories
from detr_lite.data.resizing import resize_picture
from detr_lite.data.sample import Sample, Split
from detr_lite.data.subsets import relabel
from detr_lite.errors import ConfigError, DataError
from detr_lite.inference.box_ap import BoxAP
from detr_lite.inference.model import (
    DetectionModel,
    PanopticModel,
    evaluating,
)
from detr_lite.panoptic import Panoptic, panoptic_results
from detr_lite.panoptic_quality import PanopticQuality

PIXELS = 1_500_000  # that are evaluated at a time


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one split.

    Attributes:
        metrics: box_ap, box_ap50, pq, sq, rq, and the last three for
            things and stuff alone.
        per_class: for each class name its pq, sq, rq, box_ap, tp, fp, fn.
        images: how many pictures were counted.
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

    batch_size: pictures at a time (default: 32 of the scenes, of larger
    ones fewer, down to one of DETR's 800 x 1333 pixels).
    masks=False counts boxes alone; progress wraps the range of batches;
    accelerator: of several processes, each of which takes its share of the
    batches; all return what one process alone would.
    mode: how stuff is merged; see panoptic_segmentation.
    results: called with each sample and its segmentation; of several
    processes each calls it with its share.

    The model may know more classes than the data, joined by category id:
    the figures are those of the data's classes.  What it finds of another
    class is no class's false positive (panopticapi refuses such results),
    but pays by the pixels it takes.  DataError names a class of the data
    that the model does not know.
    """
    if masks and not model.config.masks:
        raise ConfigError(
            "The model finds boxes and makes no masks; evaluate it with "
            "masks=False."
        )
    categories = model.categories
    there = split.categories
    split = relabel(split, categories)
    counted = [categories.label(c.id) for c in there]
    limits = (model.config.shortest, model.config.longest)
    if batch_size is None:
        batch_size = min(max(PIXELS // (limits[0] * limits[1]), 1), 32)
    isthing = [c.isthing for c in categories]
    device = next(model.parameters()).device
    starts = range(0, len(split), batch_size)
    if accelerator is not None:
        starts = starts[accelerator.process_index :: accelerator.num_processes]
    counted_batches = []
    with torch.inference_mode(), evaluating(model):
        for start in progress(starts) if progress else starts:
            quality = PanopticQuality(len(isthing))
            box_ap = BoxAP(len(isthing))
            counted_batches.append((start, quality, box_ap))
            stop = min(start + batch_size, len(split))
            samples = [split[i] for i in range(start, stop)]
            pictures = [resize_picture(s.image, *limits) for s in samples]
            images, padding_mask = (x.to(device) for x in pad_images(pictures))
            if masks:
                output = model(images, padding_mask)
            else:
                output = model.detr(images, padding_mask)
            scores = output.class_logits.softmax(-1)[..., :-1]
            for i, sample in enumerate(samples):
                box_ap.update(
                    tuple(sample.id_map.shape),
                    scores[i].cpu(),
                    output.boxes[i].cpu(),
                    sample.labels,
                    sample.boxes(),
                    sample.crowd,
                )
            if masks:
                segmentations = panoptic_results(
                    output,
                    isthing,
                    tuple(images.shape[-2:]),
                    [tuple(p.shape[-2:]) for p in pictures],
                    [tuple(s.id_map.shape) for s in samples],
                    mode=mode,
                )
                for result, sample in zip(segmentations, samples, strict=True):
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
    quality, box_ap = _sums(counted_batches, len(isthing), accelerator)
    if not box_ap.segments:
        raise DataError(
            "The data have no segment at all, or crowds alone; there is "
            "nothing to compare the model with."
        )
    return _summarize(categories, counted, quality, box_ap, len(split), masks)


def _sums(
    batches: list[tuple[int, PanopticQuality, BoxAP]],
    num_classes: int,
    accelerator,
) -> tuple[PanopticQuality, BoxAP]:
    """Return the counts of all batches, those of other processes too.

    Always batch by batch in the data's order: sums of floats depend on it.
    """
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        batches = gather_object(batches)
    quality, box_ap = PanopticQuality(num_classes), BoxAP(num_classes)
    for _, some_quality, some_boxes in sorted(batches, key=lambda b: b[0]):
        for name in ("iou", "tp", "fp", "fn"):
            counts = getattr(quality, name)
            counts += getattr(some_quality, name)
        box_ap.add(some_boxes)
    return quality, box_ap


def to_json(result: Evaluation) -> str:
    """Return the figures as JSON, the metrics on the top level."""
    content = {
        **result.metrics,
        "images": result.images,
        "per_class": {
            name: {k: None if v != v else v for k, v in row.items()}
            for name, row in result.per_class.items()
        },
    }
    return json.dumps(content, indent=1) + "\n"


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
    boxes = box_ap.result()
    per_box = boxes.pop("per_class")
    metrics = dict(boxes)
    things = [i for i in labels if categories[i].isthing]
    stuff = [i for i in labels if not categories[i].isthing]
    if masks:
        metrics |= quality.result(labels)
        for name, group in (("things", things), ("stuff", stuff)):
            for key, value in quality.result(group).items():
                metrics[f"{key}_{name}"] = value
    per_class = {}
    for i in labels:
        row = {"box_ap": per_box[i]}
        if masks:
            row |= quality.result([i])
            row |= {
                name: int(getattr(quality, name)[i])
                for name in ("tp", "fp", "fn")
            }
        per_class[categories[i].name] = row
    return Evaluation(metrics, per_class, images)
