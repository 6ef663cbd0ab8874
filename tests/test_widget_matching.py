"""Chapter 2's widget: the matching game."""

import re

import pytest
import torch
from browsing import drag, number
from scipy.optimize import linear_sum_assignment

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.teaching.stills import GAME

pytest_plugins = ["widget_page"]


def costs():
    """Return the game's costs by the package's boxes, segments x 4."""
    wanted = torch.tensor([s["box"] for s in GAME["segments"]])
    boxes = torch.tensor([p["box"] for p in GAME["predictions"]])
    labels = [s["label"] for s in GAME["segments"]]
    sure = torch.tensor([p["probabilities"] for p in GAME["predictions"]])
    distance = (wanted[:, None] - boxes).abs().sum(-1)
    overlap = giou(cxcywh_to_xyxy(wanted)[:, None], cxcywh_to_xyxy(boxes))
    return 5 * distance - sure[:, labels].T - 2 * overlap


@pytest.mark.browser
def test_the_game_has_the_packages_costs(opened):
    wanted = costs().numpy()
    best = wanted[linear_sum_assignment(wanted)].sum()
    with opened("matching") as view:
        cells = view.locator(".dl-cost")
        shown = [number(cells.nth(i).inner_text()) for i in range(12)]
        assert shown == pytest.approx(wanted.T.ravel().tolist(), abs=0.006)
        totals = view.locator(".dl-words").nth(1)
        sums = {}
        for name in ("the cheapest first", "the best of all"):
            view.get_by_role("button", name=name).click()
            sums[name] = number(
                re.search(r"In all: (\S+);", totals.inner_text())[1]
            )
        assert sums["the best of all"] == pytest.approx(best, abs=0.006)
        # The trap is one: taking the cheapest first costs more.
        assert sums["the cheapest first"] > best + 1


@pytest.mark.browser
def test_the_costs_are_one_stop_with_arrows_within(opened):
    with opened("matching") as view:
        cells = view.locator(".dl-cost")
        cells.first.focus()
        # Rows are predictions: on to B, then to its second segment.
        for key in ("ArrowDown", "ArrowRight"):
            view.keyboard.press(key)
        label = view.evaluate("document.activeElement.ariaLabel")
        assert label.startswith("Prediction B for ball 2")
        stops = [cells.nth(i).get_attribute("tabindex") for i in range(12)]
        assert stops == ["0" if i == 4 else "-1" for i in range(12)]


@pytest.mark.browser
def test_the_game_is_played_by_keys(opened):
    with opened("matching") as view:
        cells = view.locator(".dl-cost")
        totals = view.locator(".dl-words").nth(1)
        for index in (0, 4, 8):  # A, B and C: the cheapest first
            assert "to do" in totals.inner_text()
            cells.nth(index).focus()
            view.keyboard.press("Enter")
        assert "more than the best" in totals.inner_text()
        # A prediction answers for one segment only.
        cells.nth(1).click()
        assert cells.nth(0).get_attribute("aria-pressed") == "false"
        cells.nth(3).click()
        assert "less is not possible" in totals.inner_text()
        before = cells.nth(0).inner_text()
        view.locator(".dl-prediction").first.focus()
        view.keyboard.press("ArrowLeft")
        moved = cells.nth(0).inner_text()
        assert number(moved) < number(before)  # A comes nearer to ball 1
        view.keyboard.press("Shift+ArrowRight")
        assert cells.nth(0).inner_text() != moved
        view.get_by_role("button", name="Start again").click()
        assert cells.nth(0).inner_text() == before
        assert "3 still to do" in totals.inner_text()


@pytest.mark.browser
def test_the_cheapest_first_shows_its_order_and_can_be_changed(opened):
    with opened("matching") as view:
        view.get_by_role("button", name="the cheapest first").click()
        cells = view.locator(".dl-cost")
        turns = [cells.nth(i).locator(".dl-turn") for i in range(12)]
        picked = [t.inner_text() if t.count() else "" for t in turns]
        assert [i for i, t in enumerate(picked) if t == "1st"] == [0]
        assert sorted(filter(None, picked)) == ["1st", "2nd", "3rd"]
        assert (
            cells.nth(0)
            .get_attribute("aria-label")
            .startswith("Prediction A for ball 1")
        )
        cells.nth(1).click()  # the reader takes over
        you = view.get_by_role("button", name="you", exact=True)
        assert you.get_attribute("aria-pressed") == "true"
        assert cells.nth(1).get_attribute("aria-pressed") == "true"
        assert view.locator(".dl-turn").count() == 0
        view.get_by_role("button", name="the best of all").click()
        view.get_by_role("button", name="Start again").click()
        assert you.get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_a_finger_looks_at_the_best_and_pairs_by_itself(opened):
    """It can't hover: a tap would take the best pairs apart."""
    phone = {"viewport": {"width": 390, "height": 900}, "has_touch": True}
    with opened("matching", **phone) as view:
        best = view.get_by_role("button", name="the best of all")
        best.tap()
        cells = view.locator(".dl-cost")
        pressed = [c.get_attribute("aria-pressed") for c in cells.all()]
        cells.nth(pressed.index("false")).tap()
        assert best.get_attribute("aria-pressed") == "true"
        assert [
            c.get_attribute("aria-pressed") for c in cells.all()
        ] == pressed
        cells.nth(11).tap()
        words = view.locator(".dl-words").first
        assert words.inner_text().startswith("D for crate 3:")
        view.get_by_role("button", name="you", exact=True).tap()
        cells.nth(11).tap()
        assert cells.nth(11).get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_the_terms_give_the_cost(opened):
    with opened("matching") as view:
        words = view.locator(".dl-words").first
        terms = words.inner_text().replace("\N{MINUS SIGN}", "-")
        p, distance, overlap, cost = (
            float(x) for x in re.findall(r"-?\d\.\d\d+", terms)[:4]
        )
        assert p + 5 * distance - 2 * overlap == pytest.approx(cost, abs=0.009)
        # What is moved is what the sum is about, for what it fits best.
        view.locator(".dl-prediction").nth(3).focus()
        view.keyboard.press("ArrowLeft")
        assert words.inner_text().startswith("D for crate 3:")


@pytest.mark.browser
def test_the_game_is_played_with_a_mouse(opened):
    with opened("matching", viewport={"width": 390, "height": 900}) as view:
        board = view.locator(".dl-board").bounding_box()

        def at(x, y):
            unit = board["width"]
            return board["x"] + unit * x, board["y"] + unit * y

        cells = view.locator(".dl-cost")
        body = view.locator(".dl-prediction .dl-body")
        d = GAME["predictions"][3]["box"]
        before = number(cells.nth(11).inner_text())
        drag(view, at(*d[:2]), at(0.52, 0.77))  # D onto the crate
        assert number(cells.nth(11).inner_text()) < before - 1
        width = float(body.nth(3).get_attribute("width"))
        corner = 0.52 + d[2] / 2, 0.77 + d[3] / 2
        drag(view, at(*corner), at(corner[0] + 0.1, corner[1]))
        now = float(body.nth(3).get_attribute("width"))
        assert now == pytest.approx(width + 10, abs=1)
