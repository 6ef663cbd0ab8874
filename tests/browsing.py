"""Chromium for the tests: $CHROMIUM, or what is found on the path.

Without one the tests are skipped, unless DETR_LITE_NEEDS_BROWSER=1 is set.
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
