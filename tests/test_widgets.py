"""What all widgets have in common, on the pages of a small book.

What a single one does, tests/test_widget_<its name>.py looks at.
"""

import re

import pytest
from browsing import Opened, violations
from sites import bare_book, build, served
from support import ROOT
from widgets import READY

from detr_lite.errors import ConfigError
from detr_lite.teaching.widgets import KINDS, Widget

pytest_plugins = ["widget_page"]
NAMES = list(KINDS)
PAGE = """# All widgets

Words.

## One

```{widget} %s
```

## After
"""
PAGE += "\nWords.\n" * 40
BLOCK = re.MULTILINE | re.DOTALL
# A book that explains two terms and a tensor, and asks all the questions.
READING = {
    "glossary": "# Glossary\n\n## A\n\n### Attention map\n\nWeights.\n\n"
    "### Query\n\nWhat asks.\n",
    "notation": "# Notation\n\n## Letters\n\nNone.\n\n## Tensors\n\n"
    "| name | shape | COCO | scenes | original |\n|---|---|---|---|---|\n"
    "| `memory` | B x d x h x w | 1x256x25x34 | 1x128x12x12 | `memory` |\n",
    "reading": "# Reading\n\n## Words\n\nThe attention map of a "
    "[query](glossary.md#query) over `memory`.\n\n"
    + "\n\n".join(
        re.findall(
            r"^## Questions\n(.*?)^## ", path.read_text("utf-8"), BLOCK
        )[0]
        for path in sorted((ROOT / "book" / "text").glob("0*.md"))
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A small book: a page for each widget, and two more."""
    root = tmp_path_factory.mktemp("book")
    bare_book(root, "widgets.ts")
    far = "# Far\n\n" + "Words.\n\n" * 200 + PAGE.partition("## One")[2]
    pages = {name: PAGE % name for name in NAMES}
    pages["far"] = far % "beach"
    pages |= READING
    pages["index"] = "# None\n\nNo widget is here.\n\n## Two\n\nWords.\n"
    for name, text in pages.items():
        (root / "book" / f"{name}.md").write_text(text)
    files = [name for name in pages if name != "index"]
    chapters = "".join(f"- file: {name}\n" for name in files)
    (root / "book" / "_toc.yml").write_text(
        f"format: jb-book\nroot: index\nchapters:\n{chapters}"
    )
    done = build(root / "out", root)
    assert done.returncode == 0, done.stderr
    return root / "out" / "html"


@pytest.fixture(scope="module")
def address(site):
    """Where a server on this machine serves the book."""
    with served(site) as address:
        yield address


OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


def sound(it):
    """Assert that a page fits, is silent, and can be used by everybody."""
    assert it.view.evaluate(OVERFLOW) <= 0
    assert it.errors == []
    # Preloading would ask for style sheets again.
    assert violations(it.view, preload=False) == []
    it.errors.clear()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("scheme", "width", "server"), [("light", 1440, 1), ("dark", 390, 0)]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_sound(name, scheme, width, server, site, address, browser):
    start = f"{address}/" if server else f"{site.as_uri()}/"
    options = {
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 1000},
    }
    with Opened(browser, f"{start}{name}.html", READY[name], **options) as it:
        assert it.view.evaluate("document.documentElement.dataset.theme") == (
            scheme
        )
        here = (start, "data:", "blob:")
        assert [r for r in it.requests if not r.startswith(here)] == []
        sound(it)


@pytest.mark.browser
def test_a_page_without_a_widget_loads_nothing_of_it(address, browser):
    with Opened(browser, f"{address}/index.html") as it:
        assert not [r for r in it.requests if "/widgets/" in r]


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_without_scripts_there_is_a_picture(name, address, browser):
    url = f"{address}/{name}.html"
    with Opened(browser, url, java_script_enabled=False) as it:
        picture = it.view.locator(".dl-widget img")
        assert picture.get_attribute("alt") == KINDS[name].alt
        assert picture.bounding_box()["width"] > 400
        words = it.view.locator(".dl-widget figcaption").inner_text()
        assert KINDS[name].caption in words


TIP = ".dl-tip:not([hidden])"


@pytest.mark.browser
def test_a_term_is_explained_to_mouse_keys_and_fingers(address, browser):
    url = f"{address}/reading.html"
    with Opened(browser, url) as it:
        tip = it.view.locator(TIP)
        term = it.view.locator("a.dl-term", has_text="attention map").first
        term.hover()
        assert "Weights." in tip.inner_text()
        tip.hover()  # the definition stays while the mouse is on it
        it.view.wait_for_timeout(400)
        assert tip.count() == 1
        it.view.mouse.move(5, 5)
        tip.wait_for(state="detached")
        # A link of the text looks like one that was found.
        it.view.locator("article a.dl-term", has_text="query").first.focus()
        assert "What asks." in tip.inner_text()
        it.view.keyboard.press("Tab")
        assert "B x d x h x w" in tip.inner_text()
        described = "document.activeElement.getAttribute('aria-describedby')"
        assert it.view.evaluate(described) == tip.get_attribute("id")
        it.view.keyboard.press("Escape")
        assert tip.count() == 0
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
    with Opened(browser, url, **phone) as it:
        term = it.view.locator("a.dl-term", has_text="attention map").first
        term.tap()
        assert "Weights." in it.view.locator(TIP).inner_text()
        assert it.view.evaluate(OVERFLOW) <= 0
        term.tap()
        it.view.wait_for_url("**/glossary.html#attention-map")


@pytest.mark.browser
def test_a_question_explains_each_choice(address, browser):
    with Opened(browser, f"{address}/reading.html") as it:
        sound(it)
        questions = it.view.locator(".dl-question")
        asked = READING["reading"].count('<details class="question">')
        assert questions.count() == asked >= 7 * 3  # three a chapter
        first = questions.first
        right = int(first.get_attribute("data-right"))
        choices = first.get_by_role("button")
        assert first.locator(".dl-why").count() == 0
        for i in range(choices.count()):
            choices.nth(i).focus()
            it.view.keyboard.press("Enter")
            why = first.locator("li").nth(i).locator(".dl-why")
            first_word = "Right" if i == right else "No"
            assert why.inner_text().startswith(first_word)
            assert why.inner_text().count("No.") <= 1
            pressed = choices.evaluate_all(
                "all => all.map((one) => one.ariaPressed === 'true')"
            )
            assert pressed == [j == i for j in range(choices.count())]
    options = {"java_script_enabled": False}
    with Opened(browser, f"{address}/reading.html", **options) as it:
        first = it.view.locator(".dl-question").first
        assert first.locator("details").is_visible()
        assert first.get_by_role("listitem").count() >= 2


@pytest.mark.browser
def test_out_of_sight_a_widget_costs_nothing(address, browser):
    with Opened(browser, f"{address}/far.html") as it:
        it.view.wait_for_load_state("networkidle")
        assert it.view.locator(".dl-alive").count() == 0
        assert not [r for r in it.requests if "weights" in r]
        it.view.locator(".dl-widget").scroll_into_view_if_needed()
        it.view.locator(READY["beach"]).first.wait_for()
        assert [r for r in it.requests if "weights" in r]


@pytest.mark.browser
def test_a_widget_is_as_tall_as_it_gets_before_it_is_in_sight(
    address, browser
):
    with Opened(browser, f"{address}/far.html") as it:
        it.view.evaluate(
            """() => {
              const widget = document.querySelector(".dl-widget");
              const { top } = widget.getBoundingClientRect();
              scrollTo(0, scrollY + top - innerHeight - 1500);
            }"""
        )
        it.view.locator(READY["beach"]).first.wait_for()
        height = "document.querySelector('.dl-widget').offsetHeight"
        before = it.view.evaluate(height)
        it.view.locator(".dl-widget").scroll_into_view_if_needed()
        it.view.wait_for_timeout(300)
        assert it.view.evaluate(height) == before


def top(view):
    """Return how far below the window's upper edge the words after are."""
    look = "document.getElementById('after').getBoundingClientRect().top"
    return view.evaluate(look)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_an_address_keeps_its_place_below_a_widget(
    name, width, address, browser
):
    url = f"{address}/{name}.html#after"
    options = {"viewport": {"width": width, "height": 844}}
    with Opened(browser, url, READY[name], **options) as it:
        it.view.wait_for_timeout(200)
        assert top(it.view) == pytest.approx(64, abs=24)


@pytest.mark.browser
def test_a_link_keeps_its_place_until_the_reader_scrolls(address, browser):
    grow = "document.querySelector('.dl-widget').style.paddingTop = '{}px'"
    with Opened(browser, f"{address}/beach.html", READY["beach"]) as it:
        it.view.locator("a[href='#after']:visible").first.click()
        for more in (300, 900):  # the first on the way there
            it.view.evaluate(grow.format(more))
            it.view.wait_for_timeout(1500)
            assert top(it.view) == pytest.approx(64, abs=24)
        it.view.mouse.move(700, 500)
        it.view.mouse.wheel(0, -200)
        it.view.wait_for_function("scrollY > 0")
        it.view.wait_for_timeout(400)
        assert top(it.view) > 200
        it.view.evaluate(grow.format(1200))
        it.view.wait_for_timeout(200)
        assert top(it.view) > 200


@pytest.mark.parametrize("name", NAMES)
def test_each_widget_has_its_own_files(name):
    assert (ROOT / "book/widgets/page/widgets" / f"{name}.ts").is_file()
    assert (ROOT / "tests" / f"test_widget_{name}.py").is_file()


def test_an_unknown_widget_is_refused():
    with pytest.raises(ConfigError, match="no widget 'bech'"):
        Widget("bech")


@pytest.mark.parametrize("name", NAMES)
def test_the_markup_holds_no_script(name):
    html = Widget(name)._repr_html_()
    assert "<script" not in html
    assert len(KINDS[name].alt) > 80
    assert len(html) < 150_000
    assert repr(Widget(name)) == f"Widget('{name}')"
