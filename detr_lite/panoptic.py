"""From mask logits to the panoptic segmentation: the pixelwise argmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detr_lite.errors import ConfigError
from detr_lite.panoptic_detr import PanopticOutput


@dataclass(frozen=True)
class Segment:
    """One segment of a result.

    Attributes:
        id: its number in the id map, from 1; 0 is void.
        label: its class, 0 to K - 1.
        score: the probability of the class.
        area: pixels.
        query: the query that found it (of merged stuff, the first).
        box: (cx, cy, w, h) relative to the picture, as DETR predicts it.
    """

    id: int
    label: int
    score: float
    area: int
    query: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Panoptic:
    """The panoptic segmentation of one picture.

    Attributes:
        id_map: (H, W) int32, for each pixel the id of its segment, or 0.
        segments: what each id is, by ascending id.
    """

    id_map: Tensor
    segments: tuple[Segment, ...]


def nearest_index(source: int, out: int) -> np.ndarray:
    """Return which of `source` pixels each of `out` pixels copies.

    The rounding is PIL's NEAREST, which the original resizes its id maps
    with; torch's two nearest modes pick other pixels.
    """
    scale = source / out
    steps = np.full(out, scale)
    steps[0] = scale / 2
    return np.minimum(np.cumsum(steps).astype(np.int64), source - 1)


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


def resized_maps(
    maps: Tensor,
    sizes: Sequence[tuple[int, int]],
    out_sizes: Sequence[tuple[int, int]],
    beyond: int,
) -> Tensor:
    """Return each map without its padding, at the size of its result.

    maps: (B, H, W); sizes: of the images in it; out_sizes: of the results.
    Returns (B, largest height, largest width), `beyond` outside a result.
    """
    if all(size == maps.shape[1:] for size in (*sizes, *out_sizes)):
        return maps
    rows, columns = (
        pad_sequence(
            [
                torch.from_numpy(nearest_index(size[side], out[side]))
                for size, out in zip(sizes, out_sizes, strict=True)
            ],
            batch_first=True,
            padding_value=-1,
        ).to(maps.device, non_blocking=True)
        for side in (0, 1)
    )
    image = torch.arange(len(maps), device=maps.device)
    rows, columns = rows[:, :, None], columns[:, None]
    resized = maps[image[:, None, None], rows, columns]
    return resized.masked_fill_((rows < 0) | (columns < 0), beyond)


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

    Args:
        labels: (B, n) classes of the masks, n > 0; K if there is no such
            mask.
        mask_logits: (B, n, h, w), at the stride of Res2, padding included.
        isthing: (K,) whether a label is a thing.
        padded_size: (H, W) of the batch.
        sizes: (H, W) of each image in it, without padding.
        out_sizes: (H, W) of the id maps to return.
        mode: "union" makes one segment of all masks of a stuff class, as
            the paper says.  "original" does what the original's code does:
            it merges, but where that or a small area leaves any mask
            without pixels, it starts over without merging.
        min_area: segments of at most this many pixels are removed and their
            pixels go to the best of the others.

    Returns:
        The id maps, (B, H, W) int64, 0 where there is no mask, and of each
        mask its id, 0 if it has no segment of its own, and its area, (B, n).

    Source: paper, section 4.4; PostProcessPanoptic in the original, which
    forgets to crop the padding off.
    """
    if mode not in ("union", "original"):
        raise ConfigError(f'mode must be "union" or "original", not {mode!r}.')
    there = labels < len(isthing)
    flags = torch.tensor([*isthing, True])
    first = first_of_stuff(labels, flags.to(labels.device, non_blocking=True))
    nobody = labels.shape[1]

    def assign(alive: Tensor, merge: bool) -> tuple[Tensor, Tensor]:
        winner = best_masks(mask_logits, alive, padded_size)
        winner = resized_maps(winner, sizes, out_sizes, nobody).flatten(1)
        if merge:
            winner = F.pad(first, (0, 1), value=nobody).gather(1, winner)
        areas = F.pad(torch.zeros_like(first), (0, 1))
        areas = areas.scatter_add(1, winner, torch.ones_like(winner))
        return winner, areas[:, :nobody]

    winner, areas = assign(there, merge=True)
    if mode == "union":
        # The others only grow by what the small ones lose: one round will
        # do, and on a GPU it takes less time than to ask whether to.
        alive = there & (areas.gather(1, first) > min_area)
        if alive.device.type != "cpu" or not alive.equal(there):
            winner, areas = assign(alive, merge=True)
    else:
        alive, large = there, there & (areas > min_area)
        while not large.equal(alive):
            alive = large
            winner, areas = assign(alive, merge=False)
            large = alive & (areas > min_area)
    shown = alive & (areas > 0)
    numbers = shown.cumsum(1) * shown
    ids = F.pad(numbers, (0, 1)).gather(1, winner)
    height, width = map(max, zip(*out_sizes, strict=True))
    return ids.view(-1, height, width), numbers, areas


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors on the host, after one wait for all of them."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream().synchronize()
    return copies


@torch.no_grad()
def panoptic_results(
    output: PanopticOutput,
    isthing: Sequence[bool],
    padded_size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    out_sizes: Sequence[tuple[int, int]] | None = None,
    mode: str = "union",
) -> list[Panoptic]:
    """Return the panoptic segmentation of each image of a batch.

    padded_size: (H, W) of the batch; sizes: of each image in it, without
    the padding; out_sizes: of the id maps to return (default: sizes).
    """
    out_sizes = sizes if out_sizes is None else out_sizes
    # The masks of each image in a row, the rows as long as the longest.
    image, query = output.image_index.cpu(), output.query_index.cpu()
    counts = image.bincount(minlength=len(sizes))
    place = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
    row_length = max(int(counts.max()), 1)
    queries = torch.zeros(len(sizes), row_length, dtype=torch.int64)
    queries[image, place] = query
    device = output.mask_logits.device
    image, place, chosen, lengths = (
        x.to(device, non_blocking=True)
        for x in (image, place, queries, counts)
    )
    shape = (*chosen.shape, *output.mask_logits.shape[1:])
    masks = output.mask_logits.new_zeros(shape)
    masks[image, place] = output.mask_logits
    scores, labels = (
        x.gather(1, chosen) for x in output.class_logits.softmax(-1).max(-1)
    )
    boxes = output.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
    # Whatever was kept: a query that says "no object" makes no segment.
    missing = torch.arange(row_length, device=device) >= lengths[:, None]
    labels = labels.masked_fill(missing, len(isthing))
    maps = panoptic_maps(
        labels, masks, isthing, padded_size, sizes, out_sizes, mode=mode
    )
    id_maps, *columns = to_host(*maps, labels, scores, boxes)
    rows = zip(queries.tolist(), *(x.tolist() for x in columns), strict=True)
    return [
        Panoptic(id_map[:height, :width].int(), _segments(*row))
        for id_map, (height, width), row in zip(
            id_maps, out_sizes, rows, strict=True
        )
    ]


def _segments(queries, numbers, areas, labels, scores, boxes):
    """Return the segments of an image from the columns of its masks."""
    return tuple(
        Segment(number, label, score, area, query, tuple(box))
        for query, number, area, label, score, box in zip(
            queries, numbers, areas, labels, scores, boxes, strict=True
        )
        if number
    )
