"""Chapter 5's widget: what panoptic quality counts."""

import pytest
import torch
from browsing import drag, swipe
from widgets import NAMES, counted, sample

pytest_plugins = ["widget_page"]
PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True}
SEGMENTS = """() => {
  const { ids, labels } = document.querySelector(".dl-widget").segments();
  return [[...ids], labels];
}"""


@pytest.mark.browser
def test_the_sandbox_counts_as_the_package_does(opened):
    scene = sample("quality")

    def agree():
        ids, labels = view.evaluate(SEGMENTS)
        found = torch.tensor(ids).view(96, 96)
        there = {i + 1: k for i, k in enumerate(labels) if i + 1 in ids}
        quality = counted(found, there, scene)
        rows = view.locator(".dl-quality tbody tr").all_inner_texts()
        means = [float(x) for x in rows[-1].split()[-3:]]
        wanted = quality.compute()
        rates = [wanted[name] for name in ("sq", "rq", "pq")]
        assert means == pytest.approx(rates, abs=0.006)
        for row in rows[:-1]:
            name, *cells = row.split()
            counts = quality.tp, quality.fp, quality.fn
            shown = [int(x) for x in cells[-6:-3]]
            assert shown == [count[NAMES.index(name)] for count in counts]
        return round(wanted["pq"], 6)

    def press(name):
        view.get_by_role("button", name=name, exact=True).click()

    with opened("quality") as view:
        seen = [agree()]
        assert 0.8 < seen[0] < 1  # one thing is a little off
        board = view.locator(".dl-touchable")
        board.focus()
        for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "ArrowUp"):
            view.keyboard.press(key)
            seen.append(agree())
        press("Cut it in two")
        seen.append(agree())
        view.get_by_label("Call it").select_option("crate")
        seen.append(agree())
        press("Forget it")
        seen.append(agree())
        press("paint")
        box = board.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        drag(view, middle, (middle[0] + 60, middle[1] + 40))
        seen.append(agree())
        board.focus()
        press("erase")
        board.focus()
        for key in (*["Shift+ArrowUp"] * 4, "Space"):
            view.keyboard.press(key)
        seen.append(agree())
        assert len(set(seen)) >= len(seen) - 1  # half of nothing is nothing
        press("Start again")
        assert agree() == seen[0]


