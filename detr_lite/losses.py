"""Losses: what is wrong with the classes, the boxes and the masks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.targets import Targets


def class_loss(
    logits: Tensor,
    queries: Tensor,
    targets: Targets,
    no_object_weight: float,
    total: float | None = None,
) -> Tensor:
    """Return each layer's cross-entropy, (layers,).

    Unmatched queries should say "no object".  The mean is weighted, as in
    the original: with 100 queries and 7 segments, a weight of 0.1 makes both
    sides even.

    logits: (layers, B, N, K + 1); queries: (layers, T), see HungarianMatcher.
    total: the sum of the weights, by default of this batch's queries.
    """
    layers, batch, num_queries, classes = logits.shape
    no_object = classes - 1
    # A segment without a query has the number N: a column that is cut off.
    wanted = queries.new_full((layers, batch, num_queries + 1), no_object)
    layer = torch.arange(layers, device=queries.device)[:, None]
    wanted[layer, targets.image, queries] = targets.labels
    wanted = wanted[..., :num_queries].flatten()
    if total is None:
        with_class = sum(min(n, num_queries) for n in targets.counts)
        others = batch * num_queries - with_class
        total = with_class + others * no_object_weight
    weight = logits.new_ones(classes)
    weight[no_object] = no_object_weight
    rows = logits.flatten(0, 2)
    losses = F.cross_entropy(rows, wanted, weight, reduction="none")
    return losses.view(layers, -1).sum(1) / total


def box_losses(
    boxes: Tensor, queries: Tensor, targets: Targets, num_boxes: float
) -> tuple[Tensor, Tensor]:
    """Return each layer's L1 and GIoU loss of the matched boxes, (layers,).

    boxes: (layers, B, N, 4) cxcywh; queries: (layers, T), see
    HungarianMatcher.  Both are sums over pairs / num_boxes.
    """
    layers, _, num_queries, _ = boxes.shape
    layer = torch.arange(layers, device=queries.device)[:, None]
    nearest = queries.clamp(max=num_queries - 1)
    mine, wanted = boxes[layer, targets.image, nearest], targets.boxes
    there = queries < num_queries
    l1 = (mine - wanted).abs().sum(-1) * there
    overlap = giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(wanted))
    return l1.sum(1) / num_boxes, ((1 - overlap) * there).sum(1) / num_boxes


def focal_loss(logits: Tensor, wanted: Tensor, num_boxes: float) -> Tensor:
    """Return the focal loss: mean over pixels, sum over masks / num_boxes.

    logits, wanted: (S, pixels).
    Source: Lin et al. 2017, alpha 0.25, gamma 2.
    """
    error = F.binary_cross_entropy_with_logits(
        logits, wanted, reduction="none"
    )
    p = logits.sigmoid()
    wrong = p + wanted - 2 * p * wanted  # 1 - probability of the truth
    alpha = 0.75 - 0.5 * wanted
    return (alpha * wrong**2 * error).mean(1).sum() / num_boxes


def dice_loss(logits: Tensor, wanted: Tensor, num_boxes: float) -> Tensor:
    """Return 1 - the Dice overlap, summed over masks / num_boxes.

    logits, wanted: (S, pixels).  Source: Milletari et al. 2016.
    """
    p = logits.sigmoid()
    common = 2 * (p * wanted).sum(1)
    total = p.sum(1) + wanted.sum(1)
    return (1 - (common + 1) / (total + 1)).sum() / num_boxes


class DetectionLoss:
    """The weighted sum of class and box losses over all decoder layers.

    Source: paper, sections 3.1 and A.2; SetCriterion in the original.
    """

    def __init__(self, no_object_weight: float = 0.1, l1=5.0, giou=2.0):
        self.no_object_weight = no_object_weight
        self.l1, self.giou = l1, giou

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        queries: Tensor,
        targets: Targets,
        num_boxes: float,
        class_weight: float | None = None,
    ) -> dict[str, Tensor]:
        """Return {"loss": the sum to minimize, and the last layer's parts}.

        logits: (layers, B, N, K + 1); boxes: (layers, B, N, 4) cxcywh;
        queries: (layers, T), see HungarianMatcher.  num_boxes, class_weight:
        what the losses are divided by, the latter by default of this batch.
        """
        ce = class_loss(
            logits, queries, targets, self.no_object_weight, class_weight
        )
        l1, overlap = box_losses(boxes, queries, targets, num_boxes)
        loss = (ce + self.l1 * l1 + self.giou * overlap).sum()
        return {
            "loss": loss,
            "class": ce[-1],
            "l1": l1[-1],
            "giou": overlap[-1],
        }


class MaskLoss:
    """Focal plus dice loss of the matched queries' masks, at full size.

    Args:
        focal, dice: what each loss is multiplied by.
    """

    def __init__(self, focal: float = 1, dice: float = 1):
        self.focal, self.dice = focal, dice

    def __call__(
        self,
        mask_logits: Tensor,
        chosen: Tensor,
        targets: Targets,
        num_boxes: float,
    ) -> dict[str, Tensor]:
        """Return {"loss": the sum to minimize, and its parts, to look at}.

        mask_logits: (S, h, w), of the queries that answer for the chosen
        segments, (S,).
        """
        masks = targets.masks(chosen)
        enlarged = F.interpolate(
            mask_logits[:, None],
            size=masks.shape[1:],
            mode="bilinear",
            align_corners=False,
        ).flatten(1)
        wanted = masks.flatten(1).to(enlarged.dtype)
        focal = focal_loss(enlarged, wanted, num_boxes)
        dice = dice_loss(enlarged, wanted, num_boxes)
        loss = self.focal * focal + self.dice * dice
        return {"loss": loss, "focal": focal, "dice": dice}
