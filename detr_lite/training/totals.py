"""What the losses of a step are divided by, and how well it answers.

A loss of DETR is a sum over segments or queries, divided by a total.  Here
the totals are those of the whole step, over all processes and micro-batches:
then its loss and gradients are those of one process with one large batch.
The original takes the class loss's mean in each process alone, and the mean
of the processes' means, so there a segment's weight depends on which images
it shares a GPU with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detr_lite.data.batch import Batch
from detr_lite.targets import Targets


@dataclass(frozen=True)
class Totals:
    """The totals of a step, for each process.

    They are divided by the number of processes because data-parallel
    training takes the mean of the processes' gradients: the mean of the
    parts, each over (total / processes), is their sum over the total.

    Attributes:
        boxes: true segments, at least 1; num_boxes in the original.
        class_weight: the sum of the weights in the class loss.  It follows
            from the targets: as many queries as there are segments get a
            class (all N, if there are more), the others "no object".
        images: how many there are.
    """

    boxes: float | Tensor
    class_weight: float | Tensor
    images: float | Tensor


def count_totals(
    batches: Sequence[Batch],
    num_queries: int,
    no_object_weight: float,
    accelerator,
) -> Totals:
    """Return the totals of a step from this process's micro-batches."""
    segments = [n for batch in batches for n in batch.targets.counts]
    with_class = sum(min(n, num_queries) for n in segments)
    boxes, images = sum(segments), len(segments)
    processes = accelerator.num_processes
    if processes > 1:  # tensors, so that the host need not wait for them
        counts = torch.tensor([boxes, with_class, images]).to(
            accelerator.device, non_blocking=True
        )
        counts = accelerator.reduce(counts, "sum")
        boxes, with_class, images = counts.unbind()
        boxes = boxes.clamp(min=1)
    others = images * num_queries - with_class
    return Totals(
        (boxes or 1) if processes == 1 else boxes / processes,
        (with_class + others * no_object_weight) / processes,
        images / processes,
    )


@torch.no_grad()
def answers(
    logits: Tensor, queries: Tensor, targets: Targets, totals: Totals
) -> dict[str, Tensor]:
    """Return how well the last layer's classes answer.

    logits: (B, N, K + 1); queries: (T,), see HungarianMatcher.
    "class_accuracy": of the true segments, the part whose query gives the
    right class.  "cardinality_error": how many queries more or fewer than
    there are segments found something, a mean over images.  (The
    original's class_error is that of one process's last batch.)
    """
    num_queries, no_object = logits.shape[1], logits.shape[2] - 1
    found = logits.argmax(-1)
    answered = found[targets.image, queries.clamp(max=num_queries - 1)]
    right = (answered == targets.labels) & (queries < num_queries)
    surplus = (found != no_object).sum(1)
    surplus = surplus.index_add(
        0, targets.image, torch.ones_like(targets.image), alpha=-1
    )
    return {
        "class_accuracy": right.sum() / totals.boxes,
        "cardinality_error": surplus.abs().sum() / totals.images,
    }
