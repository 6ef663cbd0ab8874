"""DETR panoptic segmentation, built piece by piece in the book's chapters."""

from detr_lite.errors import DetrLiteError
from detr_lite.weights import load_model

__version__ = "0.1.0"
__all__ = ["DetrLiteError", "load_model"]
