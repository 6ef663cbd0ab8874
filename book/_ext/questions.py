"""Questions that a page asks and answers.

In a text a question is plain Markdown, which reads well anywhere: a
paragraph, a numbered list of choices, and a fold with as many explanations,
of which one begins with "Right":

    What does the mask head start from?

    1. `src_proj`
    2. `memory`

    <details class="question"><summary>Answer</summary>

    1. **Right.** It needs what each position shows by itself.
    2. **No.** That is what the attention maps look at.

    </details>

On the site the choices become buttons, and a wrong one's explanation gets a
"No." if it has none.  A question that is put together wrongly is a warning,
and so fails the build.
"""

import re

from docutils import nodes
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
FOLD = '<details class="question">'
MARK = 'class="dl-question"'


def parts_of(fold: nodes.raw) -> list[nodes.Node] | None:
    """Return a question's nodes: text, choices, fold, explanations, end."""
    siblings = fold.parent.children
    at = siblings.index(fold)
    parts = siblings[max(at - 2, 0) : at + 3]
    kinds = (
        nodes.paragraph,
        nodes.enumerated_list,
        nodes.raw,
        nodes.enumerated_list,
        nodes.raw,
    )
    if len(parts) != len(kinds) or not all(map(isinstance, parts, kinds)):
        return None
    return parts


def right_of(explanations: nodes.enumerated_list) -> list[int]:
    """Return the numbers, from 0, of the choices that are right."""
    return [
        number
        for number, item in enumerate(explanations)
        if re.match(r"Right\b", item.astext())
    ]


def wrap(app, doctree: nodes.document, docname: str) -> None:
    """Put each question of a page into a frame that says what is right."""
    folds = [n for n in doctree.findall(nodes.raw) if FOLD in n.astext()]
    for fold in folds:
        parts = parts_of(fold)
        if parts is None:
            LOGGER.warning(
                "a question is a paragraph, a numbered list of choices, and "
                "a fold with a numbered list of explanations",
                location=fold,
            )
            continue
        _, choices, _, explanations, _ = parts
        right = right_of(explanations)
        if len(choices) != len(explanations) or len(right) != 1:
            LOGGER.warning(
                "a question of %d choices has %d explanations, and %d of "
                'them begin with "Right"; one must',
                len(choices),
                len(explanations),
                len(right),
                location=fold,
            )
            continue
        parent = fold.parent
        at = parent.index(parts[0])
        start = f'<div {MARK} data-right="{right[0]}">'
        parent.insert(at, nodes.raw("", start, format="html"))
        parent.insert(at + 6, nodes.raw("", "</div>", format="html"))


def add(app, pagename, templatename, context, doctree) -> None:
    """Add script and style to a page with a question."""
    if MARK in context.get("body", ""):
        app.add_js_file("widgets/reading.js", loading_method="defer")
        app.add_css_file("widgets/reading.css")


def setup(app) -> dict:
    """Frame the questions of a page when it is written."""
    app.connect("doctree-resolved", wrap)
    app.connect("html-page-context", add, priority=500)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
