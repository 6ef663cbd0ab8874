"""The original's algorithm, on the package's modules and weights.

Everything that the package saves is done here in full: the norms on their
own, encodings for four levels, attention with its weights averaged over the
heads, masks for all queries, post-processing over masks of the full size and
through PIL, six matchings of the whole batch at once, losses layer by layer,
the mask loss of all masks together.  It is slow on purpose: the benchmark
compares with it, and its tests that both give the same.
"""

import copy
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.detr import DETR, found
from detr_lite.losses import MaskLoss
from detr_lite.mask_head import MaskHead
from detr_lite.models import memory_format
from detr_lite.panoptic_detr import PanopticDETR, PanopticOutput, all_queries
from detr_lite.savings.folded_norms import fold_norms, unfold_norms
from detr_lite.targets import Targets
from detr_lite.transformer import MultiHeadAttention


def explicit_attention(self, query, key, value, padding_mask=None) -> Tensor:
    """MultiHeadAttention.forward, with the weights that it could return."""
    weights = self.weights(query, key, padding_mask)
    weights.mean(1)  # need_weights=True: averaged over the heads
    if self.training:
        weights = F.dropout(weights, self.dropout)
    rows = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
    mixed = weights @ self._split(F.linear(value, *rows))
    return self.out_proj(mixed.transpose(1, 2).flatten(2))


class UnsplitMaskHead(MaskHead):
    """A MaskHead that convolves the image again for each query."""

    def _image(self, src_proj: Tensor) -> Tensor:
        return src_proj

    def _first(self, image: Tensor, maps: Tensor) -> Tensor:
        return self.lay1(torch.cat((image, maps), 1))


def unsplit(head: MaskHead) -> MaskHead:
    """Return a mask head of the same weights that takes the long way."""
    other = copy.copy(head)
    other.__class__ = UnsplitMaskHead
    return other


