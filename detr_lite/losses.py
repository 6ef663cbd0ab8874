"""Losses: what is wrong with the classes, the boxes and the masks."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.detr import DetrOutput
from detr_lite.matching import Matching
from detr_lite.panoptic_detr import PanopticOutput
from detr_lite.targets import Target


def class_loss(
    logits: Tensor,
    matching: Matching,
    targets: Sequence[Target],
    no_object_weight: float,
    total: float | None = None,
) -> Tensor:
    """Return the cross-entropy; unmatched queries should say "no object".

    logits: (B, N, K + 1).  The mean is weighted, as in the original: with
    100 queries and 7 segments, a weight of 0.1 makes both sides even.
    total: the sum of the weights, by default of this batch's queries.
    """
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], no_object, device=logits.device)
    wanted[matching.image, matching.query] = matching.gather(
        [t.labels for t in targets]
    )
    weight = torch.ones(no_object + 1, device=logits.device)
    weight[no_object] = no_object_weight
    if total is None:
        matched = len(matching.query)
        total = matched + (wanted.numel() - matched) * no_object_weight
    rows = logits.transpose(1, 2).float()
    return F.cross_entropy(rows, wanted, weight, reduction="sum") / total


def box_losses(
    boxes: Tensor,
    matching: Matching,
    targets: Sequence[Target],
    num_boxes: float,
) -> tuple[Tensor, Tensor]:
    """Return the L1 and the GIoU loss of the matched boxes.

    boxes: (B, N, 4) cxcywh; both are sums over pairs / num_boxes.
    """
    mine = boxes[matching.image, matching.query].float()
    wanted = matching.gather([t.boxes for t in targets])
    l1 = (mine - wanted).abs().sum() / num_boxes
    overlap = giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(wanted))
    return l1, (1 - overlap).sum() / num_boxes


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


def mask_pairs(
    output: PanopticOutput,
    matching: Matching,
    targets: Sequence[Target],
    size: tuple[int, int],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mask logits, (S, h, w), and wanted masks, (S, H, W) bool.

    All S pairs at once over the padded size, as the original has it; or, if
    the output tells the padding apart, each picture's over its own pixels.
    """
    sizes = output.detection.sizes
    wanted = [
        target.masks(matching.target[matching.image == i])
        for i, target in enumerate(targets)
    ]
    if sizes is None:
        masks = torch.cat([_pad(mask, size) for mask in wanted])
        yield output.mask_logits, masks
        return
    for i, masks in enumerate(wanted):
        h, w = sizes[i].res2
        mine = output.mask_logits[output.image_index == i, :h, :w]
        if len(mine):
            yield mine, masks


def _upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(S, h, w) -> (S, H W)."""
    return F.interpolate(
        logits[:, None].float(),
        size=size,
        mode="bilinear",
        align_corners=False,
    ).flatten(1)


def _pad(masks: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = masks.shape[1:]
    return F.pad(masks, (0, size[1] - width, 0, size[0] - height))


class DetectionLoss:
    """The weighted sum of class and box losses over all decoder layers.

    Source: paper, sections 3.1 and A.2; SetCriterion in the original.
    """

    def __init__(
        self, no_object_weight: float = 0.1, l1: float = 5, giou: float = 2
    ):
        self.no_object_weight = no_object_weight
        self.l1, self.giou = l1, giou

    def __call__(
        self,
        output: DetrOutput,
        matchings: Sequence[Matching],
        targets: Sequence[Target],
        num_boxes: float,
        class_weight: float | None = None,
    ) -> dict[str, Tensor]:
        """Return {"loss": the sum to minimize, and the last layer's parts}.

        matchings: one for each decoder layer; num_boxes, class_weight: what
        the losses are divided by, the latter by default of this batch.
        """
        total, parts = 0, {}
        for (logits, boxes), matching in zip(
            output.layers, matchings, strict=True
        ):
            ce = class_loss(
                logits,
                matching,
                targets,
                self.no_object_weight,
                class_weight,
            )
            l1, overlap = box_losses(boxes, matching, targets, num_boxes)
            total = total + ce + self.l1 * l1 + self.giou * overlap
            parts = {"class": ce, "l1": l1, "giou": overlap}
        return {"loss": total, **parts}


class MaskLoss:
    """Focal plus dice loss of the matched queries' masks, at full size.

    Args:
        focal, dice: what each loss is multiplied by.
    """

    def __init__(self, focal: float = 1, dice: float = 1):
        self.focal, self.dice = focal, dice

    def __call__(
        self,
        output: PanopticOutput,
        matching: Matching,
        targets: Sequence[Target],
        size: tuple[int, int],
        num_boxes: float,
    ) -> dict[str, Tensor]:
        """Return {"loss": the sum to minimize, and its parts, to look at}.

        output: has a mask for each pair of the matching, in its order;
        size: the padded pictures' (H, W).
        """
        total = output.mask_logits.float().sum() * 0.0  # if there are none
        focal = dice = total.detach()
        for logits, masks in mask_pairs(output, matching, targets, size):
            losses = self.weighted(logits.float(), masks, num_boxes)
            total = total + losses[0]
            focal, dice = focal + losses[1], dice + losses[2]
        return {"loss": total, "focal": focal, "dice": dice}

    def weighted(
        self, logits: Tensor, masks: Tensor, num_boxes: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum, the focal and the dice loss.

        logits: (S, h, w); masks: (S, H, W) bool.
        """
        enlarged = _upsample(logits, masks.shape[1:])
        wanted = masks.flatten(1).float()
        focal = focal_loss(enlarged, wanted, num_boxes)
        dice = dice_loss(enlarged, wanted, num_boxes)
        loss = self.focal * focal + self.dice * dice
        return loss, focal.detach(), dice.detach()
