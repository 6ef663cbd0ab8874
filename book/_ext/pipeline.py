"""The directive `pipeline`: the pipeline picture in a page."""

from docutils import nodes
from docutils.parsers.rst import Directive, directives

from detr_lite.teaching.plots import pipeline_svg


class PipelineDirective(Directive):
    """The picture, drawn each time the site is built; lit: one stage."""

    option_spec = {"lit": directives.unchanged}  # noqa: RUF012

    def run(self) -> list:
        """Return the picture for HTML."""
        svg = pipeline_svg(self.options.get("lit", ""))
        html = f'<div class="pipeline-frame">{svg}</div>'
        return [nodes.raw("", html, format="html")]


def setup(app) -> dict:
    """Make the directive known."""
    app.add_directive("pipeline", PipelineDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
