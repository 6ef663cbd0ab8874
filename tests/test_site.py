"""The built site: its links, pictures and headings, and how a browser sees it.

The browser is Chromium: $CHROMIUM, or what is found on the path.  Without one
the browser tests are skipped, unless DETR_LITE_NEEDS_BROWSER=1 is set.
"""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
CONTENTS = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
PAGES = [
    CONTENTS["root"],
    *(chapter["file"] for chapter in CONTENTS["chapters"]),
]
CHAPTERS = [p for p in PAGES if (ROOT / "book" / f"{p}.ipynb").exists()]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LARGEST = 6e6  # bytes that a page may load in all


def build(out, root=ROOT):
    """Run the tool that builds the site."""
    return subprocess.run(
        [sys.executable, root / "tools" / "build_site.py", out],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, built once."""
    out = tmp_path_factory.mktemp("site")
    done = build(out)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == "", "the build is not quiet"
    assert [p.name for p in out.iterdir()] == ["html"]
    return out / "html"


@pytest.fixture(scope="session")
def soup(site):
    """A function from the name of a file to its parsed HTML."""

    @functools.cache
    def parse(file):
        return BeautifulSoup((site / file).read_text("utf-8"), "html.parser")

    return parse


def test_a_warning_fails_the_build(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(ROOT / "_config.yml", root)
    skip = shutil.ignore_patterns("__pycache__", "*.ipynb", "_toc.yml")
    shutil.copytree(ROOT / "book", root / "book", ignore=skip)
    shutil.copytree(ROOT / "tools", root / "tools", ignore=skip)
    (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (root / "book" / "index.md").write_text(
        "# Page\n\n[one](no_such_page.md)\n\n[two](no_other_page.md)\n"
    )
    out = tmp_path / "out"
    (out / "html").mkdir(parents=True)
    (out / "html" / "old").touch()
    done = build(out, root)
    assert done.returncode == 1
    assert "no_such_page" in done.stderr
    assert "no_other_page" in done.stderr
    # The site that was there stays.
    assert [p.name for p in out.rglob("*")] == ["html", "old"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page, site, soup):
    broken = []
    kinds = {"a": "href", "img": "src", "script": "src", "link": "href"}
    for tag, attribute in kinds.items():
        for element in soup(f"{page}.html").find_all(tag, **{attribute: True}):
            address = element[attribute]
            url = urllib.parse.urlsplit(address)
            if url.scheme or url.netloc:
                # Only a link that the reader presses may leave the book.
                if tag != "a" and url.scheme != "data":
                    broken.append(address)
                continue
            file = urllib.parse.unquote(url.path) or f"{page}.html"
            if not (site / file).exists():
                broken.append(address)
            elif tag == "a" and url.fragment and file.endswith(".html"):
                target = soup(file)
                if not target.find(id=url.fragment):
                    broken.append(address)
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_alt_text(page, soup):
    images = soup(f"{page}.html").select("article img")
    assert images
    for image in images:
        alt = image.get("alt", "").strip()
        assert len(alt) > 20, image["src"]
        assert not alt.startswith("_images")
    for drawing in soup(f"{page}.html").select("article svg[role=img]"):
        title = drawing.find(id=drawing["aria-labelledby"])
        assert len(title.text) > 20


@pytest.mark.parametrize("page", PAGES)
def test_headings_are_in_order(page, soup):
    headings = soup(f"{page}.html").select("article :is(h1, h2, h3, h4, h5)")
    levels = [int(heading.name[1]) for heading in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert 2 in levels  # the theme's script needs one
    assert all(below - above <= 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_colab_opens_the_notebook(chapter, soup):
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    place = settings["repository"]["url"].removeprefix("https://github.com/")
    address = (
        f"https://colab.research.google.com/github/{place}/blob/main/book/"
        f"{chapter}.ipynb"
    )
    links = soup(f"{chapter}.html").select('a[href*="colab.research"]')
    assert len(links) >= 2  # the theme's button, and the chapter's own
    assert {link["href"] for link in links} == {address}


def test_the_texts_are_no_pages(site):
    assert not list(site.rglob("text/*"))
    assert sorted(
        p.stem
        for p in site.glob("*.html")
        if p.stem not in ("genindex", "search")
    ) == sorted(PAGES)


@pytest.fixture(scope="session")
def address(site):
    """Where a server on this machine serves the site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser():
    """A running Chromium."""
    names = [os.environ.get("CHROMIUM") or "", *BROWSERS]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        why = "no Chromium: install it, or set CHROMIUM to its path"
        if os.environ.get("DETR_LITE_NEEDS_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-sync"]
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", [*PAGES, "search"])
def test_in_a_browser(page, width, scheme, address, browser):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    view = context.new_page()
    outside, errors, sizes = [], [], []

    def only_here(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    def finished(request):
        sizes.append(request.sizes()["responseBodySize"])

    def answered(response):
        if response.status >= 400:
            errors.append(f"{response.status} {response.url}")

    def said(message):
        if message.type in ("error", "warning"):
            errors.append(message.text)

    view.route("**/*", only_here)
    view.on("console", said)
    view.on("pageerror", lambda error: errors.append(str(error)))
    view.on("response", answered)
    view.on("requestfinished", finished)
    view.goto(f"{address}/{page}.html", wait_until="networkidle")
    theme = view.evaluate("document.documentElement.dataset.theme")
    overflow = view.evaluate(
        "document.documentElement.scrollWidth - window.innerWidth"
    )
    # Axe itself asks for a file that is not there: look before it runs.
    seen = list(errors)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(view, options=rules).response["violations"]
    context.close()
    assert not outside
    assert not seen
    assert theme == scheme
    assert overflow <= 0
    assert sum(sizes) < LARGEST
    assert not [
        (fault["id"], [node["target"] for node in fault["nodes"]])
        for fault in found
    ]
