"""Chapter 6's widget: how the shipped model learned."""

import make_web_film
import numpy as np
import pytest
from browsing import swipe
from web_file import load
from widgets import NAMES, sample

from detr_lite.teaching.widgets import KINDS
from detr_lite.weights.catalog import shipped_file

pytest_plugins = ["widget_page"]


@pytest.fixture(scope="module")
def recorded():
    with np.load(shipped_file("film.npz")) as film:
        return dict(film)


def test_the_pages_film_is_the_recorded_one(recorded):
    data = load("film.js")
    assert data == make_web_film.pack(recorded), "tools/make_web_film.py"
    packed = make_web_film.unpack(data)
    boxes = [recorded[f"{phase}_boxes"] for phase in ("boxes", "masks")]
    wanted = np.concatenate(boxes).astype(np.float32)
    assert np.abs(packed["boxes"] / 65535 - wanted).max() < 1e-5
    masks, there = recorded["masks_masks"], packed["masks"]
    shown = there.any((3, 4))
    assert (there[shown] == masks[shown]).all()
    # Whatever a reader can look at is there.
    said = recorded["masks_classes"].argmax(-1) < len(NAMES)
    assert shown[said].all()
    assert not shown.all()
    top = packed["maps"].max((3, 4))
    assert (top == 255).all()


@pytest.mark.browser
def test_the_film_is_played_scrubbed_and_compared(opened, recorded):
    # The scene of the picture that stood there.
    place = recorded["scenes"].tolist().index(KINDS["film"].scene)
    count = len(recorded["boxes_steps"])
    scene = sample("film")
    names = [*NAMES, "no object"]

    def said(frame):
        """Return what a frame says of the chosen segment."""
        phase = "boxes" if frame < count else "masks"
        at = frame if frame < count else frame - count
        queries = recorded[f"{phase}_queries"][at].reshape(2, -1)[place]
        chip = view.locator(".dl-chip[aria-pressed=true]")
        chips = view.locator(".dl-chip").all_inner_texts()
        assert len(chips) == len(scene.labels)
        number = chips.index(chip.inner_text())
        classes = recorded[f"{phase}_classes"][at, place, queries[number]]
        sure = round(100 * int(classes.max()) / 255)
        return f"query {queries[number]}: {names[classes.argmax()]} {sure}"

    def caption():
        return view.locator(".dl-film .dl-caption span").first.inner_text()

    with opened("film") as view:
        requests = []
        view.on("request", lambda request: requests.append(request.url))
        view.wait_for_timeout(300)
        assert not requests  # nothing until somebody asks for it
        view.locator(".dl-next").click()
        view.locator(".dl-curve").wait_for()
        assert [r.rpartition("/")[2] for r in requests] == ["film.js"]
        step = view.locator("input[type=range]").first
        step.focus()
        for key, frame in (("End", count + 5), ("Home", 0), ("ArrowRight", 1)):
            view.keyboard.press(key)
            assert caption().startswith(said(frame))
        view.get_by_role("button", name="Play").click()
        view.wait_for_function(
            "document.querySelector('input[type=range]').value === '2'"
        )
        view.get_by_role("button", name="Pause").click()
        view.locator(".dl-chip").first.click()
        assert caption().startswith(said(2))
        rows = view.locator(".dl-film")
        assert not rows.nth(1).is_visible()
        view.get_by_role("button", name="Compare two steps").click()
        assert rows.nth(1).is_visible()
        step_2 = recorded["boxes_steps"][2]
        assert f"boxes, step {step_2}" in rows.nth(0).inner_text()
        assert "the CNN is random" in rows.nth(0).inner_text()
        assert "masks, step 1500" in rows.nth(1).inner_text()
        assert "of 7 queries" in rows.nth(1).inner_text()
        words = view.locator(".dl-words").inner_text()
        assert words.count("loss") == 2  # of both steps
        assert words.count("PQ") == 1  # of the one with masks
        curve = view.locator(".dl-curve")
        width = curve.bounding_box()["width"]
        curve.click(position={"x": width - 2, "y": 9})
        assert step.input_value() == str(count + 5)


