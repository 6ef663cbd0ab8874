"""The original's algorithm, on the package's modules and weights.

Everything that the package saves is done here in full: the norms on their
own, encodings for four levels, attention with its weights averaged over the
heads, masks for all queries, post-processing over masks of the full size and
through PIL, six matchings of the whole batch at once, the mask loss of all
masks together.  It is slow on purpose: the benchmark compares with it, and
its tests that both give the same.
"""

import copy
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

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
from detr_lite.matching import Matching
from detr_lite.models import memory_format
from detr_lite.panoptic_detr import PanopticDETR, PanopticOutput, all_queries
from detr_lite.savings.folded_norms import fold_norms, unfold_norms
from detr_lite.targets import Target
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
        image = image.expand(maps.shape[0], -1, -1, -1)
        return self.lay1(torch.cat((image, maps), 1))


def unsplit(head: MaskHead) -> MaskHead:
    """Return a mask head of the same weights that takes the long way."""
    other = copy.copy(head)
    other.__class__ = UnsplitMaskHead
    other.chunk = None
    return other


@contextmanager
def savings_off(model: PanopticDETR):
    """Let a model compute as the original does; all is put back after."""
    head, detr = model.mask_head, model.detr
    attention = MultiHeadAttention.forward
    order = torch.contiguous_format
    if not head.lay1.weight.is_contiguous():
        order = memory_format(model.config)
    _, position = detr.backbone

    def four_levels(module: DETR, inputs) -> None:
        images, padding_mask = inputs
        for stride in (4, 8, 16):  # Res5's follows in the forward itself
            size = [-(-side // stride) for side in images.shape[-2:]]
            mask = F.interpolate(padding_mask[:, None].float(), size)
            position(mask[:, 0].bool())

    hook = detr.register_forward_pre_hook(four_levels)
    try:
        unfold_norms(model)
        model.to(memory_format=torch.contiguous_format)
        model.mask_head = unsplit(head)
        MultiHeadAttention.forward = explicit_attention
        yield model
    finally:
        hook.remove()
        model.mask_head, MultiHeadAttention.forward = head, attention
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
    """Return which query each pixel of one picture goes to, (H, W).

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
    return alive[ids]


@torch.no_grad()
def matchings(
    layers: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Target]
) -> list[Matching]:
    """Match each layer by costs of all queries and all segments of a batch.

    Most of the (B N) x (sum of T) costs are of queries and segments of
    different pictures.  Source: HungarianMatcher in the original.
    """
    result = []
    labels = torch.cat([t.labels for t in targets])
    wanted = torch.cat([t.boxes for t in targets])
    counts = [len(t.labels) for t in targets]
    for logits, boxes in layers:
        batch, queries = logits.shape[:2]
        mine = boxes.flatten(0, 1)
        cost = 5 * torch.cdist(mine, wanted, p=1)
        cost = cost - logits.flatten(0, 1).softmax(-1)[:, labels]
        cost = cost - 2 * giou(
            cxcywh_to_xyxy(mine)[:, None], cxcywh_to_xyxy(wanted)[None]
        )
        cost = cost.view(batch, queries, -1).cpu()
        triples = [
            (i, q, t)
            for i, part in enumerate(cost.split(counts, -1))
            for q, t in zip(*linear_sum_assignment(part[i]), strict=True)
        ]
        result.append(Matching(*torch.tensor(triples).view(-1, 3).T))
    return result


def mask_step_loss(
    model: PanopticDETR, images: Tensor, targets: Sequence[Target]
) -> Tensor:
    """Return the loss of a step of the mask phase, as the original takes it.

    All queries get a mask, all decoder layers a matching, all losses are
    taken, and the matched masks are chosen in the end.
    """
    padding = torch.zeros_like(images[:, 0], dtype=torch.bool)
    output = model(images, padding, all_queries)
    layers = matchings(output.detection.layers, targets)
    pairs = layers[-1]
    count = float(sum(len(t.labels) for t in targets))
    rows = pairs.image * output.boxes.shape[1] + pairs.query
    matched = replace(
        output,
        image_index=pairs.image,
        query_index=pairs.query,
        mask_logits=output.mask_logits[rows],
    )
    size = tuple(images.shape[-2:])
    return MaskLoss()(matched, pairs, targets, size, count)["loss"]
