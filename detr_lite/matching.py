"""Matching: which query answers for which segment."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.detr import DetrOutput
from detr_lite.errors import DataError
from detr_lite.targets import Target


@dataclass(frozen=True)
class Matching:
    """S pairs of a query and a segment, sorted by image, then by query.

    Attributes:
        image: (S,) int64, the picture of each pair.
        query: (S,) int64, 0 to N - 1.
        target: (S,) int64, the segment's position in its picture's target.
    """

    image: Tensor
    query: Tensor
    target: Tensor

    def keep(self, num_queries: int, batch: int) -> Tensor:
        """Return the matched queries as a (B, N) bool tensor."""
        kept = torch.zeros(
            batch, num_queries, dtype=torch.bool, device=self.image.device
        )
        kept[self.image, self.query] = True
        return kept

    def gather(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the matched rows of B per-picture tensors, (S, ...)."""
        counts = torch.tensor([0] + [len(r) for r in rows[:-1]])
        offset = counts.cumsum(0).to(self.image.device)
        return torch.cat(list(rows))[offset[self.image] + self.target]


class HungarianMatcher:
    """Assigns queries to segments, one to one, at the least total cost.

    Cost = class * (- probability of the segment's class)
         + l1 * (L1 distance of the boxes) + giou * (- their GIoU).

    Source: paper, section 3.1; HungarianMatcher in the original.
    """

    def __init__(self, class_: float = 1, l1: float = 5, giou: float = 2):
        self.class_, self.l1, self.giou = class_, l1, giou

    @torch.no_grad()
    def __call__(
        self,
        layers: Sequence[tuple[Tensor, Tensor]],
        targets: Sequence[Target],
    ) -> list[Matching]:
        """Return one matching for each layer.

        layers: (class_logits (B, N, K + 1), boxes (B, N, 4)) each.
        """
        logits = torch.stack([logits for logits, _ in layers]).float()
        boxes = torch.stack([boxes for _, boxes in layers]).float()
        costs = self.costs(logits, boxes, targets)
        if not costs.isfinite().all():
            raise DataError(
                "The model's classes or boxes are no longer finite numbers, "
                "so that nothing can be matched; lower the learning rate."
            )
        costs = costs.cpu().numpy()
        counts = [len(t.labels) for t in targets]
        return [_match(layer, counts, logits.device) for layer in costs]

    def costs(
        self, logits: Tensor, boxes: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return (layers, B, N, T) costs; T is the largest count, padded.

        logits: (layers, B, N, K + 1); boxes: (layers, B, N, 4).
        """
        labels = pad_sequence([t.labels for t in targets], batch_first=True)
        wanted = pad_sequence([t.boxes for t in targets], batch_first=True)
        index = labels[None, :, None].expand(*logits.shape[:3], -1)
        probability = logits.softmax(-1).gather(-1, index)
        mine, theirs = boxes[..., None, :], wanted[None, :, None]
        distance = (mine - theirs).abs().sum(-1)
        overlap = giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(theirs))
        return (
            self.l1 * distance
            - self.class_ * probability
            - self.giou * overlap
        )


def _match(costs, counts: Sequence[int], device) -> Matching:
    """Match each picture of one layer; costs: (B, N, T)."""
    triples = []
    for image, count in enumerate(counts):
        rows, columns = linear_sum_assignment(costs[image, :, :count])
        triples += [(image, q, t) for q, t in zip(rows, columns, strict=True)]
    pairs = torch.tensor(triples, dtype=torch.int64, device=device)
    return Matching(*pairs.view(-1, 3).T)


class MatchedQueries:
    """Chooses the queries that were matched, and remembers the matchings.

    Only they can get a mask loss, so only they get a mask: same loss and
    gradients as with all N, for a fraction of the time and memory.
    """

    def __init__(
        self, matcher: HungarianMatcher, targets: list, last_only: bool
    ):
        self.matcher, self.targets = matcher, targets
        self.last_only = last_only
        self.matchings: list[Matching] = []

    def __call__(self, detection: DetrOutput) -> Tensor:
        """Return which queries to make masks for, (B, N) bool."""
        layers = detection.layers[-1:] if self.last_only else detection.layers
        with torch.autocast(detection.boxes.device.type, enabled=False):
            self.matchings = self.matcher(layers, self.targets)
        batch, queries = detection.boxes.shape[:2]
        return self.matchings[-1].keep(queries, batch)