@pytest.mark.browser
def test_the_curve_is_scrubbed_and_a_finger_scrolls_over_it(opened):
    with opened("film") as view:
        view.locator(".dl-next").click()
        curve = view.locator(".dl-curve")
        curve.scroll_into_view_if_needed()
        step = view.locator("input[type=range]").first
        box = curve.bounding_box()
        places = [(box["x"] + share * box["width"], box["y"] + 9)
                  for share in (0.2, 0.5)]  # fmt: skip
        view.mouse.move(*places[0])
        view.mouse.down()
        begun = int(step.input_value())
        view.mouse.move(*places[1])
        assert int(step.input_value()) > begun > 0
        view.mouse.up()
        assert view.evaluate("getSelection().toString()") == ""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with opened("film", **phone) as view:
        view.locator(".dl-widget img").tap()
        curve = view.locator(".dl-curve")
        curve.evaluate("one => one.scrollIntoView({ block: 'center' })")
        step = view.locator("input[type=range]").first
        box = curve.bounding_box()
        x, y = box["x"] + 0.7 * box["width"], box["y"] + 10
        swipe(view, (x, y), (x, y - 90))
        assert step.input_value() == "0"
        box = curve.bounding_box()
        curve.tap(position={"x": 0.7 * box["width"], "y": 10})
        assert step.input_value() != "0"


@pytest.mark.browser
def test_names_of_boxes_stay_inside_and_apart(opened):
    """At the first step all boxes lie on one heap."""
    look = """() => {
      const inside = document.querySelector(".dl-boxes");
      const tags = [...inside.querySelectorAll(".dl-tag")]
        .filter((one) => getComputedStyle(one).visibility === "visible");
      const box = (one) => one.getBoundingClientRect();
      const apart = (a, b) => a.right <= b.left || b.right <= a.left
        || a.bottom <= b.top || b.bottom <= a.top;
      return [tags.length, tags.some((one) => one.matches(".dl-chosen")),
        tags.every((one) => box(one).right <= box(inside).right + 0.5),
        tags.every((a, i) => tags.slice(i + 1)
          .every((b) => apart(box(a), box(b))))];
    }"""
    with opened("film") as view:
        view.locator(".dl-next").click()
        step = view.locator("input[type=range]").first
        shown = []
        for _ in range(16):
            count, *fine = view.evaluate(look)
            assert fine == [True, True, True]
            shown.append(count)
            step.press("ArrowRight")
        assert 0 < shown[0] < 7
        assert shown[-1] == 7


FOCUS = "document.activeElement.textContent"


@pytest.mark.browser
def test_the_film_waits_to_be_asked_for(opened):
    with opened("film") as view:
        view.evaluate("""document.body.prepend(Object.assign(
          document.createElement("button"), {textContent: "Elsewhere"}))""")
        elsewhere = view.get_by_role("button", name="Elsewhere")
        elsewhere.focus()
        before = view.locator(".dl-widget").bounding_box()
        view.locator(".dl-widget img").hover()
        view.keyboard.press("Tab")  # to the film's button, and on
        assert view.evaluate(FOCUS) == "Show the film"
        view.wait_for_timeout(300)
        assert view.locator(".dl-widget").bounding_box() == before
        view.keyboard.press("Enter")
        elsewhere.focus()
        view.locator(".dl-curve").wait_for()
        assert view.evaluate(FOCUS) == "Elsewhere"
    with opened("film") as view:
        view.locator(".dl-next").focus()
        view.keyboard.press("Enter")
        view.locator(".dl-curve").wait_for()
        assert view.evaluate(FOCUS) == "Play"
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with opened("film", **phone) as view:
        view.locator(".dl-widget img").tap()
        view.locator(".dl-curve").wait_for()
        # The picture is as wide as the two others are together.
        wide, *others = [
            one.bounding_box()["width"]
            for one in view.locator(".dl-film:visible .dl-answer").all()
        ]
        assert len(others) == 2
        assert sum(others) > 0.9 * wide > 300


@pytest.mark.browser
def test_a_screen_reader_hears_where_the_film_stops(opened):
    with opened("film") as view:
        view.locator(".dl-next").click()
        words = view.locator(".dl-words")
        view.get_by_role("button", name="Play").click()
        assert words.get_attribute("aria-live") == "off"
        view.get_by_role("button", name="Pause").click()
        assert words.get_attribute("aria-live") == "polite"
        step = view.locator("input[type=range]").first
        step.focus()
        view.keyboard.press("End")
        assert step.get_attribute("aria-valuetext") == "masks, step 1500"
        # Nothing is left to play: it starts again from the first frame.
        view.get_by_role("button", name="Play").click()
        assert step.get_attribute("aria-valuetext") == "boxes, step 20"
