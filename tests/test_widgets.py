"""The live images of the pages, driven as a reader drives them."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from browsing import chromium

from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.errors import ConfigError
from detr_lite.inference.loading import load_model
from detr_lite.teaching.stills import GAME
from detr_lite.teaching.widgets import KINDS, Widget

ROOT = Path(__file__).resolve().parents[1]
NAMES = list(KINDS)
PAGE = """# All widgets

Words.

## One

```{widget} %s
```
"""
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
READY = {
    "encoding": ".dl-hand",
    "fault": ".dl-fates td",
    "film": ".dl-next",
    "panoptic": ".dl-fates td",
    "quality": ".dl-quality td",
    "stages": ".dl-chip",
    "beach": ".dl-chip",
    "attention": ".dl-chip",
    "queries": ".dl-query[aria-pressed=true]",
    "matching": ".dl-cost",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A small book: a page for each widget, and two more."""
    root = tmp_path_factory.mktemp("book")
    skip = shutil.ignore_patterns(
        "__pycache__", "*.ipynb", "*.md", "_toc.yml", "widgets.ts"
    )
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(ROOT / "book", root / "book", ignore=skip)
    shutil.copytree(ROOT / "tools", root / "tools", ignore=skip)
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
    done = subprocess.run(
        [sys.executable, root / "tools" / "build_site.py", root / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root / "out" / "html"


@pytest.fixture(scope="module")
def address(site):
    """Where a server on this machine serves the book."""

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


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


class Opened:
    """A page in a browser, and what it complained about."""

    def __init__(self, browser, url, wait=None, **options):
        options.setdefault("viewport", {"width": 1440, "height": 1000})
        self.context = browser.new_context(**options)
        self.view = self.context.new_page()
        self.errors, self.requests = [], []
        self.view.on("console", self._said)
        self.view.on("pageerror", lambda e: self.errors.append(str(e)))
        self.view.on("request", lambda r: self.requests.append(r.url))
        self.view.goto(url)
        if wait:
            self.view.locator(wait).first.wait_for()

    def _said(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        self.context.close()
        if kind is None:
            assert self.errors == []


@pytest.fixture
def opened(browser, address):
    """A function that opens a widget's page, alive."""

    def start(name, **options):
        url = f"{address}/{name}.html"
        return Opened(browser, url, READY.get(name), **options)

    return start


OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "preload": False,  # it would ask for style sheets again
}


def sound(it):
    """Assert that a page fits, is silent, and can be used by everybody."""
    from axe_playwright_python.sync_playwright import Axe

    assert it.view.evaluate(OVERFLOW) <= 0
    assert it.errors == []
    # Axe itself asks for a file that is not there.
    found = Axe().run(it.view, options=RULES).response["violations"]
    it.errors.clear()
    assert [(f["id"], [n["target"] for n in f["nodes"]]) for f in found] == []


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
        it.view.locator("article a", has_text="query").first.focus()
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
            assert why.inner_text().startswith("Right") == (i == right)
            assert choices.nth(i).get_attribute("aria-pressed") == "true"
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


def place(view, number=0):
    """Return where a thing of the beach is, in pixels of its canvas."""
    text = view.locator(".dl-thing").nth(number).get_attribute("transform")
    return tuple(map(int, re.findall(r"-?\d+", text)))


def box(view):
    """Return the chosen query's box: x, y, width and height, 0 to 1."""
    rect = view.locator(".dl-box .dl-over").first
    names = ("x", "y", "width", "height")
    return [float(rect.get_attribute(name)) for name in names]


def center(view):
    x, y, width, height = box(view)
    return x + width / 2, y + height / 2


def settled(view, wanted, tolerance=0.05):
    """Wait until the chosen box has its center near a place, 0 to 1."""
    view.wait_for_function(
        """([x, y, near]) => {
          const rect = document.querySelector(".dl-box .dl-over");
          const at = (name) => Number(rect.getAttribute(name));
          return Math.abs(at("x") + at("width") / 2 - x) < near
            && Math.abs(at("y") + at("height") / 2 - y) < near;
        }""",
        arg=[*wanted, tolerance],
        timeout=20_000,
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_mouse_drags_a_thing_and_the_answer_follows(opened, width):
    with opened("beach", viewport={"width": width, "height": 1000}) as it:
        scene = it.view.locator(".dl-scene").bounding_box()
        unit = scene["width"] / 192
        x, y = place(it.view)
        start = scene["x"] + x * unit, scene["y"] + y * unit
        it.view.mouse.move(*start)
        it.view.mouse.down()
        it.view.mouse.move(start[0] - 60 * unit, start[1] + 4 * unit, steps=4)
        it.view.mouse.up()
        assert place(it.view) == pytest.approx((x - 60, y + 4), abs=1)
        # The thing is followed: its box in the answer has moved as well.
        settled(it.view, ((x - 60) / 192, (y + 4) / 192))


@pytest.mark.browser
def test_a_finger_drags_a_thing_and_scrolls_beside_it(opened):
    options = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
    with opened("beach", **options) as it:
        finger = it.context.new_cdp_session(it.view)

        def drag(start, end):
            steps = [
                [a + (b - a) * i / 5 for a, b in zip(start, end, strict=True)]
                for i in range(6)
            ]
            for i, (x, y) in enumerate(steps):
                kind = "touchStart" if i == 0 else "touchMove"
                points = [{"x": x, "y": y}]
                finger.send(
                    "Input.dispatchTouchEvent",
                    {"type": kind, "touchPoints": points},
                )
            finger.send(
                "Input.dispatchTouchEvent",
                {"type": "touchEnd", "touchPoints": []},
            )

        scene = it.view.locator(".dl-scene").bounding_box()
        unit = scene["width"] / 192
        x, y = place(it.view)
        start = scene["x"] + x * unit, scene["y"] + y * unit
        drag(start, (start[0] - 50 * unit, start[1]))
        settled(it.view, ((x - 50) / 192, y / 192))
        assert place(it.view) == pytest.approx((x - 50, y), abs=1)
        assert it.view.evaluate("scrollY") == 0
        sky = scene["x"] + 10 * unit, scene["y"] + 10 * unit
        drag((sky[0], sky[1] + 120), sky)
        it.view.wait_for_function("scrollY > 20")


@pytest.mark.browser
def test_keys_move_take_away_and_go_on(opened):
    with opened("beach") as it:
        things = it.view.locator(".dl-thing")
        count, (x, y) = things.count(), place(it.view)
        things.first.focus()
        for key in ("ArrowLeft", "ArrowLeft", "ArrowDown"):
            it.view.keyboard.press(key)
        assert place(it.view) == (x - 8, y + 4)
        settled(it.view, ((x - 8) / 192, (y + 4) / 192))
        it.view.keyboard.press("Delete")
        assert things.count() == count - 1
        # The next thing has the focus; after the last comes the horizon.
        focused = "document.activeElement.getAttribute('class')"
        assert it.view.evaluate(focused) == "dl-thing dl-selected"
        for _ in range(count - 1):
            it.view.keyboard.press("Tab")
        assert it.view.evaluate(focused) == "dl-horizon"
        horizon = it.view.locator(".dl-horizon")
        before = int(horizon.get_attribute("aria-valuenow"))
        it.view.keyboard.press("ArrowUp")
        assert int(horizon.get_attribute("aria-valuenow")) == before + 4
        it.view.keyboard.press("Tab")
        it.view.keyboard.press("Enter")  # the next scene
        assert "Next scene" in it.view.evaluate(
            "document.activeElement.textContent"
        )


@pytest.mark.browser
def test_things_are_added_painted_and_removed(opened):
    with opened("beach") as it:
        things = it.view.locator(".dl-thing")
        before = things.count()
        remove = it.view.get_by_role("button", name="Remove")
        while things.count() < 5:
            it.view.get_by_role("button", name="Add a ball").click()
        assert things.count() == 5 > before
        # Five things are as many as a scene has in training.
        assert it.view.get_by_role("button", name="Add a tent").is_disabled()
        pixels = "document.querySelector('.dl-stage canvas').toDataURL()"
        old = it.view.evaluate(pixels)
        it.view.get_by_role("button", name="Paint it pink").click()
        it.view.wait_for_function(f"(old) => {pixels} !== old", arg=old)
        remove.click()
        assert things.count() == 4
        assert remove.is_disabled()


@pytest.mark.browser
def test_the_beach_says_what_was_found(opened):
    image = SceneSplit(VALIDATION_SEED, 345)[344].image
    segments = load_model("scenes", device="cpu").predict(image).segments
    wanted = {SCENE_CATEGORIES[s.label].name for s in segments}
    with opened("beach") as it:
        status = it.view.locator(".dl-widget [role=status]")
        it.view.wait_for_function(
            "document.querySelector('.dl-widget [role=status]').textContent"
        )
        words = status.text_content()
        assert set(re.findall(r"([a-z]+)\s\d+", words)) == wanted
        label = it.view.locator(".dl-answer canvas").get_attribute(
            "aria-label"
        )
        assert set(re.findall(r"([a-z]+)\s\d+", label)) == wanted
        # Pointing at the sky chooses the sky.
        it.view.locator(".dl-answer canvas").hover(position={"x": 9, "y": 9})
        chosen = it.view.locator(".dl-chip[aria-pressed=true]")
        assert "Sky" in chosen.inner_text()
        assert "sky" in it.view.locator(".dl-stage").nth(2).inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_mask_grows_unless_things_shall_stand_still(opened, motion):
    with opened("beach", reduced_motion=motion) as it:
        note = ".dl-stage:nth-child(5) .dl-note"
        seen = it.view.evaluate(
            """async (note) => {
              // Whichever isn't chosen yet.
              const chip = document.querySelector(
                ".dl-chip[aria-pressed=false]");
              const words = document.querySelector(note);
              const seen = new Set();
              const watch = new MutationObserver(
                () => seen.add(words.textContent));
              watch.observe(words, { childList: true });
              chip.click();
              for (let i = 0; i < 500; i++) {
                if (words.textContent.includes("mask") && seen.size) break;
                await new Promise((done) => setTimeout(done, 20));
              }
              return [...seen];
            }""",
            note,
        )
        sizes = [f"{n} \N{MULTIPLICATION SIGN} {n}" for n in (12, 24, 48)]
        steps = [*sizes, f"{sizes[-1]}, the mask"]
        if motion == "reduce":
            assert seen == steps[-1:]
        else:
            assert [s for s in steps if s in seen] == steps


@pytest.mark.browser
def test_the_stages_lead_to_the_chapters(opened):
    with opened("beach") as it:
        links = it.view.locator("a.dl-stage")
        pages = [
            links.nth(i).get_attribute("href") for i in range(links.count())
        ]
    assert len(pages) == 5
    for number, page in enumerate(pages, 1):
        assert page.startswith(f"0{number}_")
        assert (ROOT / "book" / page.replace(".html", ".ipynb")).is_file()


def scene(name):
    index = KINDS[name].scene
    return SceneSplit(VALIDATION_SEED, index + 1)[index].image


def share(text):
    return int(re.search(r"(\d+)\s%", text)[1])


@pytest.mark.browser
def test_the_heads_have_the_packages_shares(opened):
    model = load_model("scenes", device="cpu")
    found = model.predict(scene("attention"))
    names = [SCENE_CATEGORIES[s.label].name for s in found.segments]
    with opened("attention") as it:
        heads = it.view.locator(".dl-head")
        for name in ("ball", "grass", "sky"):
            maps = found.attention_maps[names.index(name)]
            wanted = (100 * maps.sum((1, 2))).tolist()
            chip = it.view.locator(".dl-chip", has_text=name.capitalize())
            chip.click()
            shown = [share(heads.nth(i).inner_text()) for i in range(8)]
            assert shown == pytest.approx(wanted, abs=1.5)
        it.view.get_by_role("button", name="for each head").click()
        shown = [share(heads.nth(i).inner_text()) for i in range(8)]
        assert shown == [100] * 8


PICTURE = "document.querySelector('.dl-over-scene').toDataURL()"


@pytest.mark.browser
def test_every_control_of_the_heads_changes_the_picture(opened):
    with opened("attention") as it:
        it.view.locator(".dl-chip", has_text="Grass").click()
        seen = {it.view.evaluate(PICTURE)}

        def changed():
            picture = it.view.evaluate(PICTURE)
            new = picture not in seen
            seen.add(picture)
            return new

        it.view.locator(".dl-head").nth(6).click()
        assert changed()
        it.view.get_by_role("button", name="for each head").click()
        assert changed()
        it.view.get_by_role("button", name="1", exact=True).click()
        assert changed()
        it.view.locator("input[type=range]").focus()
        it.view.keyboard.press("End")
        assert changed()
        it.view.locator(".dl-head").nth(6).click()  # all heads again
        assert changed()
        assert "positions" in it.view.locator(".dl-words").inner_text()


def every_layer(model, image):
    """Return logits and boxes of each decoder layer, (N, ...) each."""
    heads, seen = (model.detr.class_embed, model.detr.bbox_embed), []
    hooks = [
        head.register_forward_hook(lambda *args: seen.append(args[-1]))
        for head in heads
    ]
    model.detr(*pad_images([image]))
    for hook in hooks:
        hook.remove()
    logits, boxes = (x.flatten(0, -3) for x in seen)
    return list(zip(logits, boxes.sigmoid(), strict=True))


@pytest.mark.browser
def test_the_queries_find_what_the_package_finds(opened):
    model = load_model("scenes", device="cpu").requires_grad_(False)
    layers = every_layer(model, scene("queries"))
    names = [*(c.name for c in SCENE_CATEGORIES), "no object"]
    with opened("queries") as it:
        rows = it.view.locator("button.dl-query")
        assert rows.count() == 12
        for query in (0, 1, 8, 11):
            rows.nth(query).click()
            words = it.view.locator(".dl-words").inner_text()
            found = re.findall(r"says ([a-z ]+) \((\d+)", words)
            sure = [logits[query].softmax(-1) for logits, _ in layers]
            for (name, percent), wanted in zip(found, sure, strict=True):
                assert name == names[wanted.argmax()]
                score = 100 * wanted.max().item()
                assert int(percent) == pytest.approx(score, abs=2)
            boxes = it.view.locator(".dl-layers .dl-over")
            for i, (_, wanted) in enumerate(layers):
                width = float(boxes.nth(i).get_attribute("width"))
                height = float(boxes.nth(i).get_attribute("height"))
                size = wanted[query, 2:].tolist()
                assert (width, height) == pytest.approx(size, abs=0.02)


@pytest.mark.browser
def test_a_query_that_found_nothing_stays_chosen_while_things_move(opened):
    with opened("queries") as it:
        it.view.locator("button.dl-query").nth(0).click()
        words = it.view.locator(".dl-words")
        before = it.view.evaluate(
            "document.querySelector('.dl-layers canvas').toDataURL()"
        )
        it.view.locator(".dl-horizon").focus()
        it.view.keyboard.press("ArrowUp")
        it.view.wait_for_function(
            "(old) => document.querySelector('.dl-layers canvas')"
            ".toDataURL() !== old",
            arg=before,
        )
        assert words.inner_text().startswith("Query 0")
        it.view.get_by_role("button", name="3", exact=True).click()
        pressed = it.view.locator(".dl-choice [aria-pressed=true]")
        assert pressed.inner_text() == "3"


def costs():
    """Return the game's costs by the package's boxes, segments x 4."""
    import torch

    from detr_lite.boxes import cxcywh_to_xyxy, giou

    wanted = torch.tensor([s["box"] for s in GAME["segments"]])
    boxes = torch.tensor([p["box"] for p in GAME["predictions"]])
    labels = [s["label"] for s in GAME["segments"]]
    sure = torch.tensor([p["probabilities"] for p in GAME["predictions"]])
    distance = (wanted[:, None] - boxes).abs().sum(-1)
    overlap = giou(cxcywh_to_xyxy(wanted)[:, None], cxcywh_to_xyxy(boxes))
    return 5 * distance - sure[:, labels].T - 2 * overlap


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.browser
def test_the_game_has_the_packages_costs(opened):
    from scipy.optimize import linear_sum_assignment

    wanted = costs().numpy()
    best = wanted[linear_sum_assignment(wanted)].sum()
    with opened("matching") as it:
        cells = it.view.locator(".dl-cost")
        shown = [number(cells.nth(i).inner_text()) for i in range(12)]
        assert shown == pytest.approx(wanted.T.ravel().tolist(), abs=0.006)
        totals = it.view.locator(".dl-words").nth(1)
        sums = {}
        for name in ("the cheapest first", "the best of all"):
            it.view.get_by_role("button", name=name).click()
            sums[name] = number(
                re.search(r"In all: (\S+);", totals.inner_text())[1]
            )
        assert sums["the best of all"] == pytest.approx(best, abs=0.006)
        # The trap is one: taking the cheapest first costs more.
        assert sums["the cheapest first"] > best + 1


@pytest.mark.browser
def test_the_game_is_played_by_keys(opened):
    with opened("matching") as it:
        cells = it.view.locator(".dl-cost")
        totals = it.view.locator(".dl-words").nth(1)
        for index in (0, 4, 8):  # A, B and C: the cheapest first
            assert "to do" in totals.inner_text()
            cells.nth(index).focus()
            it.view.keyboard.press("Enter")
        assert "more than the best" in totals.inner_text()
        # A prediction answers for one segment only.
        cells.nth(1).click()
        assert cells.nth(0).get_attribute("aria-pressed") == "false"
        cells.nth(3).click()
        assert "less is not possible" in totals.inner_text()
        before = cells.nth(0).inner_text()
        it.view.locator(".dl-prediction").first.focus()
        it.view.keyboard.press("ArrowLeft")
        moved = cells.nth(0).inner_text()
        assert number(moved) < number(before)  # A comes nearer to ball 1
        it.view.keyboard.press("Shift+ArrowRight")
        assert cells.nth(0).inner_text() != moved
        it.view.get_by_role("button", name="Start again").click()
        assert cells.nth(0).inner_text() == before
        assert "3 still to do" in totals.inner_text()


@pytest.mark.browser
def test_the_game_is_played_with_a_mouse(opened):
    with opened("matching", viewport={"width": 390, "height": 900}) as it:
        board = it.view.locator(".dl-board").bounding_box()
        unit = board["width"]

        def drag(start, end):
            it.view.mouse.move(*(board[k] + unit * v for k, v in start))
            it.view.mouse.down()
            it.view.mouse.move(*(board[k] + unit * v for k, v in end), steps=3)
            it.view.mouse.up()

        def at(x, y):
            return [("x", x), ("y", y)]

        cells = it.view.locator(".dl-cost")
        body = it.view.locator(".dl-prediction .dl-body")
        d = GAME["predictions"][3]["box"]
        before = number(cells.nth(11).inner_text())
        drag(at(*d[:2]), at(0.52, 0.77))  # D onto the crate
        assert number(cells.nth(11).inner_text()) < before - 1
        width = float(body.nth(3).get_attribute("width"))
        corner = 0.52 + d[2] / 2, 0.77 + d[3] / 2
        drag(at(*corner), at(corner[0] + 0.1, corner[1]))
        now = float(body.nth(3).get_attribute("width"))
        assert now == pytest.approx(width + 10, abs=1)


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
