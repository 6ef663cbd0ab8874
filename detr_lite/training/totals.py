"""What the losses of a step are divided by, and how well it answers.

A loss of DETR is a sum over segments or queries, divided by a total.  Here
the totals are those of the whole step, over all processes and micro-batches:
then its loss and gradients are those of one process with one large batch.
The original takes the class loss's mean in each process alone, and the mean
of the processes' means, so there a segment's weight depends on which pictures
it shares a GPU with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detr_lite.data.batch import Batch
from detr_lite.matching import Matching
from detr_lite.targets import Target


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
        pictures: how many there are.
    """

    boxes: float
    class_weight: float
    pictures: float


def count_totals(
    batches: Sequence[Batch],
    num_queries: int,
    no_object_weight: float,
    accelerator,
) -> Totals:
    """Return the totals of a step from this process's micro-batches."""
    segments = [len(t.labels) for b in batches for t in b.targets]
    matched = [min(n, num_queries) for n in segments]
    counts = torch.tensor([sum(segments), sum(matched), len(segments)])
    processes = accelerator.num_processes
    if processes > 1:
        counts = accelerator.reduce(counts.to(accelerator.device), "sum")
    boxes, with_class, pictures = counts.tolist()
    others = pictures * num_queries - with_class
    return Totals(
        max(boxes, 1) / processes,
        (with_class + others * no_object_weight) / processes,
        pictures / processes,
    )


@torch.no_grad()
def answers(
    logits: Tensor,
    matching: Matching,
    targets: Sequence[Target],
    totals: Totals,
) -> dict[str, Tensor]:
    """Return how well the last layer's classes answer.

    logits: (B, N, K + 1).
    "class_accuracy": of the true segments, the part whose query gives the
    right class.  "cardinality_error": how many queries more or fewer than
    there are segments found something, a mean over pictures.  (The
    original's class_error is that of one process's last batch.)
    """
    found = logits.argmax(-1)
    wanted = matching.gather([t.labels for t in targets])
    right = (found[matching.image, matching.query] == wanted).sum()
    counts = (found != logits.shape[-1] - 1).sum(1)
    true = counts.new_tensor([len(t.labels) for t in targets])
    return {
        "class_accuracy": right / totals.boxes,
        "cardinality_error": (counts - true).abs().sum() / totals.pictures,
    }
