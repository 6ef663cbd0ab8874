"""Ragged batches: images of other sizes, with other numbers of segments.

Their tensors are rectangular all the same, with a mark on what isn't there.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detr_lite.panoptic_detr import PanopticOutput


def in_rows(
    output: PanopticOutput, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the kept queries and masks of each image in a row.

    Returns (B, n) query numbers on the host; (B, n, h, w) mask logits; and
    (B, n) bool, where an image has fewer than n.
    """
    image, query = output.image_index.cpu(), output.query_index.cpu()
    counts = image.bincount(minlength=batch)
    place = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
    n = max(int(counts.max()), 1)
    missing = torch.arange(n) >= counts[:, None]
    queries = torch.zeros(batch, n, dtype=torch.int64)
    queries[image, place] = query
    logits = output.mask_logits
    image, place, missing = (
        x.to(logits.device, non_blocking=True) for x in (image, place, missing)
    )
    masks = logits.new_zeros(batch, n, *logits.shape[1:])
    masks[image, place] = logits
    return queries, masks, missing


def answers_of(
    output: PanopticOutput, queries: Tensor, missing: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels and scores, (B, n), and boxes, (B, n, 4), of queries.

    queries, missing: see in_rows.  A missing query says "no object"; as one
    that is there and says so, it makes no segment.
    """
    chosen = queries.to(missing.device, non_blocking=True)
    scores, labels = output.class_logits.softmax(-1).max(-1)
    no_object = output.class_logits.shape[-1] - 1
    labels = labels.gather(1, chosen).masked_fill(missing, no_object)
    boxes = output.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
    return labels, scores.gather(1, chosen), boxes


def nearest_index(source: int, out: int) -> np.ndarray:
    """Return which of `source` pixels each of `out` pixels copies.

    The rounding is PIL's NEAREST, which the original resizes its id maps
    with; torch's two nearest modes pick other pixels.
    """
    scale = source / out
    steps = np.full(out, scale)
    steps[0] = scale / 2
    return np.minimum(np.cumsum(steps).astype(np.int64), source - 1)


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


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors on the host, after one wait for all of them."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream().synchronize()
    return copies