@pytest.mark.browser
def test_a_finger_moves_a_segment_and_not_the_page(opened):
    with opened("quality", **PHONE) as view:
        board = view.locator(".dl-touchable")
        board.scroll_into_view_if_needed()
        before, labels = view.evaluate(SEGMENTS)
        thing = torch.tensor(before).view(96, 96) == len(labels)
        place = thing.nonzero()[thing.sum() // 2].tolist()
        scrolled, box = view.evaluate("scrollY"), board.bounding_box()
        unit = box["width"] / 96
        x, y = box["x"] + place[1] * unit, box["y"] + place[0] * unit
        swipe(view, (x, y), (x, y + 10 * unit))
        after, _ = view.evaluate(SEGMENTS)
        moved = torch.tensor(after).view(96, 96) == len(labels)
        rows = (thing.nonzero()[:, 0].min(), moved.nonzero()[:, 0].min())
        assert rows[1] - rows[0] == pytest.approx(10, abs=1)
        assert view.evaluate("scrollY") == scrolled


@pytest.mark.browser
def test_a_finger_on_a_region_scrolls_the_page(opened):
    with opened("quality", **PHONE) as view:
        board = view.locator(".dl-touchable")
        board.scroll_into_view_if_needed()
        chosen = view.locator(".dl-chip[aria-pressed=true]")
        before, thing = view.evaluate(SEGMENTS), chosen.inner_text()
        scrolled, box = view.evaluate("scrollY"), board.bounding_box()
        sky = box["x"] + box["width"] / 2, box["y"] + box["height"] / 6
        swipe(view, sky, (sky[0], sky[1] - 60))
        view.wait_for_function("(y) => scrollY > y + 20", arg=scrolled)
        assert view.evaluate(SEGMENTS) == before
        assert chosen.inner_text() == thing
        board.tap(position={"x": box["width"] / 2, "y": box["height"] / 6})
        assert chosen.inner_text() == "Sky"
        # A brush paints there, and the page stays.
        view.get_by_role("button", name="erase").click()
        board.scroll_into_view_if_needed()
        scrolled, box = view.evaluate("scrollY"), board.bounding_box()
        sky = box["x"] + box["width"] / 2, box["y"] + box["height"] / 6
        swipe(view, sky, (sky[0], sky[1] + 20))
        assert view.evaluate("scrollY") == scrolled
        assert view.evaluate(SEGMENTS) != before


@pytest.mark.browser
def test_words_say_what_the_table_counts(opened):
    """An FN is only one if the true segment has no match."""
    with opened("quality") as view:
        words = view.locator(".dl-words")
        board = view.locator(".dl-touchable")

        def press(name):
            view.get_by_role("button", name=name, exact=True).click()
            return words.inner_text()

        def row():
            cells = view.locator(".dl-quality tr", has_text="starfish")
            return [int(x) for x in cells.inner_text().split()[-6:-3]]

        assert "not above 1/2: an FP" in words.inner_text()
        assert "The true starfish has no match: an FN." in words.inner_text()
        assert row() == [0, 1, 1]
        board.focus()
        for key in ["ArrowLeft", "ArrowUp"] * 3:
            view.keyboard.press(key)
        assert "a match, TP" in words.inner_text()
        assert "FN" not in words.inner_text()
        halves = press("Cut it in two")
        assert row() == [1, 1, 0]
        assert "FN" not in halves
        for i in range(2):  # the halves are the two last
            view.locator(".dl-chip").nth(6 + i).click()
            loser = "an FP, for another segment matches the true one"
            assert ("TP" in words.inner_text()) != (
                loser in words.inner_text()
            )
        press("Start again")
        board.focus()
        for _ in range(7):
            view.keyboard.press("Shift+ArrowDown")
        assert "no pixel in common" in words.inner_text()
        assert "The true starfish has no match: an FN." in words.inner_text()
        for _ in range(12):
            view.keyboard.press("Shift+ArrowDown")
        assert "no pixel of its own" in words.inner_text()
        assert "The true starfish has no match: an FN." in words.inner_text()
        assert row() == [0, 0, 1]


@pytest.mark.browser
def test_tools_do_what_they_can(opened):
    with opened("quality") as view:
        chips = view.locator(".dl-chip")
        label = view.get_by_label("Call it")
        brush = view.get_by_role("slider", name="Brush")
        cut, forget = (
            view.get_by_role("button", name=name)
            for name in ("Cut it in two", "Forget it")
        )
        assert label.locator("option:checked").inner_text() == "starfish"
        assert brush.is_disabled()
        for _ in range(20):
            cut.focus()
            view.keyboard.press("Enter")
        assert cut.get_attribute("aria-disabled") == "true"
        assert chips.count() < 7 + 10  # one column can't be cut
        ids, labels = view.evaluate(SEGMENTS)
        assert set(range(1, len(labels) + 1)) <= set(ids)
        view.get_by_role("button", name="New segment").click()
        assert not brush.is_disabled()
        paint = view.get_by_role("button", name="paint")
        assert paint.get_attribute("aria-pressed") == "true"
        for left in range(chips.count() - 1, -1, -1):
            forget.focus()
            view.keyboard.press("Enter")
            assert chips.count() == left
        assert forget.get_attribute("aria-disabled") == "true"
        assert label.is_disabled()
        assert "Nothing is found." in view.locator(".dl-words").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1000, 900), (390, 700)])
def test_the_answer_and_the_words_fit_on_one_screen(opened, size):
    width, height = size
    with opened("quality", viewport={"width": width, "height": height}) as v:
        picture = v.locator(".dl-answer").last.bounding_box()
        words = v.locator(".dl-words").bounding_box()
        assert words["y"] + words["height"] - picture["y"] < 0.9 * height
