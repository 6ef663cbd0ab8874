"""The theme's icons without its script: one small style sheet of shapes.

The theme brings Font Awesome as a script of 1.5 MB and fonts, for a dozen
icons.  When the site is built, the shapes of those that the pages use are
taken from that script (Font Awesome Free, CC BY 4.0) and become masks, which
have the color of the text around them.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

SHAPE = re.compile(
    r'"?([a-z0-9-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]+)"\]'
)
SCRIPT = re.compile(
    r"\s*<(?:script|link)[^>]*scripts/fontawesome\.js[^>]*>(?:</script>)?"
)
BASE = """\
/* Shapes from Font Awesome Free, fontawesome.com, CC BY 4.0. */
:is(.fa-solid, .fa-brands, .fa-regular, .fas, .fab, .far) {
  display: inline-block; width: 1em; height: 1em; vertical-align: -.125em;
  background: currentColor; -webkit-mask: var(--icon) center / contain
  no-repeat; mask: var(--icon) center / contain no-repeat;
}
.fa-lg { font-size: 1.25em; }
"""


def shapes(script: str) -> dict[str, tuple[int, int, str]]:
    """Return width, height and path of each icon, by all its names.

    Of several of one name the last counts: the solid one.
    """
    found = {}
    for name, width, height, others, path in SHAPE.findall(script):
        for alias in (name, *re.findall(r'"([a-z0-9-]+)"', others)):
            found[alias] = (int(width), int(height), path)
    return found


def style_sheet(script: str, names: Iterable[str]) -> str:
    """Return the style sheet of the icons with these names."""
    known, rules = shapes(script), [BASE]
    for name in sorted(names):
        if name in known:
            width, height, path = known[name]
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 '
                f'{width} {height}"><path d="{path}"/></svg>'
            )
            address = f"data:image/svg+xml,{quote(svg)}"
            rules.append(f'.fa-{name} {{ --icon: url("{address}"); }}\n')
    return "".join(rules)


def replace_script(app, error) -> None:
    """Put the style sheet in the script's place, on every page."""
    out = Path(app.outdir)
    script = out / "_static" / "scripts" / "fontawesome.js"
    if error or not script.exists():
        return
    pages = {page: page.read_text("utf-8") for page in out.rglob("*.html")}
    names = {
        name
        for text in pages.values()
        for name in re.findall(r"\bfa-([a-z0-9-]+)", text)
    }
    sheet = style_sheet(script.read_text("utf-8"), names)
    (out / "_static" / "icons.css").write_text(sheet, "utf-8")
    for page, text in pages.items():
        up = "../" * len(page.relative_to(out).parts[:-1])
        link = f'<link rel="stylesheet" href="{up}_static/icons.css"/>\n'
        text = SCRIPT.sub("", text)
        page.write_text(text.replace("</head>", f"{link}</head>", 1), "utf-8")
    for path in script.parent.glob("fontawesome*"):
        path.unlink()


def setup(app) -> dict:
    """Work on the pages when all are written."""
    app.connect("build-finished", replace_script, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
