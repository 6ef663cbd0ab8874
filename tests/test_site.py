"""The built site: its links, images and headings, and how a browser sees it.

The browser is Chromium; tests/browsing.py says which.
"""

import functools
import gzip
import json
import re
import urllib.parse
from itertools import pairwise

import pytest
import yaml
from browsing import chromium, violations
from bs4 import BeautifulSoup
from figures import contrast
from PIL import Image
from sites import bare_book, build, served
from support import ROOT

from detr_lite.teaching.faults import FAULTS
from detr_lite.teaching.plots.style import INK

CONTENTS = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
SETTINGS = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
PAGES = [
    CONTENTS["root"],
    *(c["file"] for part in CONTENTS["parts"] for c in part["chapters"]),
]
CHAPTERS = [p for p in PAGES if (ROOT / "book" / f"{p}.ipynb").exists()]
REPOSITORY = SETTINGS["repository"]["url"]
LARGEST = 6e6  # bytes that a page may load in all


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


@pytest.fixture
def small(tmp_path):
    """A book of one page: call it with the page's text."""
    root = tmp_path / "root"
    bare_book(root)
    (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\n")

    def write(text):
        (root / "book" / "index.md").write_text(text)
        return root

    return write


def test_a_warning_fails_the_build(small, tmp_path):
    root = small(
        "# Page\n\n[one](no_such_page.md)\n\n[two](no_other_page.md)\n\n"
        "$\\nosuchcommand{x}$ and $\\frac{1}{$ and [three](#no-heading)\n\n"
        'Which?\n\n1. This.\n2. That.\n\n<details class="question">\n\n'
        "1. **No.**\n2. **Neither.**\n\n</details>\n"
    )
    out = tmp_path / "out"
    (out / "html").mkdir(parents=True)
    (out / "html" / "old").touch()
    done = build(out, root)
    assert done.returncode == 1
    assert "no_such_page" in done.stderr
    assert "no_other_page" in done.stderr
    assert "no-heading" in done.stderr
    assert "TeX cannot be shown: \\nosuchcommand{x}" in done.stderr
    assert "TeX cannot be shown: \\frac{1}{" in done.stderr
    assert "a question of 2 choices has 2 explanations, and 0" in done.stderr
    # The site that was there stays.
    assert [p.name for p in out.rglob("*")] == ["html", "old"]


SMALL = r"""# Small

![A paragraph without words](_assets/favicon.svg)

**A lead.**
The mean of *N* numbers is "$\frac{1}{N} \sum_i x_i$" & `more` than
[nothing](#two). This second sentence makes the paragraph longer than what may
be shown of it, which is 160 characters, and that is why it is left out.

## Two

### No object

[That](#no-object) is [below](index.md#no-object), see {eq}`mean`.

$$
\bar{x} = \begin{cases} a & \text{if } b < c \\ d & \text{else} \end{cases}
$$ (mean)
"""


def test_formulas_numbers_anchors_and_a_description(small, tmp_path):
    done = build(tmp_path / "out", small(SMALL))
    assert done.stderr == ""
    html = (tmp_path / "out" / "html" / "index.html").read_text("utf-8")
    page = BeautifulSoup(html, "html.parser")
    description = page.find("meta", attrs={"name": "description"})["content"]
    assert description == (
        "The mean of N numbers is \N{LEFT DOUBLE QUOTATION MARK}1N"
        "\N{N-ARY SUMMATION}ixi\N{RIGHT DOUBLE QUOTATION MARK} & more than "
        "nothing."
    )
    inline, block = page.find_all("math")
    assert inline.parent.name == "span"
    assert inline.find("mfrac").text == "1N"
    assert block["display"] == "block"
    assert len(block.find_all("mtr")) == 2
    assert "b < c" in block.find("annotation").text
    frame = block.parent
    assert frame.find(class_="eqno").text.startswith("(1)")
    (reference,) = page.select(f'article p a[href="#{frame["id"]}"]')
    assert reference.text == "(1)"
    links = page.select('article p a[href$="#no-object"]')
    assert len(links) == 2
    assert page.find(id="no-object").find("h3").text.startswith("No object")


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
                fetched = element.get("rel") != ["canonical"]
                if tag != "a" and url.scheme != "data" and fetched:
                    broken.append(address)
                continue
            file = urllib.parse.unquote(url.path) or f"{page}.html"
            if not (site / file).exists():
                broken.append(address)
            elif tag == "a" and url.fragment and file.endswith(".html"):
                # The museum's widget opens the exhibit that is named.
                exhibit = url.fragment.removeprefix("fault-") in FAULTS
                if not exhibit and not soup(file).find(id=url.fragment):
                    broken.append(address)
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_pictures_have_alt_text(page, soup):
    # A card's image is silent, for the card's words say it all.
    images = soup(f"{page}.html").select(
        "article img:not(a.chapter-card > img)"
    )
    assert images or page not in CHAPTERS
    for image in images:
        alt = image.get("alt", "").strip()
        assert len(alt) > 20, image["src"]
        assert not alt.startswith("_images")
    for drawing in soup(f"{page}.html").select("article svg[role=img]"):
        title = drawing.find(id=drawing["aria-labelledby"])
        assert len(title.text) > 20


@pytest.mark.parametrize("page", CHAPTERS)
def test_captions_and_nothing_else_look_like_captions(page, soup):
    paragraphs = soup(f"{page}.html").select("article p")
    captions = [p for p in paragraphs if "caption" in p.get("class", [])]
    begin = [p for p in paragraphs if re.match(r"Figure \w+\.\w+\. ", p.text)]
    assert captions == begin
    assert len(captions) >= 4


@pytest.mark.browser
def test_a_figure_keeps_its_size_on_a_phone_and_its_frame_scrolls(
    address, browser
):
    view = browser.new_page(viewport={"width": 390, "height": 900})
    view.goto(f"{address}/03_attention_maps.html")
    frame = view.locator(".cell_output:has(> img)").first
    assert frame.locator("img").bounding_box()["width"] > 600
    assert frame.bounding_box()["width"] < 390
    assert frame.evaluate("frame => frame.scrollLeft") == 0
    frame.focus()
    view.keyboard.press("End")
    view.keyboard.press("ArrowRight")
    moved = "document.activeElement.scrollLeft > 0"
    view.wait_for_function(moved, timeout=10_000)
    view.close()


def test_punctuation_stays_on_the_line_of_the_code_before_it(soup):
    kept = 0
    for page in PAGES:
        for code in soup(f"{page}.html").select("article code.literal"):
            after = code.next_sibling
            if isinstance(after, str) and re.match(r"[.,;:!?)]", after):
                assert code.parent["class"] == ["kept"], code.text
                kept += 1
    assert kept > 100


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_figures_ink_can_be_read(theme, address, browser):
    """4.5 to 1 is what WCAG asks of text of this size."""
    view = browser.new_page(viewport={"width": 1440, "height": 900})
    view.add_init_script(f"localStorage.setItem('mode', '{theme}')")
    view.goto(f"{address}/03_attention_maps.html")
    image = view.locator(".cell_output > img").first
    look = "(image, name) => getComputedStyle(image)[name]"
    filtered = image.evaluate(look, "filter")
    brighter = re.fullmatch(r"none|brightness\((.+)\)", filtered)[1] or 1
    ground = view.evaluate("getComputedStyle(document.body).backgroundColor")
    view.close()
    ink = [int(INK[i : i + 2], 16) * float(brighter) / 255 for i in (1, 3, 5)]
    behind = [int(x) / 255 for x in re.findall(r"\d+", ground)[:3]]
    assert contrast(ink, behind) >= 4.5


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_keyboard_reaches_the_frame_of_each_figure(page, soup):
    frames = soup(f"{page}.html").select(".cell_output:has(> img)")
    assert len(frames) >= 4
    assert {frame.get("tabindex") for frame in frames} == {"0"}


@pytest.mark.parametrize("page", PAGES)
def test_headings_are_in_order(page, soup):
    headings = soup(f"{page}.html").select("article :is(h1, h2, h3, h4, h5)")
    levels = [int(heading.name[1]) for heading in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert 2 in levels  # the theme's script needs one
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_every_page_has_a_title_and_a_description_of_its_own(soup):
    titles, descriptions = set(), set()
    for page in PAGES:
        head = soup(f"{page}.html").head
        heading = soup(f"{page}.html").select_one("article h1")
        heading.a.extract()  # the link to itself
        assert heading.text in head.title.text
        assert SETTINGS["title"] in head.title.text
        titles.add(head.title.text)
        (found,) = head.find_all("meta", attrs={"name": "description"})
        text = found["content"]
        assert len(text) >= 40, page
        assert text.endswith((".", "?", "!"))  # whole sentences
        assert not re.search(r"[$`*\\<>{}]|\]\(|\s\s", text), text
        descriptions.add(text)
    assert len(titles) == len(descriptions) == len(PAGES)


def buttons(page, soup):
    """Return the addresses in the header that leave the book."""
    header = soup(f"{page}.html").find(class_="bd-header-article")
    return [a["href"] for a in header.select('a[href^="http"]')]


@pytest.mark.parametrize("page", PAGES)
def test_the_edit_button_opens_what_the_page_is_made_of(page, soup):
    start = f"{REPOSITORY}/edit/{SETTINGS['repository']['branch']}/"
    (place,) = [b for b in buttons(page, soup) if b.startswith(start)]
    place = place.removeprefix(start)
    folder = "book/text" if page in CHAPTERS else "book"
    assert place == f"{folder}/{page}.md"
    assert (ROOT / place).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_the_report_button_names_the_page(page, soup):
    start = f"{REPOSITORY}/issues/new?"
    (place,) = [b for b in buttons(page, soup) if b.startswith(start)]
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(place).query)
    assert f"/{page}.html" in query["title"][0]


@pytest.mark.parametrize("page", PAGES)
def test_colab_opens_the_notebooks(page, soup):
    links = soup(f"{page}.html").select('a[href*="colab.research"]')
    if page not in (*CHAPTERS, "index"):
        assert not links
        return
    if page != "index":  # the theme's button, and the chapter's own
        assert len(links) >= 2
    (address,) = {link["href"] for link in links}
    place = REPOSITORY.removeprefix("https://github.com/")
    branch = SETTINGS["repository"]["branch"]
    start = f"https://colab.research.google.com/github/{place}/blob/{branch}/"
    assert (
        address
        == f"{start}book/{CHAPTERS[0] if page == 'index' else page}.ipynb"
    )
    assert (ROOT / address.removeprefix(start)).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_to_the_repository_lead_to_files(page, soup):
    start = f"{REPOSITORY}/blob/{SETTINGS['repository']['branch']}/"
    for link in soup(f"{page}.html").select(f'a[href^="{start}"]'):
        assert (ROOT / link["href"].removeprefix(start)).exists()


@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_mathml_and_nothing_is_left_raw(page, soup):
    article = soup(f"{page}.html").article
    for formula in article.select(".math"):
        assert len(formula.find_all("math", recursive=False)) == 1
    assert len(article.select(".math")) == len(article.find_all("math"))
    for text in article.find_all(string=re.compile(r"\$|\\[a-zA-Z]")):
        assert text.find_parent(["code", "pre", "annotation", "script"]), text


def test_the_book_has_formulas(soup):
    assert any(soup(f"{page}.html").article.find("math") for page in PAGES)


def test_the_texts_are_no_pages(site):
    assert not list(site.rglob("text/*"))
    assert sorted(
        p.stem for p in site.glob("*.html") if p.stem != "search"
    ) == sorted([*PAGES, "404"])


@pytest.fixture(scope="session")
def address(site):
    """Where a server on this machine serves the site."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")  # one at a time in a process
def browser():
    """A running Chromium."""
    with chromium() as running:
        yield running


OVERFLOW = """() => [
    document.documentElement.scrollWidth - window.innerWidth,
    ...[...document.querySelectorAll(".bd-article-container")].map(
        (e) => e.scrollWidth - e.clientWidth),
]"""
VIEWS = [{"width": 1280, "height": 900}, {"width": 390, "height": 900}]
FLAT = """() => [...document.querySelectorAll("math")].filter(
    (e) => e.getBoundingClientRect().height < 5
        || !getComputedStyle(e).display.includes("math")).length"""


@pytest.mark.browser
@pytest.mark.parametrize("page", [*PAGES, "search"])
def test_in_a_browser(page, address, browser):
    """A page on a desk in the light, and on a phone in the dark."""
    context = browser.new_context(color_scheme="light", viewport=VIEWS[0])
    view = context.new_page()
    outside, errors, sizes = [], [], []

    def asked(request):
        if not request.url.startswith((address, "data:", "blob:")):
            outside.append(request.url)

    def finished(request):
        sizes.append(request.sizes()["responseBodySize"])

    def answered(response):
        if response.status >= 400:
            errors.append(f"{response.status} {response.url}")

    def said(message):
        if message.type in ("error", "warning"):
            errors.append(message.text)

    view.on("request", asked)
    view.on("console", said)
    view.on("pageerror", lambda error: errors.append(str(error)))
    view.on("response", answered)
    view.on("requestfinished", finished)
    view.goto(f"{address}/{page}.html", wait_until="networkidle")
    assert sum(sizes) < LARGEST
    busy = "document.querySelector('[aria-busy=true]')"
    view.wait_for_function(f"{busy} === null")  # what is stale is pale
    for scheme, size in zip(("light", "dark"), VIEWS, strict=True):
        view.emulate_media(color_scheme=scheme)
        view.set_viewport_size(size)
        view.wait_for_timeout(300)  # the page rearranges itself
        assert view.evaluate("document.documentElement.dataset.theme") == (
            scheme
        )
        assert max(view.evaluate(OVERFLOW)) <= 0
        assert view.evaluate(FLAT) == 0
        assert not errors
        assert violations(view) == []
        errors.clear()
    context.close()
    assert not outside


@pytest.mark.browser
def test_the_search_finds_a_term(address, browser):
    view = browser.new_page()
    view.goto(f"{address}/search.html?q=hungarian")
    hit = view.locator('#search-results a[href^="glossary.html"]').first
    hit.wait_for(timeout=20_000)
    view.close()


def test_the_front_page_begins_with_chapter_1_and_what_was_measured(soup):
    page = soup("index.html")
    start, colab = page.select(".begin a")
    assert start["href"] == "01_encoded_image.html"
    assert colab["href"].endswith("/book/01_encoded_image.ipynb")
    assert colab["href"].startswith("https://colab.research.google.com/")
    measured = json.loads((ROOT / "tools" / "measured.json").read_text())
    shown = [value.text for value in page.select(".measured dt")]
    assert float(shown[0]) == pytest.approx(
        measured["shipped"]["pq"], abs=5e-4
    )
    milliseconds = float(shown[1].removesuffix(" ms"))
    kept = measured["inference"]["milliseconds"]
    assert milliseconds == pytest.approx(kept, abs=0.5)


def test_each_chapter_has_a_card_with_its_title_and_a_picture(site, soup):
    cards = soup("index.html").select("a.chapter-card")
    stems = [card["href"].removesuffix(".html") for card in cards]
    assert stems == [p.stem for p in sorted((ROOT / "book").glob("*.ipynb"))]
    for card in cards:
        heading = soup(card["href"]).find("h1").find(string=True)
        assert card.strong.text == heading
        assert (site / card.img["src"]).stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES)
def test_each_page_has_a_card_and_its_own_address(page, soup):
    head = soup(f"{page}.html").head
    base = SETTINGS["html"]["baseurl"]
    about = {
        meta["property"]: meta["content"]
        for meta in head.select("meta[property^='og:']")
    }
    name = "" if page == "index" else f"{page}.html"
    assert about["og:url"] == f"{base}/{name}"
    assert about["og:image"] == f"{base}/_static/card.png"
    assert about["og:title"] in head.title.text
    assert head.title.text.count(SETTINGS["title"]) == 1


def test_the_card_the_map_and_the_missing_page_are_there(site):
    with Image.open(site / "_static" / "card.png") as card:
        assert card.size == (1200, 630)
    base = SETTINGS["html"]["baseurl"]
    places = re.findall("<loc>(.*?)</loc>", (site / "sitemap.xml").read_text())
    names = {f"{base}/{page}.html" for page in PAGES if page != "index"}
    assert set(places) == names | {f"{base}/"}
    assert f"{base}/sitemap.xml" in (site / "robots.txt").read_text()


def test_the_missing_page_says_nothing_of_the_first(site, soup):
    missing = soup("404.html")
    base = SETTINGS["html"]["baseurl"]
    assert missing.base["href"] == f"{base}/"
    assert missing.h1.text == "There is no such page"
    assert missing.title.text.startswith("There is no such page")
    assert missing.find("meta", attrs={"name": "robots"})["content"]
    assert missing.select_one("nav a[href='01_encoded_image.html']")
    first = soup("index.html")
    for own in (".prev-next-footer", ".bd-sidebar-secondary", ".current"):
        assert first.select(own)
        assert not missing.select(own)


@pytest.mark.parametrize("page", PAGES)
def test_icons_need_no_script_of_their_own(page, site, soup):
    sheet = (site / "_static" / "icons.css").read_text("utf-8")
    parsed = soup(f"{page}.html")
    assert "fontawesome" not in str(parsed.head)
    used = {
        name
        for icon in parsed.select("i[class*='fa-'], span[class*='fa-']")
        for name in icon["class"]
        if name.startswith("fa-") and name not in ("fa-solid", "fa-lg")
    }
    assert used
    assert [name for name in used if f".{name} {{ --icon" not in sheet] == []


LIGHT = 250_000  # bytes of a page, compressed, without images and widgets


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light(page, site, soup):
    parsed = soup(f"{page}.html")
    files = {page + ".html"}
    files |= {tag["src"] for tag in parsed.select("script[src]")}
    files |= {tag["href"] for tag in parsed.select("link[rel=stylesheet]")}
    contents = [
        (site / file.partition("?")[0]).read_bytes()
        for file in files
        if "widgets/" not in file
    ]
    # Images within the page are figures too.
    bare = [re.sub(rb"data:image/[^\"']+", b"", one) for one in contents]
    total = sum(len(gzip.compress(one)) for one in bare)
    assert total < LIGHT
