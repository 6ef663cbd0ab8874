"""Loading: whole models, ready to predict, and backbones.

Our own files are safetensors: numbers and text, no code.  The text holds the
configuration and the categories, so a file is a whole model.  Files of the
original and of transformers hold tensors alone, from whose shapes
weights/inferred_config.py reads the configuration.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.categories import numbered_categories
from detr_lite.devices import device_named
from detr_lite.errors import ConfigError, DataError, WeightsError
from detr_lite.files.output import expanded
from detr_lite.files.records import checked_text, said
from detr_lite.inference.model import (
    DetectionModel,
    PanopticModel,
    build_model,
    shapes_alone,
    tuned,
)
from detr_lite.inference.speed import Speed
from detr_lite.models import ModelConfig
from detr_lite.weights.adapting import (
    LoadReport,
    with_classes,
    with_queries,
)
from detr_lite.weights.catalog import (
    BACKBONE_FILE,
    SOURCES,
    imagenet_file,
    shipped_file,
    source_file,
    source_named,
)
from detr_lite.weights.inferred_config import (
    categories_of,
    check_original,
    config_of,
)
from detr_lite.weights.layouts import State, convert, layout_of
from detr_lite.weights.reading import read_checkpoint
from detr_lite.weights.writing import FORMAT

Model = PanopticModel | DetectionModel
MASKS = ("bbox_attention.", "mask_head.")


def load_model(
    source: str | Path,
    device: str | None = None,
    *,
    masks: bool | None = None,
    num_classes: int | None = None,
    num_queries: int | None = None,
    categories: Sequence[Category] | None = None,
    dilate_res5: bool | None = None,
    exact_padding: bool | None = None,
    speed: Speed | None = None,
) -> Model:
    """Return a trained model, ready to predict.

    The model's `load_report` says what is not as in the file; it is empty
    if everything is.

    source: a name that `detr-lite models` lists, or a file: one that
        training wrote, or one of the original or of transformers.  A name is
        fetched once, and kept where torch.hub keeps weights.
    device: "cpu", "cuda", "mps", ... (default: a GPU if there is one).
    masks: False leaves the mask head of a file out, True puts a new one on
        a model for boxes, for phase "masks" to train.
    num_classes: another number of classes than the file's, with a new class
        head.
    categories: what the labels mean, if the file does not say, or other
        classes, with a class head that keeps what both know.
    num_queries: more or fewer than the file's.
    dilate_res5: DC5, which files of the original and of transformers do not
        tell (default: if the file's name says "dc5").
    exact_padding: False puts images of several sizes into one batch, padded,
        as the original does, where they change each other's results a
        little; see fitted_batches (default: the file's, or True).
    speed: settings that trade, such as Speed(precision="bf16").

    WeightsError and ConfigError say what does not fit.
    """
    device = device_named(device)
    path, known_dilation = _find(str(source))
    text, state = read_checkpoint(path)
    if dilate_res5 is None:
        dilate_res5 = known_dilation
    layout = layout_of(state)
    if "config" in text or layout is None:
        config, old = _read_metadata(path, text)
        old_known = True
        if dilate_res5 is not None:
            config = replace(config, dilate_res5=dilate_res5)
    else:
        state = convert(state, "detr_lite")
        if dilate_res5 is None:
            dilate_res5 = "dc5" in path.name.lower()
        try:
            config = config_of(state, path, dilate_res5)
        except ConfigError as error:
            raise WeightsError(
                f"{path} is no whole model ({error}); get it again."
            ) from error
        if layout == "original":  # or ours, whose names are the same
            check_original(config, path)
        old, old_known = categories_of(config)
    _check_file(state, path, config, old)
    if num_queries is not None and num_queries < 1:
        raise ConfigError(
            f"num_queries must be at least 1, not {num_queries}."
        )
    new = _wanted_classes(old, old_known, num_classes, categories)
    if masks is None:
        masks = config.masks
    elif masks and not config.masks and categories is None:
        _check_stuff(path, new)
    wanted = replace(
        config,
        masks=masks,
        num_classes=len(new),
        num_queries=num_queries or config.num_queries,
    )
    if exact_padding is not None:
        wanted = replace(wanted, exact_padding=exact_padding)
    model = build_model(wanted, new)
    report = _load_adapted(
        model, state, path, config, old if old_known else None
    )
    report = replace(report, source=str(source))
    return tuned(model, speed or Speed(), report).to(device).eval()


def load_backbone(
    model: PanopticModel, source: str | Path | None = None
) -> None:
    """Load a ResNet's weights into a model.

    source: a file that phase "backbone" wrote, or one of torchvision, whose
    classifier is left out; "imagenet" for the weights of torchvision that
    the original starts from; default: the shipped ones of the scenes.
    """
    if source is None:
        path = shipped_file(BACKBONE_FILE)
    elif source == "imagenet":
        path = imagenet_file(model.config)
    else:
        path = Path(source)
    _, state = read_checkpoint(path)
    state = {n: t for n, t in state.items() if not n.startswith("fc.")}
    _load_state(model.detr.backbone[0].body, state, path)


def _find(source: str) -> tuple[Path, bool | None]:
    """Return the file of a name or a path, and whether it is known as DC5."""
    known = source_named(source)
    if known is not None:
        return source_file(known), known.dilate_res5
    path = expanded(source)
    if not path.exists():
        raise WeightsError(
            f"{source} is neither a file nor a known model "
            f"({', '.join(SOURCES)})."
        )
    return path, None


def _wanted_classes(
    old: Categories,
    old_known: bool,
    num_classes: int | None,
    categories: Sequence[Category] | None,
) -> Categories:
    """Return what the labels of the model to build shall mean."""
    if categories is not None:
        new = Categories(categories)
        if num_classes not in (None, len(new)):
            raise ConfigError(
                f"num_classes is {num_classes} but there are {len(new)} "
                "categories; leave num_classes out."
            )
        return new
    if num_classes in (None, len(old)):
        return old
    if num_classes < 1:
        raise ConfigError(
            f"num_classes must be at least 1, not {num_classes}."
        )
    return numbered_categories(num_classes)


def _check_stuff(path: Path, categories: Categories) -> None:
    """Refuse a mask head on boxes of things, unless that is asked for."""
    if all(c.isthing for c in categories):
        raise WeightsError(
            f"{path} finds boxes of things alone, and masks of stuff cannot "
            "be trained on it; start from panoptic weights such as "
            "detr_resnet50_panoptic, or name categories=, and if there is "
            "stuff in them train phase boxes first."
        )


def _check_file(
    state: State, path: Path, config: ModelConfig, categories: Categories
) -> None:
    """Refuse a file that is not the model that it says it is.

    Before anything of its size is made: what it says may be anything.
    """
    layers = max(*config.depths, config.encoder_layers, config.decoder_layers)
    try:
        if layers > len(state):
            raise ConfigError(f"{layers} layers, {len(state)} tensors")
        with shapes_alone():
            model = build_model(config, categories)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} describes a model that cannot be built ({error}); "
            "train it again."
        ) from error
    _compare(model, state, path)


def _load_adapted(
    model: Model,
    state: State,
    path: Path,
    config: ModelConfig,
    old: Categories | None,
) -> LoadReport:
    """Load a file's tensors into a model that may want more or fewer.

    config: that of the file; old: what its labels mean, if it is known.
    """
    changed = []
    own = model.state_dict()
    new = model.categories
    same_count = len(new) == config.num_classes
    if (old is not None and old != new) or not same_count:
        state, what = with_classes(state, own, old, new)
        changed.append(what)
    if model.config.num_queries != config.num_queries:
        state, what = with_queries(state, model.config.num_queries)
        changed.append(what)
    missing, unexpected = (), ()
    if model.config.masks and not config.masks:
        missing = tuple(n for n in own if n.startswith(MASKS))
        state = state | {n: own[n] for n in missing}
    elif config.masks and not model.config.masks:
        unexpected = tuple(n for n in state if n.startswith(MASKS))
        state = {n: t for n, t in state.items() if n not in unexpected}
    _load_state(model, state, path)
    return LoadReport(missing, unexpected, tuple(changed))


def _read_metadata(
    path: Path, metadata: dict[str, str]
) -> tuple[ModelConfig, Categories]:
    """Return what a file of ours says of itself."""
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise WeightsError(
            f"{path} was not written by this version of detr_lite "
            f"(format {metadata.get('format')!r}, not {FORMAT!r}), and its "
            "tensors are not called as in the original or in transformers; "
            "name another file."
        )
    where = f"{path} describes its model in a way that cannot be read"
    try:
        config = checked_text(ModelConfig, metadata["config"])
        listed = json.loads(metadata.get("categories", "null"))
    except ValidationError as error:
        raise WeightsError(f"{where}: {said(error)}.") from error
    except (ConfigError, ValueError, RecursionError) as error:
        raise WeightsError(f"{where} ({error}); train it again.") from error
    try:
        return config, Categories.read(listed, str(path))
    except DataError as error:
        raise WeightsError(str(error)) from error


def _load_state(module: nn.Module, state: State, path: Path) -> None:
    """Load every tensor, or refuse: nothing is left at random values."""
    _compare(module, state, path)
    module.load_state_dict(state, strict=False)


def _compare(module: nn.Module, state: State, path: Path) -> None:
    """Refuse tensors that are not those of the module."""
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise WeightsError(
                f"{path} has no tensor {name}; it belongs to another model."
            )
        if state[name].shape != tensor.shape:
            raise WeightsError(
                f"{path}: {name} has the shape {tuple(state[name].shape)}, "
                f"the model needs {tuple(tensor.shape)}; the file belongs to "
                "another model or another number of classes."
            )
    unknown = [n for n in state if n not in own and "num_batches" not in n]
    if unknown:
        raise WeightsError(
            f"{path} has a tensor {unknown[0]} that the model lacks; "
            "it belongs to another model."
        )
    for name in own:
        if not state[name].is_floating_point():
            raise WeightsError(
                f"{path}: {name} holds {state[name].dtype}; weights are "
                "floats."
            )
        if not state[name].isfinite().all():
            raise WeightsError(
                f"{path}: {name} holds numbers that are not finite; the "
                "training has failed, or the file is damaged: name another."
            )
