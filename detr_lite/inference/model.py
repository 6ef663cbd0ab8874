"""The models that a user holds: they know their classes and can predict."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import length_hint
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from detr_lite.data.categories import Categories
from detr_lite.data.images import images_in, read_image
from detr_lite.detr import DETR, DetrOutput, found
from detr_lite.errors import ConfigError, ImageError
from detr_lite.files.ahead import ahead
from detr_lite.inference.batches import FittedBatch, fitted_batches
from detr_lite.inference.results import Prediction
from detr_lite.inference.speed import Speed, computing, float32_answers
from detr_lite.models import (
    ModelConfig,
    build_detr,
    memory_format,
    panoptic_parts,
)
from detr_lite.panoptic import Segment, panoptic_results
from detr_lite.panoptic_detr import Keep, PanopticDETR, PanopticOutput
from detr_lite.ragged import to_host
from detr_lite.weights.adapting import LoadReport

# So that torch.export takes the models as they are.
torch.export.register_dataclass(DetrOutput)
torch.export.register_dataclass(PanopticOutput)


class Predicts(nn.Module):
    """What both kinds of models do: predict images, one or many."""

    detr: DETR
    config: ModelConfig
    find: Callable[..., list[Prediction]]

    def predict(
        self,
        images,
        threshold: float | None = None,
        batch_size: int | None = None,
        **options,
    ):
        """Return what is in one image, or a list of it for several.

        images: a path, PIL image, array or tensor (see read_image); or a
            list of such, or a folder of image files.
        threshold: how sure a query must be, 0 to 1 (default: the model's).
        batch_size: images at a time; see usual_batch_size.
        mode: of a model that makes masks, what becomes of masks of one
            stuff class: "union" makes one segment of them, "original" does
            as the original's code.
        """
        if isinstance(images, str | Path) and Path(images).is_dir():
            images = images_in(Path(images))
        many = isinstance(images, Sequence) and not isinstance(images, str)
        sources = images if many else [images]
        options["threshold"] = threshold
        results = dict(self.predict_each(sources, batch_size, **options))
        found = [results[number] for number in range(len(sources))]
        return found if many else found[0]

    def predict_each(
        self,
        images: Iterable,
        batch_size: int | None = None,
        read: Callable[..., Tensor] = read_image,
        failure: Callable[[int, ImageError], None] | None = None,
        **options,
    ) -> Iterator[tuple[int, Prediction]]:
        """Yield the place of each image, from 0, and what is in it.

        Images are read while others are computed, and come in the order in
        which their batches do; see fitted_batches.

        read: makes of an entry of images a (3, H, W) uint8 tensor.
        failure: called with the place of an image that cannot be read, and
            why; the others go on (default: the error is raised).
        For the options see predict.
        """
        check_threshold(options.get("threshold"))
        device = next(self.parameters()).device
        # Threads gain nothing where one image is all there is.
        work = map if length_hint(images, 2) < 2 else ahead

        def try_to_read(item):
            number, source = item
            try:
                return number, source, read(source)
            except ImageError as error:
                if failure is None:
                    raise
                return number, source, error

        def pairs():
            for number, source, image in work(try_to_read, enumerate(images)):
                if isinstance(image, ImageError):
                    failure(number, image)
                else:
                    yield (number, source, image), image

        for batch in fitted_batches(pairs(), self.config, device, batch_size):
            results = self.find(batch, **options)
            for (number, source, _), result in zip(
                batch.items, results, strict=True
            ):
                yield number, replace(result, name=_name(source))

    def trainable_summary(self) -> str:
        """Return a table: each part, its parameters, how many are trained.

        The statistics of frozen batch norms are no parameters.
        """
        detr = self.detr
        parts = {
            "backbone": detr.backbone,
            "input_proj": detr.input_proj,
            "encoder": detr.transformer.encoder,
            "decoder": detr.transformer.decoder,
            "query_embed": detr.query_embed,
            "class_embed": detr.class_embed,
            "bbox_embed": detr.bbox_embed,
        }
        for name in ("bbox_attention", "mask_head"):
            if hasattr(self, name):
                parts[name] = getattr(self, name)
        lines = [f"{'part':14} {'parameters':>12} {'trained':>12}"]
        for name, part in {**parts, "all": self}.items():
            counts = [p.numel() for p in part.parameters()]
            trained = [p.numel() for p in part.parameters() if p.requires_grad]
            lines.append(
                f"{name:14} {sum(counts):12,} "
                + (f"{sum(trained):12,}" if trained else f"{'frozen':>12}")
            )
        return "\n".join(lines)


class PanopticModel(Predicts, PanopticDETR):
    """A PanopticDETR that knows its configuration and its classes.

    Args:
        config: the sizes to build it with.
        categories: what its labels mean.
        speed: how it computes.
        load_report: what isn't as in the file that it was loaded from.
    """

    def __init__(
        self,
        config: ModelConfig,
        categories: Categories,
        speed: Speed | None = None,
        load_report: LoadReport | None = None,
    ):
        speed = speed or Speed()
        parts = panoptic_parts(config, speed.chunk)
        super().__init__(**parts, threshold=config.threshold)
        self.config, self.categories = config, categories
        self.speed, self.load_report = speed, load_report

    def forward(
        self,
        images: Tensor,
        padding_mask: Tensor | None = None,
        keep: Keep | None = None,
    ) -> PanopticOutput:
        """Find boxes, then make masks; see PanopticDETR.forward."""
        with computing(images.device, self.speed.precision):
            output = super().forward(images, padding_mask, keep)
        return float32_answers(output)

    @torch.inference_mode()
    def run(
        self, batch: FittedBatch, threshold: float | None = None
    ) -> PanopticOutput:
        """Return the output for a batch, as in eval mode."""
        if threshold is None:
            threshold = self.threshold

        def keep(detection: DetrOutput) -> Tensor:
            return found(detection.class_logits, threshold)

        with evaluating(self):
            return self(batch.images, batch.padding_mask, keep)

    @torch.inference_mode()
    def find(
        self,
        batch: FittedBatch,
        threshold: float | None = None,
        mode: str = "union",
    ) -> list[Prediction]:
        """Return what is in each image of a batch; see predict.

        batch: its items' last entries are the images, (3, H, W).
        """
        output = self.run(batch, threshold)
        images = [image for *_, image in batch.items]
        # Copied meanwhile: the results below wait for the device.
        maps = output.attention_maps.to("cpu", non_blocking=True)
        results = panoptic_results(
            output,
            [c.isthing for c in self.categories],
            batch.padded_size,
            batch.sizes,
            [tuple(image.shape[1:]) for image in images],
            mode=mode,
        )
        indices = output.image_index.tolist(), output.query_index.tolist()
        rows = {pair: r for r, pair in enumerate(zip(*indices, strict=True))}
        return [
            Prediction(
                image,
                result.id_map,
                result.segments,
                self.categories,
                maps[[rows[number, s.query] for s in result.segments]],
            )
            for number, (image, result) in enumerate(
                zip(images, results, strict=True)
            )
        ]


class DetectionModel(Predicts):
    """DETR without a mask head: boxes alone.

    Its tensors have the names that they have in a PanopticModel.

    Args:
        config: the sizes to build it with; `masks` is False.
        categories: what its labels mean.
        speed: how it computes.
        load_report: what isn't as in the file that it was loaded from.

    Attributes:
        threshold: how sure a query must be, at first the configuration's.
    """

    def __init__(
        self,
        config: ModelConfig,
        categories: Categories,
        speed: Speed | None = None,
        load_report: LoadReport | None = None,
    ):
        super().__init__()
        self.detr = build_detr(config)
        self.config, self.categories = config, categories
        self.threshold = config.threshold
        self.speed, self.load_report = speed or Speed(), load_report

    def forward(
        self, images: Tensor, padding_mask: Tensor | None = None
    ) -> DetrOutput:
        """Find boxes; see DETR.forward."""
        with computing(images.device, self.speed.precision):
            output = self.detr(images, padding_mask)
        return float32_answers(output)

    @torch.inference_mode()
    def run(self, batch: FittedBatch) -> DetrOutput:
        """Return the output for a batch, as in eval mode."""
        with evaluating(self):
            return self(batch.images, batch.padding_mask)

    @torch.inference_mode()
    def find(
        self, batch: FittedBatch, threshold: float | None = None
    ) -> list[Prediction]:
        """Return the boxes in each image whose class is sure enough.

        A query's class is its best but "no object", which need not be below
        it.  Source: PostProcess in the original.

        batch: as for a PanopticModel.
        """
        if threshold is None:
            threshold = self.threshold
        output = self.run(batch)
        scores, labels = output.class_logits.softmax(-1)[..., :-1].max(-1)
        columns = to_host(scores, labels, output.boxes)
        results = []
        for (*_, image), *answers in zip(
            batch.items, *(x.tolist() for x in columns), strict=True
        ):
            queries = zip(range(len(answers[0])), *answers, strict=True)
            sure = [row for row in queries if row[1] > threshold]
            sure.sort(key=lambda row: -row[1])  # the surest first
            segments = tuple(
                Segment(number, label, score, 0, query, tuple(box))
                for number, (query, score, label, box) in enumerate(sure, 1)
            )
            results.append(
                Prediction(image, None, segments, self.categories, None)
            )
        return results


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


def check_threshold(threshold: float | None) -> None:
    """Refuse a threshold that is not from 0 to 1; None is the model's own."""
    if threshold is None:
        return
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ConfigError(
            f"threshold must be a number from 0 to 1, not {threshold!r}."
        )


def _name(image) -> str:
    """Return the name of an image's file, without folder and suffix."""
    return Path(image).stem if isinstance(image, str | Path) else "image"


def build_model(
    config: ModelConfig,
    categories: Categories,
    speed: Speed | None = None,
    load_report: LoadReport | None = None,
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
    model = kind(config, categories, speed, load_report)
    if model.speed.compile:
        model.detr.backbone[0].body.compile()
        model.detr.transformer.compile()
    return _in_order(model)


def _in_order(
    model: PanopticModel | DetectionModel,
) -> PanopticModel | DetectionModel:
    """Let a model's weights lie in memory as its settings want."""
    order = memory_format(model.config)
    if not model.speed.channels_last:
        order = torch.contiguous_format
    return model.to(memory_format=order)


class _WithoutRandomNumbers(TorchFunctionMode):
    """Leaves out what fills a new model's tensors, for they are replaced.

    On "meta" it would first load a compiler, for seconds.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        random = function in (Tensor.normal_, Tensor.uniform_)
        if random or getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Let models be built whose tensors have a shape and no numbers."""
    with torch.device("meta"), _WithoutRandomNumbers():
        yield


def tuned(
    model: PanopticModel | DetectionModel,
    speed: Speed,
    load_report: LoadReport | None = None,
) -> PanopticModel | DetectionModel:
    """Return a model of the same weights that computes as the settings say.

    Weights that lie in memory alike are shared, not copied.
    load_report: that of the new model (default: the old one's).
    """
    report = model.load_report if load_report is None else load_report
    with shapes_alone():
        other = build_model(model.config, model.categories, speed, report)
    other.load_state_dict(model.state_dict(), assign=True)
    other.threshold = model.threshold
    return _in_order(other).train(model.training)
