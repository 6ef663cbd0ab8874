"""The models that a user holds: they know their classes and can predict."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from detr_lite.data.batch import pad_images
from detr_lite.data.categories import Categories
from detr_lite.data.images import read_image
from detr_lite.data.resizing import resize_picture
from detr_lite.detr import DetrOutput, found
from detr_lite.errors import ConfigError
from detr_lite.inference.results import Prediction
from detr_lite.inference.summary import trainable_summary
from detr_lite.models import (
    ModelConfig,
    build_detr,
    memory_format,
    panoptic_parts,
)
from detr_lite.panoptic import Segment, panoptic_results
from detr_lite.panoptic_detr import PanopticDETR


class PanopticModel(PanopticDETR):
    """A PanopticDETR that knows its configuration and its classes.

    Args:
        config: the sizes to build it with.
        categories: what its labels mean.
    """

    def __init__(self, config: ModelConfig, categories: Categories):
        super().__init__(**panoptic_parts(config), threshold=config.threshold)
        self.config, self.categories = config, categories

    @torch.inference_mode()
    def predict(
        self, image, threshold: float | None = None, mode: str = "union"
    ) -> Prediction:
        """Return the panoptic segmentation of one picture.

        image: a path, PIL image, array or tensor; see read_image.
        threshold: how sure a query must be, 0 to 1 (default: the model's).
        mode: what becomes of masks of one stuff class; "union" makes one
            segment of them, "original" does as the original's code.
        """
        if threshold is None:
            threshold = self.threshold

        def keep(detection: DetrOutput) -> Tensor:
            return found(detection.class_logits, threshold)

        picture, small = _fitted(self, image)
        with evaluating(self):
            output = self(*pad_images([small]), keep)
        size = tuple(small.shape[1:])
        result = panoptic_results(
            output,
            [c.isthing for c in self.categories],
            size,
            [size],
            [tuple(picture.shape[1:])],
            mode,
        )[0]
        rows = {q: i for i, q in enumerate(output.query_index.tolist())}
        shown = [rows[s.query] for s in result.segments]
        return Prediction(
            image=picture,
            id_map=result.id_map,
            segments=result.segments,
            categories=self.categories,
            attention_maps=output.attention_maps[shown].cpu(),
            name=_name(image),
        )

    def trainable_summary(self) -> str:
        """Return a table of the parts and what training changes of them."""
        return trainable_summary(self)


class DetectionModel(nn.Module):
    """DETR without a mask head: boxes alone.

    Its tensors have the names that they have in a PanopticModel.

    Args:
        config: the sizes to build it with; `masks` is False.
        categories: what its labels mean.

    Attributes:
        threshold: how sure a query must be, at first the configuration's.
    """

    def __init__(self, config: ModelConfig, categories: Categories):
        super().__init__()
        self.detr = build_detr(config)
        self.config, self.categories = config, categories
        self.threshold = config.threshold

    def forward(self, images: Tensor, padding_mask: Tensor) -> DetrOutput:
        """Find boxes; see DETR.forward."""
        return self.detr(images, padding_mask)

    @torch.inference_mode()
    def predict(self, image, threshold: float | None = None) -> Prediction:
        """Return the boxes in one picture whose class is sure enough.

        image: a path, PIL image, array or tensor; see read_image.
        threshold: how sure a query must be, 0 to 1 (default: the model's).

        A query's class is its best but "no object", which need not be below
        it.  Source: PostProcess in the original.
        """
        if threshold is None:
            threshold = self.threshold
        picture, small = _fitted(self, image)
        with evaluating(self):
            output = self(*pad_images([small]))
        scores, labels = output.class_logits[0].softmax(-1)[:, :-1].max(-1)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > threshold]
        columns = (order, labels[order], scores[order], output.boxes[0][order])
        segments = tuple(
            Segment(number, label, score, 0, query, tuple(box))
            for number, (query, label, score, box) in enumerate(
                zip(*(x.tolist() for x in columns), strict=True), 1
            )
        )
        return Prediction(
            picture, None, segments, self.categories, None, _name(image)
        )

    def trainable_summary(self) -> str:
        """Return a table of the parts and what training changes of them."""
        return trainable_summary(self)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode; then each module is as it was.

    A model that is in eval mode is not touched, so threads may share it.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _fitted(
    model: PanopticModel | DetectionModel, image
) -> tuple[Tensor, Tensor]:
    """Return a picture as it is, and on the device at the model's size."""
    picture = read_image(image)
    config = model.config
    small = resize_picture(picture, config.shortest, config.longest)
    return picture, small.to(next(model.parameters()).device)


def _name(image) -> str:
    """Return the name of an image's file, without folder and suffix."""
    return Path(image).stem if isinstance(image, str | Path) else "image"


def build_model(
    config: ModelConfig, categories: Categories
) -> PanopticModel | DetectionModel:
    """Return the model of a configuration, with random weights.

    Its weights lie in memory as memory_format says; what a convolution
    computes from them does so too.
    """
    if config.num_classes != len(categories):
        raise ConfigError(
            f"The configuration has {config.num_classes} classes, the list "
            f"of categories {len(categories)}; they must agree."
        )
    kind = PanopticModel if config.masks else DetectionModel
    model = kind(config, categories)
    return model.to(memory_format=memory_format(config))
