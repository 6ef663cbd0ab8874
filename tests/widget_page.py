"""Fixtures of the tests of single widgets: each on a bare page, and a model.

A file of tests asks for them by pytest_plugins.
"""

from contextlib import contextmanager

import pytest
from browsing import Opened, chromium
from support import ROOT
from widgets import READY

from detr_lite.inference.loading import load_model
from detr_lite.teaching.widgets import Widget

ASSETS = (ROOT / "book" / "_assets" / "widgets").as_uri()
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>{name}</title>
<link rel="stylesheet" href="{assets}/widgets.css">
<body>{widget}<script src="{assets}/widgets.js"></script>
"""


@pytest.fixture(scope="module")  # one at a time in a process
def browser():
    """A running Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a widget's page, alive."""

    @contextmanager
    def start(name, anchor="", **options):
        page = tmp_path / f"{name}.html"
        widget = Widget(name)._repr_html_()
        page.write_text(PAGE.format(name=name, assets=ASSETS, widget=widget))
        url = page.as_uri() + anchor
        with Opened(browser, url, READY[name], **options) as it:
            yield it.view

    return start


@pytest.fixture(scope="module")
def model():
    """The shipped model, as the package loads it."""
    return load_model("scenes", device="cpu").requires_grad_(False)
