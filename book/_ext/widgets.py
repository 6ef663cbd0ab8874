"""Live pictures: the directive `widget`, and scripts on the pages with one.

    ```{widget} beach
    ```

In a notebook an object of detr_lite.teaching.widgets gives the same markup.
A page that holds none gets neither script nor style.
"""

from docutils import nodes
from docutils.parsers.rst import Directive

from detr_lite.teaching.widgets import Widget

MARK = 'class="dl-widget"'


class WidgetDirective(Directive):
    """The widget's markup, with its picture drawn anew."""

    required_arguments = 1

    def run(self) -> list:
        """Return the markup for HTML."""
        html = Widget(self.arguments[0])._repr_html_()
        return [nodes.raw("", html, format="html")]


def add(app, pagename, templatename, context, doctree) -> None:
    """Add script and style to a page with a widget."""
    if MARK in context.get("body", ""):
        app.add_js_file("widgets/widgets.js", loading_method="defer")
        app.add_css_file("widgets/widgets.css")


def setup(app) -> dict:
    """Make the directive known; come before book_tidy looks at scripts."""
    app.add_directive("widget", WidgetDirective)
    app.connect("html-page-context", add, priority=500)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
