"""A run's recipe as a file: with it the run can be done again.

Beside the recipe stands what else a run follows from: the data's
fingerprints, the weights it began with, how it was computed, and the
versions it ran on.
"""

import json
import platform
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

import detr_lite
from detr_lite.data.split import Split
from detr_lite.data.subsets import fingerprint
from detr_lite.errors import ConfigError
from detr_lite.files.records import checked_text, read_json, said
from detr_lite.inference.model import shapes_alone
from detr_lite.models import ModelConfig, panoptic_parts
from detr_lite.training.recipes import Count, Engine, Recipe, Seed

NAME = "recipe.json"
VERSIONS = ("torch", "torchvision", "numpy")
MAX_LAYERS = 1000  # of a stage, encoder or decoder: a file may say anything


@dataclass(frozen=True)
class RecipeFile:
    """What a recipe file holds.

    Attributes:
        recipe: of the run.
        data: the fingerprints of the "training" and the "validation" data.
        start: the name or file of the weights that the run began with.
        start_weights: their hash.
        engine: how it was computed.
        steps_changed: it was resumed, within a phase, with another number of
            steps: then the recipe alone does not lead to its weights.
    """

    recipe: Recipe
    data: dict[str, dict]
    start: str | None
    start_weights: str | None
    engine: Engine
    steps_changed: bool


# What the text of a file must be.


@dataclass
class _Scenes:
    seed: Seed
    count: Count


@dataclass
class _Fingerprint:
    scenes: _Scenes | None = None


@dataclass
class _Data:
    training: _Fingerprint
    validation: _Fingerprint


@dataclass
class _Content:
    recipe: Recipe
    data: _Data
    start: str | None = None
    start_weights: str | None = None
    engine: Engine = field(default_factory=Engine)
    steps_changed: bool = False


def recipe_json(
    recipe: Recipe,
    engine: Engine,
    training: Split,
    validation: Split,
    start: str | None,
    start_weights: str | None = None,
) -> str:
    """Return the text of a run's recipe file; for the rest see RecipeFile."""
    content = {
        "recipe": asdict(recipe),
        "start": start,
        "start_weights": start_weights,
        "steps_changed": False,
        "data": {
            "training": fingerprint(training),
            "validation": fingerprint(validation),
        },
        "engine": asdict(engine),
        "versions": {
            "python": platform.python_version(),
            "detr-lite": detr_lite.__version__,  # installed or not
            **{name: version(name) for name in VERSIONS},
        },
    }
    return json.dumps(content, indent=1) + "\n"


def weights_hash(module: nn.Module | None) -> str | None:
    """Return what tells a module's tensors from others; None of None."""
    if module is None:
        return None
    digest = sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        values = tensor.detach().cpu().flatten().view(torch.uint8)
        digest.update(memoryview(values.numpy()))
    return f"sha256 {digest.hexdigest()}"


def read_recipe(
    path: str | Path, hint: str = f"name the {NAME} of a finished run"
) -> RecipeFile:
    """Return what a recipe file holds; ConfigError, with a hint, if none."""
    path = Path(path)
    content = read_json(path, ConfigError, hint)
    try:
        recipe = content["recipe"]
        # Before recipes said so, a model was trained as it predicts.
        recipe.setdefault("exact_padding", recipe["model"]["exact_padding"])
    except (AttributeError, KeyError, TypeError):
        pass  # what is wrong is said below
    try:
        found = checked_text(_Content, json.dumps(content))
        _check_model(found.recipe.model)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        invalid = isinstance(error, ValidationError)
        what = said(error) if invalid else str(error).rstrip(".")
        raise ConfigError(
            f"{path} is no recipe of this version of detr_lite ({what}); "
            f"{hint}."
        ) from error
    data = {part: content["data"][part] for part in ("training", "validation")}
    return RecipeFile(**vars(found) | {"data": data})


def _check_model(config: ModelConfig) -> None:
    """Raise an error where a model of these sizes cannot be built."""
    layers = max(*config.depths, config.encoder_layers, config.decoder_layers)
    if layers > MAX_LAYERS:
        raise ConfigError(
            "depths, encoder_layers and decoder_layers are at most "
            f"{MAX_LAYERS}, not {layers}"
        )
    with shapes_alone():
        panoptic_parts(config)
