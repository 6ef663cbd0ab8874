"""Keeps the pages' scripts in order: each one once, and none from outside.

Jupyter Book 1.x with Sphinx 7.4 lists some scripts twice, which throws in
the browser, and it loads thebe from another host, which the book never uses.
"""

from collections.abc import Iterator


def wanted(scripts: list) -> Iterator:
    """Yield the scripts without repetitions and without thebe."""
    seen = set()
    for script in scripts:
        body = getattr(script, "attributes", {}).get("body") or ""
        name = str(getattr(script, "filename", script) or "")
        if "thebe" in name or "THEBE_JS_URL" in body:
            continue
        if (name, body) not in seen:
            seen.add((name, body))
            yield script


def tidy(app, pagename, templatename, context, doctree) -> None:
    """Tidy the scripts of one page."""
    context["script_files"][:] = wanted(context["script_files"])


def setup(app) -> dict:
    """Tidy last, after every other extension has added its scripts."""
    app.connect("html-page-context", tidy, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
