"""What a step of each phase minimizes, from a batch to its losses.

Each is a module, so that data-parallel training wraps all of it.  With a
lower precision only the model runs in it; the matching and the losses are
float32, as are the weights and the optimizer's state.
"""

from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detr_lite.data.batch import Batch
from detr_lite.detr import DETR, DetrOutput
from detr_lite.inference.speed import computing
from detr_lite.losses import DetectionLoss
from detr_lite.matching import HungarianMatcher, matched
from detr_lite.panoptic_detr import PanopticDETR
from detr_lite.savings.mask_losses import MaskLossInParts
from detr_lite.training.pretraining import PixelClassifier, pixel_loss
from detr_lite.training.recipes import Engine
from detr_lite.training.totals import Totals, answers


class PixelStep(nn.Module):
    """Phase "backbone": the class of each position's pixel."""

    def __init__(
        self, classifier: PixelClassifier, isthing: Tensor, engine: Engine
    ):
        super().__init__()
        self.classifier, self.precision = classifier, engine.precision
        self.register_buffer("isthing", isthing, persistent=False)

    def forward(self, batch: Batch, totals: Totals) -> dict[str, Tensor]:
        """Return the batch's part of the step's losses."""
        with computing(batch.images.device, self.precision):
            logits = self.classifier(batch.images)
        losses = pixel_loss(logits.float(), batch.targets, self.isthing)
        part = len(batch.images) / totals.images
        return {name: value * part for name, value in losses.items()}


class BoxStep(nn.Module):
    """Phase "boxes": classes and boxes of every decoder layer."""

    def __init__(self, detr: DETR, no_object_weight: float, engine: Engine):
        super().__init__()
        self.detr, self.precision = detr, engine.precision
        self.matcher = HungarianMatcher()
        self.loss = DetectionLoss(no_object_weight)

    def forward(self, batch: Batch, totals: Totals) -> dict[str, Tensor]:
        """Return the batch's part of the step's losses."""
        with computing(batch.images.device, self.precision):
            detection = self.detr(batch.images, batch.padding_mask)
        queries = match_layers(self.matcher, detection, batch)
        return box_losses(self.loss, detection, queries, batch, totals)


class MaskStep(nn.Module):
    """Phases "masks" and "joint": masks of the matched queries.

    Only they can get a mask loss, so only they get a mask: same loss and
    gradients as with all N, for a fraction of the time and memory.

    Args:
        model: the detector, and the heads that make masks.
        box_loss: in phase "joint"; None leaves classes and boxes alone.
        engine: its checkpoint_masks makes the head compute its activations
            again for the gradients instead of keeping them.
    """

    def __init__(
        self,
        model: PanopticDETR,
        box_loss: DetectionLoss | None,
        engine: Engine,
    ):
        super().__init__()
        self.model, self.precision = model, engine.precision
        self.matcher = HungarianMatcher()
        self.box_loss, self.mask_loss = box_loss, MaskLossInParts()
        self.add_masks = model.add_masks
        if engine.checkpoint_masks:
            self.add_masks = partial(
                checkpoint,
                model.add_masks,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing in it is random
            )

    def forward(self, batch: Batch, totals: Totals) -> dict[str, Tensor]:
        """Return the batch's part of the step's losses."""
        images, targets = batch.images, batch.targets
        with computing(images.device, self.precision):
            detection = self.model.detr(images, batch.padding_mask)
        last_only = self.box_loss is None
        queries = match_layers(self.matcher, detection, batch, last_only)
        num_queries = detection.boxes.shape[1]
        chosen = matched(queries[-1], targets, num_queries)
        with computing(images.device, self.precision):
            output = self.add_masks(
                detection, targets.image[chosen], queries[-1][chosen]
            )
        losses = self.mask_loss(
            output.mask_logits.float(), chosen, targets, totals.boxes
        )
        if self.box_loss is None:
            return losses
        boxes = box_losses(self.box_loss, detection, queries, batch, totals)
        return {**losses, **boxes, "loss": losses["loss"] + boxes["loss"]}


def match_layers(
    matcher: HungarianMatcher,
    detection: DetrOutput,
    batch: Batch,
    last_only: bool = False,
) -> Tensor:
    """Return the query of each segment, (layers, T), or of the last layer."""
    layers = slice(-1 if last_only else 0, None)
    return matcher(
        detection.layer_logits[layers].float(),
        detection.layer_boxes[layers].float(),
        batch.targets,
    )


def box_losses(
    loss: DetectionLoss,
    detection: DetrOutput,
    queries: Tensor,
    batch: Batch,
    totals: Totals,
) -> dict[str, Tensor]:
    """Return the losses of classes and boxes, and how right they are."""
    logits, boxes = detection.layer_logits.float(), detection.layer_boxes
    losses = loss(
        logits,
        boxes.float(),
        queries,
        batch.targets,
        totals.boxes,
        totals.class_weight,
    )
    right = answers(logits[-1], queries[-1], batch.targets, totals)
    return losses | right
