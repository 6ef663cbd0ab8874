"""Faults of real implementations, to switch on and off: the bug museum.

Each fault is a function that stands in for one function of the package.  It
gets the right one as its first argument, so what it does besides calling it
is the fault.

Some faults show only where the lines they change matter, so the situations
in which they do are here too: images of two sizes in a batch, stuff that
two queries share, ids that went through a file.
"""

import copy
import functools
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detr_lite.data.batch import pad_images
from detr_lite.data.coco.format import ids_to_rgb, rgb_to_ids
from detr_lite.data.sample import Sample
from detr_lite.data.split import Split
from detr_lite.errors import ConfigError
from detr_lite.inference.model import PanopticModel
from detr_lite.inference.results import Prediction
from detr_lite.panoptic import panoptic_results
from detr_lite.panoptic_detr import PanopticOutput


@dataclass(frozen=True)
class Fault:
    """One exhibit.

    Attributes:
        title: its name for people.
        description: what goes wrong, in one sentence.
        source: where it happened.
        place: "module:name" of the function that the fault stands in for.
        wrong: the fault; takes the right function, then its arguments.
    """

    title: str
    description: str
    source: str
    place: str
    wrong: Callable


def _batch_first(right, self, x, pos, padding_mask):
    # Attention mixes along dimension 1.  Swapped, that is the batch.
    mixed = right(self, x.transpose(0, 1), pos.transpose(0, 1), None)
    return mixed.transpose(0, 1)


def _positions_lost(right, self, x, query_pos, memory, pos, padding_mask):
    # The keys are the memory alone, without where each position is.
    return right(
        self, x, query_pos, memory, torch.zeros_like(pos), padding_mask
    )


def _padding_mask_lost(right, self, images, padding_mask=None):
    # Nothing is padding any more: the canvas is the image.
    return right(self, images, None)


def _padding_not_cropped(
    right, output, isthing, padded_size, sizes, out_sizes=None, mode="union"
):
    # The whole canvas, padding included, is squeezed into the image.
    canvas = [padded_size] * len(sizes)
    return right(
        output, isthing, padded_size, canvas, out_sizes or sizes, mode
    )


def _no_object_ignored(right, self, images, padding_mask=None):
    # Softmax over the K classes: each query must be one of them.
    output = right(self, images, padding_mask)
    logits = output.layer_logits.clone()
    logits[..., -1] = float("-inf")
    return replace(output, layer_logits=logits)


def _boxes_as_corners(right, boxes):
    # (cx, cy, w, h) is taken for (x0, y0, x1, y1) as it is.
    return boxes


def _memory_swapped(right, self, detection, image_index, query_index):
    # The keys should be the image after the encoder, the CNN's input before.
    swapped = replace(
        detection, src_proj=detection.memory, memory=detection.src_proj
    )
    return right(self, swapped, image_index, query_index)


def _per_head_softmax(right, self, box_embeddings, memory, padding_mask):
    # Each head sums to 1; the weights expect all heads to share a sum of 1.
    other = copy.copy(self)
    other.joint_softmax = False
    return right(other, box_embeddings, memory, padding_mask)


def _stuff_not_merged(
    right, output, isthing, padded_size, sizes, out_sizes=None, mode="union"
):
    # A mask that was merged away counts as too small: it is dropped, and the
    # pixels are given out again, this time without merging.
    return right(output, isthing, padded_size, sizes, out_sizes, "original")


def _bytes_reversed(right, rgb):
    # Blue first, as OpenCV reads images.
    return right(rgb[..., ::-1])


FAULTS: dict[str, Fault] = {
    "batch_first": Fault(
        "Images attend to each other",
        "The encoder takes the batch for the sequence, and images mix.",
        "DETR-Factory-PyTorch, src/models/detr.py; also IBM/TabFormer, pull "
        "request 14",
        "detr_lite.transformer:Encoder.forward",
        _batch_first,
    ),
    "positions_lost": Fault(
        "Keys without a place",
        "The decoder's keys say what is at a position, but not where it is.",
        "the demo notebook of the original adds positions at the input "
        "alone, on purpose and with weights of its own",
        "detr_lite.transformer:DecoderLayer.forward",
        _positions_lost,
    ),
    "padding_mask_lost": Fault(
        "Canvas taken for image",
        "Nothing is marked as padding: the whole canvas is the image.",
        "detrex, projects/detr/modeling/detr.py in evaluation; see its issue "
        "134",
        "detr_lite.detr:DETR.forward",
        _padding_mask_lost,
    ),
    "padding_not_cropped": Fault(
        "Padding resized along",
        "The masks of a padded batch are resized with their padding.",
        "PostProcessPanoptic in the original; probably behind issues 263 and "
        "474 of facebookresearch/detr",
        "detr_lite.panoptic:panoptic_results",
        _padding_not_cropped,
    ),
    "no_object_ignored": Fault(
        "Everybody is something",
        'The softmax leaves "no object" out: each query must name a class.',
        "the question of issue 72 of facebookresearch/detr and of issue 206 "
        "of microsoft/table-transformer",
        "detr_lite.detr:DETR.forward",
        _no_object_ignored,
    ),
    "boxes_as_corners": Fault(
        "Centers read as corners",
        "Boxes (cx, cy, w, h) are taken for corners (x0, y0, x1, y1).",
        "weecology/DeepForest, fixed by pull request 1215; asked about in "
        "issue 614 of facebookresearch/detr",
        "detr_lite.boxes:cxcywh_to_xyxy",
        _boxes_as_corners,
    ),
    "memory_swapped": Fault(
        "Two tensors of one shape",
        "The images before and after the encoder change places.",
        "no code that we know; the README of abdksyed/DETR feeds the mask "
        "head a third tensor, Res5",
        "detr_lite.panoptic_detr:PanopticDETR.add_masks",
        _memory_swapped,
    ),
    "per_head_softmax": Fault(
        "A softmax for each head",
        "Each head has its own softmax; the weights know one over all heads.",
        "the fix of issue 247 of facebookresearch/detr, on weights that were "
        "trained without it: the original is joint (MHAttentionMap)",
        "detr_lite.attention_maps:AttentionMaps.forward",
        _per_head_softmax,
    ),
    "stuff_not_merged": Fault(
        "A merge forgotten",
        "Masks of one stuff class are merged, then the merge is forgotten.",
        "PostProcessPanoptic in the original",
        "detr_lite.panoptic:panoptic_results",
        _stuff_not_merged,
    ),
    "bytes_reversed": Fault(
        "Blue first",
        "Segment ids are decoded from blue, green, red.",
        "OpenCV reads images in that order; wrong ids in a PNG stopped "
        "training in issue 232 of facebookresearch/detr",
        "detr_lite.data.coco.format:rgb_to_ids",
        _bytes_reversed,
    ),
}


