"""From mask logits to the panoptic segmentation: the pixelwise argmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.errors import ConfigError
from detr_lite.panoptic_detr import PanopticOutput
from detr_lite.ragged import answers_of, in_rows, resized_maps, to_host


@dataclass(frozen=True)
class Segment:
    """One segment of a result.

    Attributes:
        id: its number in the id map, from 1; 0 is void.
        label: its class, 0 to K - 1.
        score: the probability of the class.
        area: pixels.
        query: the query that found it (of merged stuff, the first).
        box: (cx, cy, w, h) relative to the image, as DETR predicts it.
    """

    id: int
    label: int
    score: float
    area: int
    query: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Panoptic:
    """The panoptic segmentation of one image.

    Attributes:
        id_map: (H, W) int32, for each pixel the id of its segment, or 0.
        segments: what each id is, by ascending id.
    """

    id_map: Tensor
    segments: tuple[Segment, ...]


def best_masks(
    mask_logits: Tensor, alive: Tensor, size: tuple[int, int]
) -> Tensor:
    """Return for each pixel which mask has the largest logit, (B, H, W).

    mask_logits: (B, n, h, w); alive: (B, n) bool, which masks take part.
    One mask of each image at a time is enlarged and compared with the best
    so far: n masks of the full size are never held at once.  Of equal ones
    the first wins.
    """
    dead = ~alive[:, :, None, None]
    mask_logits = mask_logits.masked_fill(dead, -1e30).transpose(0, 1)
    best = winner = torch.zeros(())
    for number, logits in enumerate(mask_logits):
        enlarged = F.interpolate(
            logits[:, None], size=size, mode="bilinear", align_corners=False
        )[:, 0]
        if number == 0:
            best = enlarged
            winner = torch.zeros_like(enlarged, dtype=torch.int64)
        else:
            winner.masked_fill_(enlarged > best, number)
            best = torch.maximum(best, enlarged)
    return winner


def first_of_stuff(labels: Tensor, isthing: Tensor) -> Tensor:
    """Return for each mask the first of the same stuff, or itself, (B, n).

    labels: (B, n) classes; isthing: (K + 1,) bool.
    """
    same = labels[:, :, None] == labels[:, None]
    itself = torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
    same = torch.where(isthing[labels][:, :, None], itself, same)
    return same.int().argmax(-1)


class PixelArgmax:
    """Gives each pixel of a batch's images to the mask that wants it most.

    Args:
        mask_logits: (B, n, h, w), at the stride of Res2, padding included.
        first: (B, n), the mask that each one is merged into.
        padded_size: (H, W) of the batch.
        sizes: (H, W) of each image in it, without padding.
        out_sizes: (H, W) of the id maps to return.
    """

    def __init__(self, mask_logits, first, padded_size, sizes, out_sizes):
        self.mask_logits, self.first = mask_logits, first
        self.padded_size = padded_size
        self.sizes, self.out_sizes = sizes, out_sizes

    def __call__(
        self, alive: Tensor, merge: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return each pixel's mask, (B, H W), and the masks' areas, (B, n).

        alive: (B, n) bool, the masks that take part.  A pixel beyond its
        image has the number n.
        """
        n = alive.shape[1]
        best = best_masks(self.mask_logits, alive, self.padded_size)
        if merge:
            best = self.first.gather(1, best.flatten(1)).view_as(best)
        best = resized_maps(best, self.sizes, self.out_sizes, beyond=n)
        best = best.flatten(1)
        areas = best.new_zeros(len(best), n + 1)
        areas = areas.scatter_add_(1, best, best.new_ones(()).expand_as(best))
        return best, areas[:, :n]


