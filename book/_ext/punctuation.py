"""Keeps punctuation on the line of the code that it follows.

A long name is broken within its own frame, after which a browser would begin
a new line with the comma.
"""

import re

CODE = r'<code class="[^"]*literal[^"]*">(?:(?!</code>).)*</code>'
FOLLOWED = re.compile(
    rf"((?:<a [^>]*>)?{CODE}(?:</a>)?[.,;:!?)\]\u201d\u2019]+)", re.DOTALL
)


def keep(app, pagename, templatename, context, doctree) -> None:
    """Put code and what follows it into one span."""
    body = context.get("body", "")
    context["body"] = FOLLOWED.sub(r'<span class="kept">\1</span>', body)


def setup(app) -> dict:
    """Keep it when a page is written."""
    app.connect("html-page-context", keep)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
