"""Chromium for the tests, and what they do in its pages.

It is $CHROMIUM, or what is found on the path.  Without one the tests are
skipped, unless DETR_LITE_NEEDS_BROWSER=1 is set.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-sync"]


@contextmanager
def chromium() -> Iterator:
    """Return a running Chromium, closed at the end."""
    names = [os.environ.get("CHROMIUM") or "", *BROWSERS]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        why = "no Chromium: install it, or set CHROMIUM to its path"
        if os.environ.get("DETR_LITE_NEEDS_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "resultTypes": ["violations"],  # a third less time
}


def violations(view, **options) -> list:
    """Return the rules of accessibility that a page breaks, and where.

    Axe itself asks for a file that is not there, which the page reports.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(view, options=RULES | options).response["violations"]
    return [(f["id"], [n["target"] for n in f["nodes"]]) for f in found]


class Opened:
    """A page in a browser, with what it asked for and complained about."""

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


def drag(view, start, end):
    """Drag with the mouse from one place (x, y) to another."""
    view.mouse.move(*start)
    view.mouse.down()
    view.mouse.move(*end, steps=4)
    view.mouse.up()


def swipe(view, start, end):
    """Draw a finger from one place (x, y) to another."""
    finger = view.context.new_cdp_session(view)

    def send(kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        event = {"type": f"touch{kind}", "touchPoints": points}
        finger.send("Input.dispatchTouchEvent", event)

    for i in range(6):
        pairs = zip(start, end, strict=True)
        place = [a + (b - a) * i / 5 for a, b in pairs]
        send("Move" if i else "Start", place)
    send("End")


def at_rest(view):
    """Wait until a page no longer scrolls."""
    view.wait_for_function(
        """() => new Promise((done) => {
          const before = scrollY;
          setTimeout(() => done(scrollY === before), 200);
        })"""
    )


def changed(view, selector, act):
    """Act, and wait until a text or an attribute is another."""
    look = f"document.querySelector({selector!r}).outerHTML"
    before = view.evaluate(look)
    act()
    view.wait_for_function(f"(old) => {look} !== old", arg=before)


def number(text):
    """Return the number that a page shows."""
    return float(text.replace("\N{MINUS SIGN}", "-"))
