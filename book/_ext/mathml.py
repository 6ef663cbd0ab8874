"""Formulas as MathML, which browsers draw without a script or a font of ours.

The TeX of a formula is turned into MathML when the site is built.  TeX that
is wrong, or that the converter does not know, is a warning and so fails the
build; `_config.yml` chooses this renderer as `html_math_renderer`.
"""

import re
from html import escape, unescape

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

LOGGER = logging.getLogger(__name__)
CONVERTER = LatexToMathML(annotation=True, fancy_error=False)


def to_mathml(tex: str, display: bool = False) -> str:
    """Return TeX as a <math> element that keeps the TeX as its annotation.

    display: on lines of its own.  LatexError if it cannot be converted.
    """
    return CONVERTER.convert_with_local_state(tex, displaystyle=display)


def to_text(tex: str) -> str:
    """Return TeX as plain text, for places that hold no markup."""
    drawn = re.sub(r"<annotation.*?</annotation>", "", to_mathml(tex))
    return unescape(re.sub(r"<[^>]+>", "", drawn))


def _convert(node: nodes.Element, display: bool) -> str:
    tex = node.astext().strip()
    try:
        return to_mathml(tex, display)
    except LatexError as error:
        LOGGER.warning(
            "this TeX cannot be shown: %s (%s)", tex, error, location=node
        )
        return f"<code>{escape(tex)}</code>"


def visit_inline(self, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(f'<span class="math">{_convert(node, False)}</span>')
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, and its number if it has one."""
    # A wide one scrolls in its frame: the keyboard must be able to get there.
    attributes = {
        "class": "math",
        "role": "group",
        "aria-label": "Formula",
        "tabindex": "0",
    }
    self.body.append(self.starttag(node, "div", **attributes))
    self.body.append(_convert(node, True))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict:
    """Make the renderer known."""
    app.add_html_math_renderer(
        "mathml", (visit_inline, None), (visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