@contextmanager
def fault(name: str) -> Iterator[Fault]:
    """Switch a fault on for as long as the block runs, whatever happens.

    name: one of FAULTS; ConfigError names them.  Blocks may stand in each
    other.
    """
    if name not in FAULTS:
        raise ConfigError(
            f"There is no fault {name!r}; choose one of {', '.join(FAULTS)}."
        )
    chosen = FAULTS[name]
    right = pkgutil.resolve_name(chosen.place)

    @functools.wraps(right)
    def wrong(*args, **kwargs):
        return chosen.wrong(right, *args, **kwargs)

    try:
        _replace(chosen.place, right, wrong)
        yield chosen
    finally:
        _replace(chosen.place, wrong, right)


def _replace(place: str, old: Callable, new: Callable) -> None:
    """Put a function in the place of another, wherever that is known.

    A method is known to its class; a function to every module of the package
    that imported it, and to the program that runs (a notebook is one).
    """
    owner, _, name = place.replace(":", ".").rpartition(".")
    homes = [pkgutil.resolve_name(owner)]
    if not isinstance(homes[0], type):
        homes = [
            module
            for path, module in list(sys.modules.items())
            if path.partition(".")[0] in ("detr_lite", "__main__")
        ]
    for home in homes:
        if vars(home).get(name) is old:
            setattr(home, name, new)


class TwoSizes:
    """The samples of a split, in turn without their right and their top.

    A quarter of the columns or of the rows is cut off, and with them the
    segments that lay there alone; so every batch of these is padded.
    """

    def __init__(self, split: Split):
        self.split, self.categories = split, split.categories

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Sample:
        s = self.split[index]
        height, width = s.id_map.shape
        part = (
            (slice(height // 4, None), slice(None))
            if index % 2
            else (slice(None), slice(width * 3 // 4))
        )
        id_map = s.id_map[part]
        there = torch.isin(s.segment_ids, id_map)
        return replace(
            s,
            image=s.image[:, *part],
            id_map=id_map,
            segment_ids=s.segment_ids[there],
            labels=s.labels[there],
            crowd=s.crowd[there],
        )


@torch.inference_mode()
def together(
    model: PanopticModel, images: Sequence[Tensor]
) -> list[Prediction]:
    """Return what a model in eval mode sees in images of one batch.

    images: (3, H, W) uint8 each, any sizes; they are not resized.
    """
    batch, padding_mask = pad_images(images)
    output = model(batch, padding_mask)
    results = panoptic_results(
        output,
        [c.isthing for c in model.categories],
        tuple(batch.shape[-2:]),
        [tuple(i.shape[-2:]) for i in images],
    )
    seen = []
    for i, (image, result) in enumerate(zip(images, results, strict=True)):
        own = output.image_index == i
        maps = dict(
            zip(
                output.query_index[own].tolist(),
                output.attention_maps[own],
                strict=True,
            )
        )
        shown = [maps[s.query] for s in result.segments]
        seen.append(
            Prediction(
                image,
                result.id_map,
                result.segments,
                model.categories,
                torch.stack(shown) if shown else output.attention_maps[:0],
            )
        )
    return seen


@contextmanager
def shared_stuff(model: PanopticModel) -> Iterator[None]:
    """Let two queries share each stuff for as long as the block runs.

    One keeps the left half of its mask; a copy of it gets the right half.
    """
    isthing = torch.tensor([c.isthing for c in model.categories])

    def halves(module, inputs, output: PanopticOutput) -> PanopticOutput:
        labels = output.class_logits.argmax(-1)
        stuff = ~isthing[labels[output.image_index, output.query_index]]
        left = output.mask_logits.clone()
        middle = left.shape[-1] // 2
        right = left[stuff]
        left[stuff, :, middle:] -= 50
        right[..., :middle] -= 50
        order = torch.cat((output.image_index, output.image_index[stuff]))
        order = order.argsort(stable=True)
        fields = {
            name: torch.cat((value, value[stuff]))[order]
            for name, value in vars(output).items()
            if name in ("image_index", "query_index", "attention_maps")
        }
        return replace(
            output, mask_logits=torch.cat((left, right))[order], **fields
        )

    hook = model.register_forward_hook(halves)
    try:
        yield
    finally:
        hook.remove()


def through_png(prediction: Prediction) -> Prediction:
    """Return a prediction whose ids were written as colors and read again.

    Segments whose ids don't come back are no longer in the list.
    """
    ids = rgb_to_ids(ids_to_rgb(prediction.id_map))
    there = (s for s in prediction.segments if (ids == s.id).any())
    return replace(prediction, id_map=ids, segments=tuple(there))
