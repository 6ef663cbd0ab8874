"""Weights: what can be loaded, from where, and how it is checked.

Files are safetensors: numbers and text, no code.  The text holds the
configuration and the categories, so a file is a whole model.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detr_lite.errors import ConfigError, DataError, WeightsError
from detr_lite.models import ModelConfig, PanopticModel, build_model
from detr_lite.samples import Categories, Category

FORMAT = "detr_lite 1"
BACKBONE_FILE = "backbone.safetensors"


@dataclass(frozen=True)
class Source:
    """One set of weights that load_model knows by name.

    Attributes:
        name: what load_model is called with.
        file: the file in the package's data folder.
        about: one line on what it is.
        license: under which it may be used.
    """

    name: str
    file: str
    about: str
    license: str


SOURCES = {
    "scenes": Source(
        "scenes",
        "scenes.safetensors",
        "8 classes, 96 x 96 scenes; trained by `make weights`",
        "Apache-2.0",
    )
}


@cache
def data_folder() -> Path:
    """Return the folder of shipped files: in the package, or in the clone."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_data", here.parent / "data"):
        if (folder / "manifest.json").is_file():
            return folder
    raise WeightsError(
        "The package's data folder is missing; install detr_lite again."
    )


def shipped_file(name: str) -> Path:
    """Return a shipped file, after a look at its hash.

    name: as data/manifest.json lists it.  WeightsError if the file is not
    the one that was published.
    """
    path = data_folder() / name
    manifest = json.loads((data_folder() / "manifest.json").read_text())
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        digest = None
    if name not in manifest or digest != manifest[name]["sha256"]:
        raise WeightsError(
            f"{path} is missing or not the file that was published; "
            "install detr_lite again."
        )
    return path


def save_model(model: PanopticModel, path: str | Path) -> None:
    """Write a model with its configuration and categories."""
    _save(model, model.state_dict(), path)


def save_backbone(model: PanopticModel, path: str | Path) -> None:
    """Write the ResNet of a model alone, under torchvision's names."""
    _save(model, model.detr.backbone[0].body.state_dict(), path)


def _save(model: PanopticModel, state: dict, path: str | Path) -> None:
    state = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(model.config)),
        "categories": json.dumps([asdict(c) for c in model.categories]),
    }
    Path(path).write_bytes(_in_order(save(state, metadata)))


def _in_order(content: bytes) -> bytes:
    """Sort the texts in the header, so that equal models are equal files.

    A file begins with the header's size and the header, JSON; safetensors
    writes the texts in it in an order that changes from call to call.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    return content[:8] + text.ljust(size) + content[8 + size :]


def load_model(source: str | Path, device: str | None = None) -> PanopticModel:
    """Return a trained model, ready to predict.

    source: a name that `detr-lite models` lists, or a .safetensors file that
    training wrote.  device: "cpu", "cuda", ... (default: a GPU if there is
    one).  WeightsError says what does not fit.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    path = Path(source)
    if str(source) in SOURCES:
        path = shipped_file(SOURCES[str(source)].file)
    elif not path.exists():
        raise WeightsError(
            f"{source} is neither a file nor a known model "
            f"({', '.join(SOURCES)})."
        )
    metadata, state = _read(path)
    config, categories = _read_metadata(path, metadata)
    try:
        model = build_model(config, categories)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} describes a model that cannot be built ({error}); "
            "train it again."
        ) from None
    _load_state(model, state, path)
    return model.to(device).eval()


def load_backbone(
    model: PanopticModel, path: str | Path | None = None
) -> None:
    """Load a ResNet that phase "backbone" wrote (default: the shipped one)."""
    if path is None:
        path = shipped_file(BACKBONE_FILE)
    _, state = _read(Path(path))
    _load_state(model.detr.backbone[0].body, state, Path(path))


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Return the text and the tensors of a safetensors file."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; name a file in it.")
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, state
    except FileNotFoundError:
        raise WeightsError(f"There is no file {path}.") from None
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x04"):
            raise WeightsError(
                f"{path} is a pickle, which may run code; only .safetensors "
                "files are loaded."
            ) from None
        raise WeightsError(
            f"{path} is not a whole .safetensors file ({error}); "
            "it may be cut off: copy it again."
        ) from None


def _read_metadata(
    path: Path, metadata: dict[str, str]
) -> tuple[ModelConfig, Categories]:
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise WeightsError(
            f"{path} was not written by this version of detr_lite "
            f"(format {metadata.get('format')!r}, not {FORMAT!r}); "
            "train it again."
        )
    try:
        config = json.loads(metadata["config"])
        config["depths"] = tuple(config["depths"])
        categories = Categories(
            [
                Category(**c | {"color": tuple(c["color"])})
                for c in json.loads(metadata["categories"])
            ]
        )
        return ModelConfig(**config), categories
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(
            f"{path} describes its model in a way that cannot be read "
            f"({error}); train it again."
        ) from None


def _load_state(module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load every tensor, or refuse: nothing is left at random values."""
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
    module.load_state_dict(state, strict=False)
