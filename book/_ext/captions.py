"""Captions under a notebook's figures, and frames that scroll on a phone.

A caption is a paragraph that begins with "Figure 3.1." in italics.  Where the
screen is narrow a figure keeps the size at which its words can be read, and
its frame scrolls, with the keyboard too.
"""

import re

from docutils import nodes

FRAME = 'class="cell_output framed docutils container"'


def mark_captions(app, doctree: nodes.document) -> None:
    """Give each caption a class."""
    for paragraph in doctree.findall(nodes.paragraph):
        for first in paragraph.children[:1]:
            italic = isinstance(first, nodes.emphasis)
            if italic and re.match(r"Figure [\w.]+\. ", first.astext()):
                paragraph["classes"].append("caption")


def mark_frames(app, doctree: nodes.document, docname: str) -> None:
    """Give each output that holds a figure, and perhaps more, a class."""
    for output in doctree.findall(nodes.container):
        figure = any(isinstance(part, nodes.image) for part in output)
        if figure and "cell_output" in output["classes"]:
            output["classes"].append("framed")


def focusable(app, pagename, templatename, context, doctree) -> None:
    """Let the keyboard reach the frames of figures."""
    body = context.get("body", "")
    context["body"] = body.replace(FRAME, f'{FRAME} tabindex="0"')


def setup(app) -> dict:
    """Mark the captions when a page is read, its frames when it is written."""
    app.connect("doctree-read", mark_captions)
    app.connect("doctree-resolved", mark_frames)
    app.connect("html-page-context", focusable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
