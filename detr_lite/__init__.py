"""DETR panoptic segmentation, built piece by piece in the book's chapters."""

from importlib import import_module

__version__ = "0.1.0"

# What a user holds, by the module it is imported from when it is first used:
# `import detr_lite` and `detr-lite --help` need no torch (PEP 562).
_HOMES = {
    "load_model": "inference.loading",
    "evaluate": "inference.evaluation",
    "train": "training.train",
    **dict.fromkeys(
        (
            "DetrLiteError",
            "ConfigError",
            "DataError",
            "DownloadError",
            "ExportError",
            "ImageError",
            "OutputError",
            "WeightsError",
        ),
        "errors",
    ),
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
