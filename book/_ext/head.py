"""What search engines and link previews read: a card, addresses, a map.

And the page that a server shows for an address without a page.  The site's
own address is html.baseurl of _config.yml.
"""

import re
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup
from docutils.utils import unescape
from PIL import Image

CARD = "_static/card.png"
CARD_SIZE = 1200, 630
CARD_PICTURE = "_assets/first_look.png"
NOT_FOUND = """\
<h1>There is no such page</h1>
<p>It may have moved. Begin at <a href="index.html">the first page</a>, look
through the list of chapters, or use the search.</p>"""
# What the first page says of itself and of what is near.
FIRST_PAGES_OWN = (
    "link[rel=canonical], link[rel=next], meta[property^='og:'], "
    "meta[name^='twitter:'], meta[name=description], .bd-sidebar-secondary, "
    ".secondary-toggle, .prev-next-footer, .dropdown-download-buttons, "
    ".dropdown-source-buttons, .dropdown-launch-buttons, #jb-print-docs-body"
)
CURRENT = ("current", "active")


def add(app, pagename, templatename, context, doctree) -> None:
    """Put the canonical address and the card of a page into its head."""
    base = app.config.html_baseurl.rstrip("/")
    if doctree is None or not base:
        return
    address = f"{base}/" if pagename == "index" else f"{base}/{pagename}.html"
    about = {
        "og:type": "article",
        "og:site_name": app.config.html_title or app.config.project,
        "og:title": unescape(context.get("title", "")),
        "og:url": address,
        "og:image": f"{base}/{CARD}",
        "og:image:width": f"{CARD_SIZE[0]}",
        "og:image:height": f"{CARD_SIZE[1]}",
        "og:image:alt": "A beach scene, and each segment in its color",
    }
    tags = [
        f'<meta property="{name}" content="{escape(value)}"/>'
        for name, value in about.items()
    ]
    tags.append('<meta name="twitter:card" content="summary_large_image"/>')
    context["metatags"] += "\n".join(tags)


def write_files(app, error) -> None:
    """Write the card, sitemap.xml, robots.txt and 404.html."""
    base = app.config.html_baseurl.rstrip("/")
    if error or not base or app.builder.name != "html":
        return
    names = sorted(app.env.found_docs - {"404"})
    lines = [
        f"<url><loc>{base}/{'' if name == 'index' else f'{name}.html'}"
        "</loc></url>"
        for name in names
    ]
    text = "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">',
            *lines,
            "</urlset>\n",
        ]
    )
    out = Path(app.outdir)
    (out / "sitemap.xml").write_text(text, "utf-8")
    _draw_card(Path(app.srcdir) / CARD_PICTURE, out / CARD)
    _title_once(out / "index.html")
    _write_not_found(out, base)
    (out / "robots.txt").write_text(
        f"User-agent: *\nAllow: /\nSitemap: {base}/sitemap.xml\n", "utf-8"
    )


def _title_once(page: Path) -> None:
    """The theme gives the first page its title twice; keep one."""
    text = page.read_text("utf-8")
    text = re.sub(
        r"<title>(.+?) &#8212; \1</title>", r"<title>\1</title>", text
    )
    page.write_text(text, "utf-8")


def _draw_card(picture: Path, path: Path) -> None:
    """Draw a picture as large as fits on a card."""
    card = Image.new("RGB", CARD_SIZE, "white")
    with Image.open(picture) as image:
        scale = min(a / b for a, b in zip(CARD_SIZE, image.size, strict=True))
        size = tuple(round(side * scale) for side in image.size)
        large = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    place = tuple((a - b) // 2 for a, b in zip(CARD_SIZE, size, strict=True))
    card.paste(large, place)
    card.save(path, optimize=True)


def _write_not_found(out: Path, base: str) -> None:
    """Make 404.html of the first page: its frame, with other words.

    A server shows it for any address, so its links start at the site's own.
    """
    page = BeautifulSoup(
        (out / "index.html").read_text("utf-8"), "html.parser"
    )
    page.title.string = f"There is no such page - {page.title.string}"
    for part in page.select(FIRST_PAGES_OWN):
        part.decompose()
    for entry in page.select(".current"):  # in the list of chapters
        entry["class"] = [c for c in entry["class"] if c not in CURRENT]
    words = BeautifulSoup(NOT_FOUND, "html.parser")
    page.article.clear()
    page.article.append(words)
    page.head.insert(0, page.new_tag("base", href=f"{base}/"))
    robots = page.new_tag("meta", attrs={"name": "robots"}, content="noindex")
    page.head.insert(1, robots)
    (out / "404.html").write_text(str(page), "utf-8")


def setup(app) -> dict:
    """After `descriptions`; the map when all pages are known."""
    app.connect("html-page-context", add, priority=600)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
