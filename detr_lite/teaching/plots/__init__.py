"""Figures of what the model sees; one helper for each kind."""

from detr_lite.teaching.plots.attention import attention_figure
from detr_lite.teaching.plots.pipeline import pipeline_svg
from detr_lite.teaching.plots.training import curves_figure, read_log

__all__ = [
    "attention_figure",
    "curves_figure",
    "pipeline_svg",
    "read_log",
]
