"""Pictures of what the model sees; one helper for each kind."""

from detr_lite.teaching.plots.attention import attention_figure
from detr_lite.teaching.plots.maps import maps_figure
from detr_lite.teaching.plots.pipeline import Pipeline, pipeline_svg
from detr_lite.teaching.plots.samples import sample_figure
from detr_lite.teaching.plots.training import (
    LiveCurves,
    curves_figure,
    read_log,
)

__all__ = [
    "LiveCurves",
    "Pipeline",
    "attention_figure",
    "curves_figure",
    "maps_figure",
    "pipeline_svg",
    "read_log",
    "sample_figure",
]
