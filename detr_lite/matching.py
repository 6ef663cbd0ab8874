"""Matching: which query answers for which segment."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.errors import DataError
from detr_lite.targets import Targets


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
        self, logits: Tensor, boxes: Tensor, targets: Targets
    ) -> Tensor:
        """Return the query of each segment, (layers, T) int64.

        logits: (layers, B, N, K + 1); boxes: (layers, B, N, 4) cxcywh.
        Where an image has more segments than queries, those without one get
        the number N.
        """
        costs = self.costs(logits, boxes, targets).cpu().numpy()
        if not np.isfinite(costs).all():
            raise DataError(
                "The model's classes or boxes are no longer finite numbers, "
                "so that nothing can be matched; lower the learning rate."
            )
        layers, _, num_queries = costs.shape
        queries = np.full(costs.shape[:2], num_queries)
        for layer in range(layers):
            first = 0
            for count in targets.counts:
                block = costs[layer, first : first + count]
                segments, chosen = linear_sum_assignment(block)
                queries[layer, first + segments] = chosen
                first += count
        return torch.from_numpy(queries).to(logits.device, non_blocking=True)

    def costs(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """Return what each query costs each segment, (layers, T, N).

        A segment is compared with the queries of its own image.
        """
        image = targets.image
        probability = logits.softmax(-1)[:, image, :, targets.labels]
        mine, theirs = boxes[:, image], targets.boxes[:, None]
        overlap = giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(theirs))
        return (
            self.l1 * (mine - theirs).abs().sum(-1)
            - self.class_ * probability.transpose(0, 1)
            - self.giou * overlap
        )


def matched(queries: Tensor, targets: Targets, num_queries: int) -> Tensor:
    """Return which segments have a query, (S,) int64: nearly always all.

    queries: (T,), of one layer.
    """
    if max(targets.counts, default=0) <= num_queries:
        return torch.arange(len(queries), device=queries.device)
    return (queries < num_queries).nonzero()[:, 0]
