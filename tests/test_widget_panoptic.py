"""Chapter 5's widget: from masks to the panoptic segmentation."""

import re
from contextlib import nullcontext

import pytest
from browsing import number
from widgets import sample

from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.panoptic import panoptic_results
from detr_lite.teaching.faults import shared_stuff

pytest_plugins = ["widget_page"]


@pytest.mark.browser
def test_segments_are_made_in_every_way_as_in_the_package(opened, model):
    batch = pad_images([sample("panoptic").image])
    isthing = [c.isthing for c in SCENE_CATEGORIES]

    def agree(mode="union", min_area=4, halves=False):
        with shared_stuff(model) if halves else nullcontext():
            output = model(*batch)
        sizes = (96, 96), [(96, 96)]
        how = {"mode": mode, "min_area": min_area}
        (result,) = panoptic_results(output, isthing, *sizes, **how)
        wanted = [(s.query, s.area) for s in result.segments]
        shown = []
        for row in view.locator(".dl-fates tbody tr").all_inner_texts():
            found = re.search(r"^(\d+)\b.*\t(\d+) pixels\t", row.strip())
            if found:
                shown.append(tuple(map(int, found.groups())))
        assert [q for q, _ in sorted(shown)] == [q for q, _ in sorted(wanted)]
        for (_, mine), (_, theirs) in zip(
            sorted(shown), sorted(wanted), strict=True
        ):
            assert mine == pytest.approx(theirs, abs=40)
        return shown

    with opened("panoptic") as view:
        seen = [agree()]
        original = view.get_by_role("button", name="original")
        original.click()
        assert agree("original") == seen[0]  # nothing is shared yet
        view.get_by_role("button", name="Two queries").click()
        seen.append(agree("original", halves=True))
        view.get_by_role("button", name="always").click()
        seen.append(agree(halves=True))
        fates = view.locator(".dl-fates").inner_text()
        assert fates.count("merged with query") == 3
        tiny = view.locator("input[type=range]").nth(1)
        tiny.focus()
        view.keyboard.press("End")
        assert "removed" in view.locator(".dl-fates").inner_text()
        seen.append(agree(min_area=400, halves=True))
        assert len(set(map(tuple, seen))) == 4
        view.locator("input[type=range]").first.focus()
        view.keyboard.press("Home")
        assert "not sure enough" not in view.locator(".dl-fates").inner_text()


@pytest.mark.browser
def test_a_pixel_says_who_wants_it_most(opened):
    with opened("panoptic") as view:
        answer = view.locator(".dl-answer")
        answer.hover(position={"x": 8, "y": 8})
        row = view.locator(".dl-fates .dl-won")
        assert "sky" in row.inner_text()
        cells = view.locator(".dl-fates .dl-number-cell").all_inner_texts()
        won = row.locator(".dl-number-cell").inner_text()
        assert number(won) == max(number(x) for x in cells[1:] if x)
        view.locator(".dl-cursor").focus()
        for _ in range(90):
            view.keyboard.press("ArrowDown")
        assert "sky" not in row.inner_text()


@pytest.mark.browser
def test_a_clicked_pixel_is_there_again_when_the_pointer_leaves(opened):
    with opened("panoptic") as view:
        row = view.locator(".dl-fates .dl-won")
        # At first it lies in the segment that is chosen.
        first = row.inner_text()
        assert view.locator(".dl-answer .dl-chosen").inner_text() in first
        answer = view.locator(".dl-answer")
        answer.click(position={"x": 8, "y": 8})
        low = answer.bounding_box()["height"] - 8
        answer.hover(position={"x": 8, "y": low})
        assert "grass" in row.inner_text()
        view.locator("input[type=range]").first.hover()
        assert "sky" in row.inner_text()


# For pixels, row and column: what the table says of each query, and the words.
TABLES = """(places) => {
  const board = document.querySelector(".dl-cursor-board");
  const { left, top, width } = board.getBoundingClientRect();
  const [table] = document.querySelectorAll(".dl-fates tbody");
  const words = document.querySelector(".dl-words");
  return places.map(([row, column]) => {
    board.dispatchEvent(new PointerEvent("pointermove", {
      pointerType: "mouse",
      clientX: left + (column + 0.5) * width / 96,
      clientY: top + (row + 0.5) * width / 96,
    }));
    const rows = [...table.rows].map((row) =>
      [row.className, ...[...row.cells].map((cell) => cell.textContent)]);
    return [rows, words.textContent];
  });
}"""


@pytest.mark.browser
@pytest.mark.parametrize("halves", [False, True])
def test_the_largest_logit_has_the_pixel(opened, halves):
    """Near borders too, where the model's 48 x 48 places don't decide."""
    places = [(row, column) for row in range(1, 96, 8) for column in range(96)]
    with opened("panoptic") as view:
        if halves:
            view.get_by_role("button", name="Two queries").click()
        owners = set()
        for rows, words in view.evaluate(TABLES, places):
            logits = {who: number(x) for _, who, *_, x in rows if x}
            (owner,) = (who for kind, who, *_ in rows if "dl-won" in kind)
            assert logits[owner] == max(logits.values())
            assert f"goes to query {owner}, " in words
            owners.add(owner)
            for _, who, _, fate, _ in rows:
                assert not fate.endswith(f"with query {who}")
        assert len(owners) > 5 + 2 * halves
        assert halves == any("right" in who for who in owners)


@pytest.mark.browser
def test_the_threshold_does_something_both_ways(opened):
    with opened("panoptic") as view:
        threshold = view.locator("input[type=range]").first
        words = view.locator(".dl-words")

        def at(value):
            threshold.fill(str(value))
            said = threshold.get_attribute("aria-valuetext")
            assert said == view.locator("output").first.inner_text()
            text = words.inner_text()
            return float(re.search(r"PQ of (\d.\d\d)", text)[1]), text

        (low, more), (usual, _), (high, less) = at(0.6), at(0.7), at(0.92)
        assert usual > max(low, high) + 0.1
        assert "3 false positives and 2 false negatives." in more
        assert "0 false positives and 2 false negatives." in less
        at(0)
        rows = view.locator(".dl-fates tbody tr")
        assert "not sure enough" not in rows.all_inner_texts()
        assert "never counts" in rows.last.inner_text()


@pytest.mark.browser
def test_the_last_thing_leaves_the_focus_on_the_beach(opened):
    with opened("panoptic") as view:
        things = view.locator(".dl-thing")
        things.first.focus()
        for left in range(things.count() - 1, -1, -1):
            view.keyboard.press("Delete")
            assert things.count() == left
        assert view.locator(".dl-horizon").evaluate(
            "(mark) => mark === document.activeElement"
        )


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1000, 900), (390, 700)])
def test_the_answer_and_the_words_fit_on_one_screen(opened, size):
    width, height = size
    with opened("panoptic", viewport={"width": width, "height": height}) as v:
        picture = v.locator(".dl-answer").bounding_box()
        words = v.locator(".dl-words").bounding_box()
        assert words["y"] + words["height"] - picture["y"] < 0.9 * height
