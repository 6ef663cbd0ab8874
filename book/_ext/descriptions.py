"""Gives each page a description: its first sentences, as plain text.

Search engines and link previews show it; it is made of what the page says
first, so that it cannot go out of date.
"""

from collections.abc import Iterator
from html import escape

from docutils import nodes
from mathml import to_text

LONGEST = 160  # characters, where the first sentence is not longer


def description(doctree: nodes.document) -> str:
    """Return the start of a page's first paragraph, whole sentences.

    A lead in bold is left out: what follows it is the sentence that counts.
    """
    for paragraph in doctree.findall(nodes.paragraph):
        children = [part for part in paragraph.children if part.astext()]
        if children and isinstance(children[0], nodes.strong):
            del children[0]
        words = " ".join("".join(map(_text, children)).split())
        if words:
            return shorten(words)
    return ""


def shorten(text: str) -> str:
    """Return as many whole sentences as fit, but at least one."""
    if len(text) <= LONGEST:
        return text
    end = text.rfind(". ", 0, LONGEST)
    if end < 0:
        end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def _text(node: nodes.Node) -> str:
    """Return what a reader sees of a node, formulas included."""
    return "".join(
        to_text(part.astext()) if isinstance(part, nodes.math) else str(part)
        for part in _parts(node)
    )


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    if isinstance(node, nodes.math | nodes.Text):
        yield node
        return
    for child in node.children:
        yield from _parts(child)


def add(app, pagename, templatename, context, doctree) -> None:
    """Put the description of a page into its head."""
    if doctree is not None:
        content = escape(description(doctree))
        context["metatags"] += f'<meta name="description" content="{content}">'


def setup(app) -> dict:
    """Describe each page when it is written."""
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
