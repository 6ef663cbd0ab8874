"""The museum's widget: faults, switched on in the model of the page."""

import re
from types import SimpleNamespace

import pytest
import torch
from browsing import at_rest, drag, swipe
from support import ROOT
from widgets import quality_of, sample

from detr_lite.teaching.faults import (
    FAULTS,
    fault,
    shared_stuff,
    through_png,
    together,
)

pytest_plugins = ["widget_page"]
CUT = 24  # rows, as in book/widgets/page/widgets/fault_reading.ts


def museum(model, name):
    """Return PQ with a fault as usual, and in the situation it shows in."""
    scene = sample("fault")

    def usual():
        return quality_of(model.predict(scene.image), scene)

    def padded():
        low = scene.image[:, CUT:]
        ids = scene.id_map[CUT:]
        there = torch.isin(scene.segment_ids, ids)
        cut = SimpleNamespace(
            id_map=ids,
            segment_ids=scene.segment_ids[there],
            labels=scene.labels[there],
        )
        return quality_of(together(model, [low, scene.image])[0], cut)

    def halves():
        with shared_stuff(model):
            return usual()

    def file():
        return 0 if not through_png(model.predict(scene.image)).segments else 1

    situations = {
        "padding_mask_lost": padded,
        "padding_not_cropped": padded,
        "stuff_not_merged": halves,
        "bytes_reversed": file,
    }
    with fault(name):
        return usual(), situations.get(name, usual)()


def page_says():
    """Return PQ in batches of 32 without the first fault and with it."""
    notebook = (ROOT / "book" / "bug_museum.ipynb").read_text("utf-8")
    return [
        re.search(rf'"{words} (0\.\d\d)', notebook)[1]
        for words in ("without a fault: pq", "32 images a batch: PQ")
    ]


@pytest.mark.browser
def test_every_fault_costs_what_it_costs_in_the_package(opened, model):
    with opened("fault", "#fault-memory_swapped") as view:

        def cells(row):
            return view.locator(".dl-fates tbody tr").nth(row).locator("td")

        def with_fault(row):
            return float(cells(row).nth(1).inner_text())

        pressed = view.locator(".dl-chip[aria-pressed=true]")
        title = FAULTS["memory_swapped"].title
        assert pressed.first.inner_text() == title
        for name in FAULTS:
            chip = view.get_by_role("button", name=FAULTS[name].title)
            chip.first.click()
            view.locator(f".dl-widget[data-shown={name}]").wait_for()
            assert view.evaluate("location.hash") == f"#fault-{name}"
            usual, there = museum(model, name)
            # Alone in a batch is not as usual, and in a row of its own.
            alone = int(name == "batch_first")
            assert with_fault(alone) == pytest.approx(usual, abs=0.04), name
            if alone:
                assert cells(0).all_inner_texts()[:2] == page_says()
            elif view.locator(".dl-fates tbody tr").count() > 2:
                assert with_fault(2) == pytest.approx(there, abs=0.06), name
            if name == "boxes_as_corners":
                assert cells(0).nth(2).inner_text() == "no"
                assert cells(1).nth(2).inner_text() == "yes"


@pytest.mark.browser
def test_without_a_fault_both_sides_of_the_wipe_are_alike(opened):
    with opened("fault") as view:
        pixels = """() => [...document.querySelectorAll(".dl-side canvas")]
          .map((canvas) => canvas.toDataURL())"""
        view.get_by_role("button", name="No fault").click()
        view.locator(".dl-widget[data-shown='']").wait_for()
        left, right = view.evaluate(pixels)
        assert left == right
        view.get_by_role("button", name="Two tensors").click()
        view.locator(".dl-widget[data-shown=memory_swapped]").wait_for()
        left, right = view.evaluate(pixels)
        assert left != right
        view.locator("input[type=range]").focus()
        view.keyboard.press("Home")
        place = """document.querySelector(".dl-wipe")
          .style.getPropertyValue("--dl-at")"""
        assert view.evaluate(place) == "0%"
        box = view.locator(".dl-wipe").bounding_box()
        x, y = box["x"], box["y"] + 50
        drag(view, (x + 5, y), (x + 0.75 * box["width"], y))
        assert view.evaluate(place) == "75%"


@pytest.mark.browser
def test_an_address_leads_to_an_exhibit(opened):
    with opened("fault") as view:
        view.evaluate("location.hash = '#fault-bytes_reversed'")
        view.locator(".dl-widget[data-shown=bytes_reversed]").wait_for()
        view.evaluate("location.hash = '#nowhere'")
        assert view.locator(".dl-widget[data-shown=bytes_reversed]").count()
        view.get_by_role("button", name="No fault").click()
        assert view.evaluate("location.hash") == "#fault-none"
    with opened("fault", "#fault-none") as view:
        assert view.locator(".dl-exhibit").inner_text() == "No fault"


LINK = """document.body.append(Object.assign(document.createElement("a"),
  {href: "#fault-%s", textContent: "Switch it on above"}))"""


