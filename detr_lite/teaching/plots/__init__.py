"""Pictures of what the model sees; one helper for each kind."""

from detr_lite.plots.attention import attention_figure
from detr_lite.plots.maps import maps_figure
from detr_lite.plots.pictures import (
    boxes_overlay,
    enlarged,
    overlay,
    sheet,
)
from detr_lite.plots.pipeline import Pipeline, pipeline_svg
from detr_lite.plots.samples import sample_figure
from detr_lite.plots.training import LiveCurves, curves_figure, read_log

__all__ = [
    "LiveCurves",
    "Pipeline",
    "attention_figure",
    "boxes_overlay",
    "curves_figure",
    "enlarged",
    "maps_figure",
    "overlay",
    "pipeline_svg",
    "read_log",
    "sample_figure",
    "sheet",
]
