"""From mask logits to the panoptic segmentation: the pixelwise argmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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


def panoptic_segmentation(
    labels: Tensor,
    mask_logits: Tensor,
    isthing: Sequence[bool],
    padded_size: tuple[int, int],
    size: tuple[int, int],
    out_size: tuple[int, int],
    mode: str = "union",
    min_area: int = 4,
) -> tuple[Tensor, list[int], list[int]]:
    """Give each pixel to the mask that wants it most.

    Args:
        labels: (n,) classes of the n kept queries.
        mask_logits: (n, h, w), at the stride of Res2, over the padding too.
        isthing: (K,) whether a label is a thing.
        padded_size: (H, W) of the batch.
        size: (H, W) of the picture in it, without padding.
        out_size: (H, W) of the id map to return.
        mode: "union" makes one segment of all masks of a stuff class, as
            the paper says.  "original" does what the original's code does:
            it merges, but where that or a small area leaves any mask
            without pixels, it starts over without merging.
        min_area: segments of at most this many pixels are removed and their
            pixels go to the best of the others.

    Returns:
        The (H, W) int64 map of positions in 0 to n - 1 (-1 where nothing was
        kept), the surviving positions, and their areas.

    Source: paper, section 4.4; PostProcessPanoptic in the original, which
    forgets to crop the padding off.
    """
    if mode not in ("union", "original"):
        raise ConfigError(f'mode must be "union" or "original", not {mode!r}.')
    device = mask_logits.device
    rows = torch.from_numpy(nearest_index(size[0], out_size[0])).to(device)
    columns = torch.from_numpy(nearest_index(size[1], out_size[1])).to(device)
    first = _first_of_its_stuff(labels, isthing)
    alive = list(range(len(labels)))
    merged = True
    while alive:
        best = _best_mask(mask_logits, alive, padded_size, size)
        if merged:
            best = first[best]
        best = best[rows[:, None], columns]
        areas = best.flatten().bincount(minlength=len(labels))
        # With "union", a merged mask has no area of its own but must stay.
        counted = (areas[first] if mode == "union" else areas).tolist()
        large = [i for i in alive if counted[i] > min_area]
        if large == alive:
            shown = areas.nonzero().flatten()
            return best, shown.tolist(), areas[shown].tolist()
        alive = large
        merged = mode == "union"
    return torch.full(out_size, -1, device=device), [], []


def _best_mask(
    mask_logits: Tensor,
    alive: Sequence[int],
    padded_size: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Return for each pixel which of the masks alive has the largest logit.

    One mask at a time is enlarged and compared with the best so far: n masks
    of the full size are never held at once.  Of equal ones the first wins.
    """
    best = torch.full(size, float("-inf"), device=mask_logits.device)
    winner = torch.full(size, alive[0], device=mask_logits.device)
    for i in alive:
        logits = F.interpolate(
            mask_logits[None, i : i + 1].float(),
            size=padded_size,
            mode="bilinear",
            align_corners=False,
        )[0, 0, : size[0], : size[1]]
        winner.masked_fill_(logits > best, i)
        best = torch.maximum(best, logits)
    return winner


def _first_of_its_stuff(labels: Tensor, isthing: Sequence[bool]) -> Tensor:
    """Return for each mask the first mask of the same stuff, or itself."""
    first: dict[int, int] = {}
    return torch.tensor(
        [
            i if isthing[label] else first.setdefault(label, i)
            for i, label in enumerate(labels.tolist())
        ],
        dtype=torch.int64,
        device=labels.device,
    )


@torch.no_grad()
def panoptic_results(
    output: PanopticOutput,
    isthing: Sequence[bool],
    padded_size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    out_sizes: Sequence[tuple[int, int]] | None = None,
    mode: str = "union",
) -> list[Panoptic]:
    """Return the panoptic segmentation of each picture of a batch.

    padded_size: (H, W) of the batch; sizes: of each picture in it, without
    the padding; out_sizes: of the id maps to return (default: sizes).
    """
    scores, labels = output.class_logits.softmax(-1).max(-1)
    # Whatever was kept: a query that says "no object" makes no segment.
    objects = labels != len(isthing)
    kept_objects = objects[output.image_index, output.query_index]
    # What segments are made of crosses from the device once, not by numbers.
    score, label, box = (x.tolist() for x in (scores, labels, output.boxes))
    results = []
    for i, size in enumerate(sizes):
        mine = (output.image_index == i) & kept_objects
        queries = output.query_index[mine]
        logits, upsampled = output.mask_logits[mine], padded_size
        if output.detection.sizes:  # the masks of each picture, as if alone
            h, w = output.detection.sizes[i].res2
            logits, upsampled = logits[:, :h, :w], size
        positions, kept, areas = panoptic_segmentation(
            labels[i, queries],
            logits,
            isthing,
            upsampled,
            size,
            out_sizes[i] if out_sizes else size,
            mode,
        )
        ids = torch.zeros(
            len(queries) + 1, dtype=torch.int32, device=positions.device
        )
        segments, numbers = [], queries.tolist()
        for number, (position, area) in enumerate(
            zip(kept, areas, strict=True), 1
        ):
            query = numbers[position]
            ids[position] = number
            segments.append(
                Segment(
                    id=number,
                    label=label[i][query],
                    score=score[i][query],
                    area=area,
                    query=query,
                    box=tuple(box[i][query]),
                )
            )
        # Position -1 (nothing kept) reads the last entry, which stays 0.
        results.append(Panoptic(ids[positions].cpu(), tuple(segments)))
    return results
