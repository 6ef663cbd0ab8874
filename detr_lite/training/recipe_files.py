"""A run's recipe as a file: with it the run can be done again.

Beside the recipe stands what else a run follows from: the data's
fingerprints, the weights it began with, and the versions it ran on.
"""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import detr_lite
from detr_lite.data.sample import Split
from detr_lite.data.subsets import fingerprint
from detr_lite.errors import ConfigError
from detr_lite.models import ModelConfig
from detr_lite.training.recipes import Engine, Phase, Recipe

NAME = "recipe.json"
VERSIONS = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class RecipeFile:
    """What a recipe file holds.

    Attributes:
        recipe: of the run.
        data: the fingerprints of the "training" and the "validation" data.
        start: the name or file of the weights that the run began with.
    """

    recipe: Recipe
    data: dict[str, dict]
    start: str | None


def recipe_json(
    recipe: Recipe,
    engine: Engine,
    training: Split,
    validation: Split,
    start: str | None,
) -> str:
    """Return the text of a run's recipe file."""
    content = {
        "recipe": asdict(recipe),
        "start": start,
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


def read_recipe(path: str | Path) -> RecipeFile:
    """Return what a recipe file holds; ConfigError if it is none."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); name the {NAME} of a "
            "finished run."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error}).") from error
    try:
        recipe = dict(content["recipe"])
        recipe["phases"] = tuple(_made(Phase, p) for p in recipe["phases"])
        model = dict(recipe["model"])
        model["depths"] = tuple(model["depths"])
        recipe["model"] = _made(ModelConfig, model)
        # Before recipes said so, a model was trained as it predicts.
        recipe.setdefault("exact_padding", recipe["model"].exact_padding)
        data = content["data"]
        return RecipeFile(
            _made(Recipe, recipe),
            {part: dict(data[part]) for part in ("training", "validation")},
            content.get("start"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no recipe of this version of detr_lite ({error}); "
            f"name the {NAME} of a finished run."
        ) from error


def _made(kind: type, values: dict):
    """Return a dataclass of the values; TypeError names one that is wrong."""
    hints = get_type_hints(kind)
    for name, value in values.items():
        wanted = hints.get(name, object)
        if get_origin(wanted) is tuple:
            continue
        if float in (wanted, *get_args(wanted)):
            wanted = wanted | int
        if not isinstance(value, wanted):
            raise TypeError(f"{name} is {value!r}")
    return kind(**values)