@contextmanager
def savings_off(model: PanopticDETR):
    """Let a model compute as the original does; all is put back after.

    That knows no batch without a padding mask, so neither does the model.
    """
    head, detr = model.mask_head, model.detr
    attentions = [
        module
        for module in detr.transformer.modules()
        if isinstance(module, MultiHeadAttention)
    ]
    order = torch.contiguous_format
    if not head.lay1.weight.is_contiguous():
        order = memory_format(model.config)
    _, position = detr.backbone

    def four_levels(module: DETR, inputs) -> tuple[Tensor, Tensor]:
        images, padding_mask = inputs
        if padding_mask is None:
            padding_mask = torch.zeros_like(images[:, 0], dtype=torch.bool)
        for stride in (4, 8, 16):  # Res5's follows in the forward itself
            size = [-(-side // stride) for side in images.shape[-2:]]
            mask = F.interpolate(padding_mask[:, None].float(), size)
            position(mask[:, 0].bool())
        return images, padding_mask

    hook = detr.register_forward_pre_hook(four_levels)
    try:
        unfold_norms(model)
        model.to(memory_format=torch.contiguous_format)
        model.mask_head = unsplit(head)
        for module in attentions:
            module.forward = partial(explicit_attention, module)
        yield model
    finally:
        hook.remove()
        model.mask_head = head
        for module in attentions:
            vars(module).pop("forward", None)
        fold_norms(model)
        model.to(memory_format=order)


def panoptic_ids(
    output: PanopticOutput,
    threshold: float,
    isthing: Sequence[bool],
    size: tuple[int, int],
    out_size: tuple[int, int],
    min_area: int = 4,
) -> Tensor:
    """Return which query each pixel of one image goes to, (H, W).

    output: has a mask for every query.
    Source: PostProcessPanoptic in the original, with what it computes.
    """
    keep = found(output.class_logits, threshold)[0]
    labels = output.class_logits[0, keep].argmax(-1)
    masks = F.interpolate(
        output.mask_logits[keep][:, None],
        size=size,
        mode="bilinear",
        align_corners=False,
    ).squeeze(1)

    def assign(masks: Tensor, labels: Tensor, merge: bool):
        pixels = masks.flatten(1).transpose(0, 1).softmax(-1)
        best = pixels.argmax(-1).view(size)
        if merge:
            first: dict[int, int] = {}
            for i, label in enumerate(labels.tolist()):
                if not isthing[label] and first.setdefault(label, i) != i:
                    best.masked_fill_(best.eq(i), first[label])
        codes = best.cpu().numpy().astype(np.int64)
        rgb = np.stack([codes >> s & 255 for s in (0, 8, 16)], -1)
        picture = Image.fromarray(rgb.astype(np.uint8))
        picture = picture.resize(out_size[::-1], Image.Resampling.NEAREST)
        rgb = np.asarray(picture).astype(np.int64)
        codes = torch.from_numpy(rgb @ (1, 256, 65536))
        return codes, [codes.eq(i).sum().item() for i in range(len(labels))]

    alive = keep.nonzero().flatten()
    ids, areas = assign(masks, labels, True)
    while len(labels):
        large = torch.tensor([a > min_area for a in areas])
        if large.all():
            break
        masks, labels, alive = masks[large], labels[large], alive[large]
        if len(labels):
            ids, areas = assign(masks, labels, False)
    return alive.cpu()[ids]


@torch.no_grad()
def matchings(logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
    """Return the query of each segment, (layers, T); see HungarianMatcher.

    Each layer is matched by the costs of all queries and all segments of a
    batch: most of the (B N) x T costs are of queries and segments of
    different images.  Source: HungarianMatcher in the original.
    """
    layers, batch, num_queries = logits.shape[:3]
    queries = torch.full((layers, len(targets.labels)), num_queries)
    for layer in range(layers):
        mine = boxes[layer].flatten(0, 1)
        cost = 5 * torch.cdist(mine, targets.boxes, p=1)
        probability = logits[layer].flatten(0, 1).softmax(-1)
        cost = cost - probability[:, targets.labels]
        cost = cost - 2 * all_with_all(mine, targets.boxes)
        cost = cost.view(batch, num_queries, -1).cpu()
        first = 0
        for i, part in enumerate(cost.split(targets.counts, -1)):
            chosen, segments = linear_sum_assignment(part[i])
            queries[layer, first + segments] = torch.from_numpy(chosen)
            first += targets.counts[i]
    return queries.to(logits.device)


def all_with_all(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return the GIoU of each of some boxes with each of others."""
    mine, theirs = cxcywh_to_xyxy(mine), cxcywh_to_xyxy(theirs)
    return giou(mine[:, None], theirs[None])


def detection_loss(
    logits: Tensor,
    boxes: Tensor,
    queries: Tensor,
    targets: Targets,
    num_boxes: float,
) -> Tensor:
    """Return the loss of classes and boxes, layer by layer, as a sum.

    The GIoU of all matched boxes with all is taken, for its diagonal.
    logits: (layers, B, N, K + 1); boxes: (layers, B, N, 4); queries:
    (layers, T), all below N.  Source: SetCriterion in the original.
    """
    no_object = logits.shape[-1] - 1
    weight = logits.new_ones(no_object + 1)
    weight[no_object] = 0.1
    total = logits.new_zeros(())
    for layer, chosen in enumerate(queries):
        pairs = targets.image, chosen
        wanted = torch.full_like(logits[layer, :, :, 0], no_object).long()
        wanted[pairs] = targets.labels
        total = total + F.cross_entropy(
            logits[layer].transpose(1, 2), wanted, weight
        )
        mine = boxes[layer][pairs]
        far = F.l1_loss(mine, targets.boxes, reduction="none").sum()
        overlap = all_with_all(mine, targets.boxes).diagonal()
        total = total + (5 * far + 2 * (1 - overlap).sum()) / num_boxes
    return total


def mask_step_loss(
    model: PanopticDETR, images: Tensor, targets: Targets
) -> tuple[Tensor, Tensor]:
    """Return the loss of a step of the mask phase, and its part of masks.

    As the original takes it: all queries get a mask, all decoder layers a
    matching, all losses are taken, and the matched masks are chosen in the
    end.
    """
    output = model(images, None, all_queries)
    count = float(len(targets.labels))
    layers = output.detection.layer_logits, output.detection.layer_boxes
    queries = matchings(*layers, targets)
    rows = targets.image * output.boxes.shape[1] + queries[-1]
    segments = torch.arange(len(rows), device=rows.device)
    losses = MaskLoss()(output.mask_logits[rows], segments, targets, count)
    others = detection_loss(*layers, queries, targets, count)
    return losses["loss"] + others, losses["loss"]