@pytest.mark.browser
def test_a_link_takes_the_keyboard_to_its_exhibit_and_ends_a_question(opened):
    title = FAULTS["memory_swapped"].title
    with opened("fault", "#fault-memory_swapped") as view:
        focus = "document.activeElement.textContent"
        assert view.evaluate(focus) == title
        view.evaluate(LINK % "memory_swapped")
        link = view.get_by_text("Switch it on above")
        # The second time the address is the same.
        for _ in range(2):
            link.focus()
            view.keyboard.press("Enter")
            assert view.evaluate(focus) == title
        view.get_by_role("button", name="Guess the fault").click()
        assert view.evaluate("location.hash") == ""  # it would tell
        link.click()
        assert view.locator(".dl-exhibit").inner_text() == title
        assert view.locator(".dl-quiz .dl-tools button").count() == 0
        assert not view.locator(".dl-quiz .dl-words").is_visible()
        view.evaluate("location.hash = '#fault-bytes_reversed'")
        view.get_by_role("button", name="Guess the fault").click()
        view.go_back()
        view.locator(".dl-exhibit", has_text=title).wait_for()
        assert view.locator(".dl-quiz .dl-tools button").count() == 0


@pytest.mark.browser
def test_a_fault_that_is_not_drawn_yet_is_not_taken_for_another(opened):
    titles = [one.title for one in FAULTS.values()]
    seen = """() => {
      const root = document.querySelector(".dl-widget");
      return [root.ariaBusy === "true", root.dataset.shown];
    }"""
    with opened("fault", "#fault-none") as view:
        for title in titles:
            view.get_by_role("button", name=title).first.click()
            busy, shown = view.evaluate(seen)
            assert busy or FAULTS[shown].title == title
        view.locator(f".dl-widget[data-shown={[*FAULTS][-1]}]").wait_for()
        assert view.evaluate(seen)[0] is False


@pytest.mark.browser
def test_the_heads_are_named(opened):
    with opened("fault", "#fault-per_head_softmax") as view:
        names = view.locator(".dl-side").first.locator(".dl-tag")
        assert names.all_inner_texts() == [f"head {i}" for i in range(1, 9)]
        whose = view.locator(".dl-whose").first.inner_text()
        assert "starfish" in whose
        value = view.locator("input[type=range]").get_attribute
        assert value("aria-valuetext") == "50 % with the fault"


@pytest.mark.browser
def test_each_side_of_the_edge_is_named_in_its_picture(opened):
    with opened("fault") as view:
        board = view.locator(".dl-wipe").bounding_box()
        edge = view.locator(".dl-edge").bounding_box()["x"]
        for name, left in (("without", True), ("with the fault", False)):
            tag = view.locator(".dl-which", has_text=re.compile(f"^{name}$"))
            box = tag.bounding_box()
            assert (box["x"] + box["width"] < edge) == left
            assert board["x"] < box["x"] < board["x"] + board["width"]
        clip = "getComputedStyle(document.querySelector('.dl-over-side'))"
        view.locator("input[type=range]").press("End")
        assert view.evaluate(f"{clip}.clipPath") == "inset(0px 0px 0px 100%)"


@pytest.mark.browser
def test_a_finger_wipes_sideways_and_scrolls_up_and_down(opened):
    phone = {"viewport": {"width": 390, "height": 700}, "has_touch": True}
    with opened("fault", **phone) as view:
        board = view.locator(".dl-wipe")
        board.evaluate("one => one.scrollIntoView({ block: 'center' })")
        edge = view.locator("input[type=range]")
        box = board.bounding_box()
        x, y = box["x"] + 40, box["y"] + 200
        swipe(view, (x, y), (x, y - 120))
        assert edge.input_value() == "50"
        at_rest(view)
        box = board.bounding_box()
        y = box["y"] + 200
        swipe(view, (x, y), (x + 60, y))
        assert float(edge.input_value()) < 40


@pytest.mark.browser
def test_a_guess_is_of_another_fault_and_knows_its_situation(opened):
    """Where chance always gives 0, the last fault of the page is asked."""
    last, before = [*FAULTS][-1], [*FAULTS][-2]
    for shown, asked in ((before, last), (last, before)):
        with opened("fault", f"#fault-{shown}") as view:
            view.evaluate("Math.random = () => 0")
            view.get_by_role("button", name="Guess the fault").click()
            view.locator(f".dl-widget[data-shown={asked}]").wait_for()
            told = view.locator(".dl-told")
            assert FAULTS[asked].title not in told.inner_text()
            assert "Here" in told.inner_text()  # what it shows in


@pytest.mark.browser
def test_a_fault_is_guessed(opened):
    with opened("fault") as view:
        view.get_by_role("button", name="Guess the fault").click()
        assert not view.locator(".dl-exhibit").is_visible()
        choices = view.locator(".dl-quiz .dl-tools button")
        names = choices.all_inner_texts()
        assert len(set(names)) == 4
        assert set(names) <= {one.title for one in FAULTS.values()}
        choices.first.click()
        words = view.locator(".dl-quiz .dl-words").inner_text()
        shown = view.locator(".dl-exhibit").inner_text()
        assert shown in names
        right = shown == names[0]
        assert words.startswith("Right: " if right else f"No, it is “{shown}”")
        assert f"{int(right)} of 1" in words
        view.get_by_role("button", name="Guess another").click()
        assert choices.count() == 4
        view.get_by_role("button", name="No fault").click()
        assert choices.count() == 0


@pytest.mark.browser
def test_the_picture_of_a_question_is_in_sight_with_its_answers(opened):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with opened("fault", **phone) as view:
        view.evaluate("document.body.style.paddingBlock = '60rem'")
        start = view.get_by_role("button", name="Guess the fault")
        start.evaluate("(one) => one.scrollIntoView({block: 'start'})")
        start.tap()
        view.wait_for_function("""() => {
          const wipe = document.querySelector(".dl-wipe");
          const last = document.querySelector(".dl-quiz .dl-tools").lastChild;
          const { bottom } = last.getBoundingClientRect();
          const { top } = wipe.getBoundingClientRect();
          return top > -1 && bottom <= innerHeight;
        }""")