def merged_stuff(
    argmax: PixelArgmax, alive: Tensor, min_area: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pixel's mask, the areas, and which masks are left.

    All masks of a stuff class make one segment, as the paper says.  Segments
    of at most min_area pixels are removed; their pixels go to the best of
    the others, which therefore only grow: one round will do.
    """
    best, areas = argmax(alive)
    large = alive & (areas.gather(1, argmax.first) > min_area)
    # A GPU takes less time for the round than to ask it whether to.
    if alive.device.type != "cpu" or not large.equal(alive):
        best, areas = argmax(large)
    return best, areas, large


def merged_as_original(
    argmax: PixelArgmax, alive: Tensor, min_area: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what merged_stuff does, as the original's code has it.

    It merges, but where that or a small area leaves any mask without
    pixels, it starts over without merging.
    """
    best, areas = argmax(alive)
    large = alive & (areas > min_area)
    while not large.equal(alive):
        alive = large
        best, areas = argmax(alive, merge=False)
        large = alive & (areas > min_area)
    return best, areas, alive


def panoptic_maps(
    labels: Tensor,
    mask_logits: Tensor,
    isthing: Sequence[bool],
    padded_size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    out_sizes: Sequence[tuple[int, int]],
    mode: str = "union",
    min_area: int = 4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each pixel of a batch's images to the mask that wants it most.

    labels: (B, n) classes of the masks, n > 0; K if there is no such mask;
    mask_logits: (B, n, h, w).  The other arguments are those of
    panoptic_results.

    Returns the id maps, (B, H, W) int32, 0 where there is no mask, and of
    each mask its id, 0 if it has no segment of its own, and its area, (B, n).
    """
    modes = {"union": merged_stuff, "original": merged_as_original}
    if mode not in modes:
        raise ConfigError(f'mode must be "union" or "original", not {mode!r}.')
    flags = torch.tensor([*isthing, True])
    first = first_of_stuff(labels, flags.to(labels.device, non_blocking=True))
    argmax = PixelArgmax(mask_logits, first, padded_size, sizes, out_sizes)
    best, areas, alive = modes[mode](argmax, labels < len(isthing), min_area)
    shown = alive & (areas > 0)
    numbers = shown.cumsum(1) * shown
    ids = F.pad(numbers.int(), (0, 1)).gather(1, best)
    height, width = map(max, zip(*out_sizes, strict=True))
    return ids.view(-1, height, width), numbers, areas


@torch.no_grad()
def panoptic_results(
    output: PanopticOutput,
    isthing: Sequence[bool],
    padded_size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    out_sizes: Sequence[tuple[int, int]] | None = None,
    mode: str = "union",
    min_area: int = 4,
) -> list[Panoptic]:
    """Return the panoptic segmentation of each image of a batch.

    isthing: (K,), whether a label is a thing; padded_size: (H, W) of the
    batch; sizes: of each image in it, without the padding; out_sizes: of
    the id maps to return (default: sizes).
    mode: how masks of one stuff class are merged, "union" or "original";
    min_area: the most pixels of a segment that is removed.

    Source: paper, section 4.4; PostProcessPanoptic in the original, which
    forgets to crop the padding off.
    """
    out_sizes = sizes if out_sizes is None else out_sizes
    queries, masks, missing = in_rows(output, len(sizes))
    labels, scores, boxes = answers_of(output, queries, missing)
    places = padded_size, sizes, out_sizes
    how = {"mode": mode, "min_area": min_area}
    ids, *others = panoptic_maps(labels, masks, isthing, *places, **how)
    others += labels, scores, boxes
    id_maps, *columns = to_host(ids, *others)
    rows = zip(queries.tolist(), *(x.tolist() for x in columns), strict=True)
    return [
        Panoptic(id_map[:height, :width], _segments(*row))
        for id_map, (height, width), row in zip(
            id_maps, out_sizes, rows, strict=True
        )
    ]


def _segments(queries, numbers, areas, labels, scores, boxes):
    """Return an image's segments from what is known of its masks, (n,)."""
    rows = zip(queries, numbers, areas, labels, scores, boxes, strict=True)
    return tuple(
        Segment(number, label, score, area, query, tuple(box))
        for query, number, area, label, score, box in rows
        if number
    )
