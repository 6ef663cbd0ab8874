"""The front page's widget: things are moved, and the model answers."""

import re

import pytest
from browsing import changed, drag, swipe
from support import ROOT
from widgets import NAMES, sample

pytest_plugins = ["widget_page"]
BOOK = ROOT / "book"


def place(view):
    """Return where the first thing is, in pixels of the scene's canvas."""
    text = view.locator(".dl-thing").first.get_attribute("transform")
    return tuple(map(int, re.findall(r"-?\d+", text)))


def settled(view, wanted):
    """Wait until the chosen box has its center near a place, 0 to 1."""
    view.wait_for_function(
        """([x, y]) => {
          const rect = document.querySelector(".dl-box .dl-over");
          const at = (name) => Number(rect.getAttribute(name));
          return Math.abs(at("x") + at("width") / 2 - x) < 0.05
            && Math.abs(at("y") + at("height") / 2 - y) < 0.05;
        }""",
        arg=wanted,
        timeout=20_000,
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_mouse_drags_a_thing_and_the_answer_follows(opened, width):
    with opened("beach", viewport={"width": width, "height": 1000}) as view:
        scene = view.locator(".dl-scene").bounding_box()
        unit = scene["width"] / 192
        x, y = place(view)
        start = scene["x"] + x * unit, scene["y"] + y * unit
        drag(view, start, (start[0] - 60 * unit, start[1] + 4 * unit))
        assert place(view) == pytest.approx((x - 60, y + 4), abs=1)
        # The thing is followed: its box in the answer has moved as well.
        settled(view, ((x - 60) / 192, (y + 4) / 192))


@pytest.mark.browser
def test_a_finger_drags_a_thing_and_scrolls_beside_it(opened):
    options = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
    with opened("beach", **options) as view:
        scene = view.locator(".dl-scene").bounding_box()
        unit = scene["width"] / 192
        x, y = place(view)
        start = scene["x"] + x * unit, scene["y"] + y * unit
        swipe(view, start, (start[0] - 50 * unit, start[1]))
        settled(view, ((x - 50) / 192, y / 192))
        assert place(view) == pytest.approx((x - 50, y), abs=1)
        assert view.evaluate("scrollY") == 0
        sky = scene["x"] + 10 * unit, scene["y"] + 10 * unit
        swipe(view, (sky[0], sky[1] + 120), sky)
        view.wait_for_function("scrollY > 20")


@pytest.mark.browser
def test_keys_move_take_away_and_go_on(opened):
    with opened("beach") as view:
        things = view.locator(".dl-thing")
        count, (x, y) = things.count(), place(view)
        things.first.focus()
        for key in ("ArrowLeft", "ArrowLeft", "ArrowDown"):
            view.keyboard.press(key)
        assert place(view) == (x - 8, y + 4)
        settled(view, ((x - 8) / 192, (y + 4) / 192))
        view.keyboard.press("Delete")
        assert things.count() == count - 1
        # The next thing has the focus; after the last comes the horizon.
        focused = "document.activeElement.getAttribute('class')"
        assert view.evaluate(focused) == "dl-thing dl-selected"
        for _ in range(count - 1):
            view.keyboard.press("Tab")
        assert view.evaluate(focused) == "dl-horizon"
        horizon = view.locator(".dl-horizon")
        before = int(horizon.get_attribute("aria-valuenow"))
        view.keyboard.press("ArrowUp")
        assert int(horizon.get_attribute("aria-valuenow")) == before + 4
        for _ in range(2):  # past the first scene
            view.keyboard.press("Tab")
        view.keyboard.press("Enter")
        assert "Next scene" in view.evaluate(
            "document.activeElement.textContent"
        )


def selected(view):
    """Return the names of the things that are outlined."""
    things = view.locator(".dl-thing.dl-selected")
    labels = [
        things.nth(i).get_attribute("aria-label")
        for i in range(things.count())
    ]
    return [label.partition(",")[0] for label in labels]


@pytest.mark.browser
def test_what_is_chosen_in_the_answer_is_what_buttons_change(opened):
    with opened("beach") as view:
        remove = view.get_by_role("button", name="Remove")
        for name in ("Tent", "Ball", "Crate"):
            view.locator(".dl-chip", has_text=name).click()
            assert selected(view) == [name]
            assert remove.inner_text() == f"Remove {name.lower()}"
        view.locator(".dl-chip", has_text="Sky").click()
        assert selected(view) == []
        assert remove.is_disabled()
        tag = view.locator(".dl-tag", has_text="tent").bounding_box()
        view.mouse.click(tag["x"] + 5, tag["y"] + 5)
        assert selected(view) == ["Tent"]
        remove.click()
        names = [label for label in selected(view) if label != "Tent"]
        assert len(names) == 1
        view.wait_for_timeout(500)  # until what was removed is gone
        go_on = view.get_by_role("button", name="Next scene").click
        changed(view, ".dl-chips", go_on)
        chosen = view.locator(".dl-chip[aria-pressed=true]").inner_text()
        assert selected(view) == [chosen.split()[0]]
        assert remove.is_enabled()
        view.get_by_role("button", name="First scene").click()
        assert view.locator(".dl-thing").count() == 4


@pytest.mark.browser
def test_what_the_answer_has_wrong_is_said(opened):
    with opened("beach") as view:
        words = view.locator(".dl-caption").nth(1)
        assert "What the model finds." in words.inner_text()
        crate = view.locator(".dl-thing[aria-label^=Crate]")
        crate.focus()
        for key in ["ArrowDown"] * 8 + ["ArrowLeft"] * 12:
            view.keyboard.press(key)  # over the left half of the ball
        # What is told to screen readers waits until things stand still.
        status = view.locator(".dl-widget [role=status]")
        status.get_by_text("It misses the crate.").wait_for(state="attached")
        assert "It misses the crate." in words.inner_text()
        assert selected(view) == ["Crate"]
        view.locator(".dl-chip", has_text="Ball").click()
        words.get_by_text("What the model finds.").wait_for()
        view.get_by_role("button", name="Next scene").click()
        words.get_by_text("It finds the tent twice.").wait_for()
        assert view.locator(".dl-chip", has_text="Tent").count() == 3


@pytest.mark.browser
def test_a_thing_that_was_just_added_is_not_missed(opened):
    with opened("beach") as view:
        seen = view.evaluate(
            """async () => {
              const words = document.querySelectorAll(".dl-caption")[1];
              const seen = [words.textContent];
              const watch = new MutationObserver(
                () => seen.push(words.textContent));
              watch.observe(words, { childList: true, subtree: true });
              document.querySelector("[aria-label='Add a ball']").click();
              await new Promise((done) => setTimeout(done, 1000));
              return seen;
            }"""
        )
        assert not [one for one in seen if "misses" in one]


@pytest.mark.browser
def test_the_last_thing_hands_its_focus_to_the_horizon(opened):
    with opened("beach") as view:
        view.locator(".dl-thing").first.focus()
        count = view.locator(".dl-thing").count()
        for _ in range(count):
            view.keyboard.press("Delete")
        assert view.locator(".dl-thing").count() == 0
        focused = "document.activeElement.getAttribute('class')"
        assert view.evaluate(focused) == "dl-horizon"
        assert view.get_by_role("button", name="Remove").is_disabled()
        # There is room below the horizon of the first scene.
        horizon = view.locator(".dl-horizon")
        before = int(horizon.get_attribute("aria-valuenow"))
        for _ in range(5):
            view.keyboard.press("ArrowDown")
        assert int(horizon.get_attribute("aria-valuenow")) == before - 20


@pytest.mark.browser
def test_a_swipe_over_the_answer_chooses_nothing(opened):
    options = {"viewport": {"width": 390, "height": 800}, "has_touch": True}
    with opened("beach", **options) as view:
        pressed = view.locator(".dl-chip[aria-pressed=true]")
        before = pressed.inner_text()
        for name in ("scene", "answer"):
            box = view.locator(f".dl-{name}").first.bounding_box()
            x, y = box["x"] + 20, box["y"] + 20
            swipe(view, (x, y + 60), (x, y))
            assert pressed.inner_text() == before
        answer = view.locator(".dl-answer canvas")
        answer.tap(position={"x": 20, "y": 20})
        assert "Sky" in pressed.inner_text()


@pytest.mark.browser
def test_adding_a_thing_leaves_the_page_where_it_is(opened):
    options = {"viewport": {"width": 390, "height": 500}, "has_touch": True}
    with opened("beach", **options) as view:
        add = view.get_by_role("button", name="Add a ball")
        add.evaluate("one => one.scrollIntoView({ block: 'center' })")
        before = view.evaluate("scrollY")
        things = view.locator(".dl-thing").count()
        add.tap()
        assert view.locator(".dl-thing").count() == things + 1
        assert view.evaluate("scrollY") == before > 300


@pytest.mark.browser
def test_things_are_added_painted_and_removed(opened):
    with opened("beach") as view:
        things = view.locator(".dl-thing")
        before = things.count()
        remove = view.get_by_role("button", name="Remove")
        while things.count() < 5:
            view.get_by_role("button", name="Add a ball").click()
        assert things.count() == 5 > before
        # Five things are as many as a scene has in training.
        assert view.get_by_role("button", name="Add a tent").is_disabled()
        pixels = "document.querySelector('.dl-stage canvas').toDataURL()"
        old = view.evaluate(pixels)
        view.get_by_role("button", name="Paint it pink").click()
        view.wait_for_function(f"(old) => {pixels} !== old", arg=old)
        remove.click()
        assert things.count() == 4
        assert len(selected(view)) == 1


@pytest.mark.browser
def test_the_beach_says_what_was_found(opened, model):
    segments = model.predict(sample("beach").image).segments
    wanted = {NAMES[s.label] for s in segments}
    with opened("beach") as view:
        status = view.locator(".dl-widget [role=status]")
        view.wait_for_function(
            "document.querySelector('.dl-widget [role=status]').textContent"
        )
        words = status.text_content()
        assert set(re.findall(r"([a-z]+)\s\d+", words)) == wanted
        label = view.locator(".dl-answer canvas").get_attribute("aria-label")
        assert set(re.findall(r"([a-z]+)\s\d+", label)) == wanted
        # Pointing at the sky chooses the sky.
        view.locator(".dl-answer canvas").hover(position={"x": 9, "y": 9})
        chosen = view.locator(".dl-chip[aria-pressed=true]")
        assert "Sky" in chosen.inner_text()
        assert "sky" in view.locator(".dl-stage").nth(2).inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_mask_grows_unless_things_shall_stand_still(opened, motion):
    with opened("beach", reduced_motion=motion) as view:
        note = ".dl-stage:nth-child(5) .dl-note"
        seen = view.evaluate(
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
        steps = [*sizes, f"mask, {sizes[-1]}"]
        if motion == "reduce":
            assert seen == steps[-1:]
        else:
            assert [s for s in steps if s in seen] == steps


@pytest.mark.browser
def test_the_stages_lead_to_the_chapters(opened):
    with opened("beach") as view:
        links = view.locator("a.dl-stage")
        pages = [
            links.nth(i).get_attribute("href") for i in range(links.count())
        ]
    assert len(pages) == 5
    for number, page in enumerate(pages, 1):
        assert page.startswith(f"0{number}_")
        assert (BOOK / page.replace(".html", ".ipynb")).is_file()
