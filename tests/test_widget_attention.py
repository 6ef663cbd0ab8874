"""Chapter 3's widget: where a segment's box embedding looks."""

import re

import pytest
from widgets import NAMES, sample

pytest_plugins = ["widget_page"]
PICTURE = "document.querySelector('.dl-over-scene').toDataURL()"


def share(text):
    return int(re.search(r"(\d+)\s%", text)[1])


@pytest.mark.browser
def test_the_heads_have_the_packages_shares(opened, model):
    found = model.predict(sample("attention").image)
    names = [NAMES[s.label] for s in found.segments]
    with opened("attention") as view:
        heads = view.locator(".dl-head")
        for name in ("ball", "grass", "sky"):
            maps = found.attention_maps[names.index(name)]
            wanted = (100 * maps.sum((1, 2))).tolist()
            chip = view.locator(".dl-chip", has_text=name.capitalize())
            chip.click()
            shown = [share(heads.nth(i).inner_text()) for i in range(8)]
            assert shown == pytest.approx(wanted, abs=1.5)
        view.get_by_role("button", name="for each head").click()
        shown = [share(heads.nth(i).inner_text()) for i in range(8)]
        assert shown == [100] * 8


@pytest.mark.browser
def test_the_scale_is_that_of_the_heads(opened, model):
    found = model.predict(sample("attention").image)
    names = [NAMES[s.label] for s in found.segments]
    maps = found.attention_maps[names.index("ball")]
    with opened("attention") as view:
        view.locator(".dl-chip", has_text="Ball").click()
        scale = view.locator(".dl-scale")
        numbers = re.findall(r"\d+(?:\.\d+)?", scale.inner_text())
        assert float(numbers[1]) == pytest.approx(maps.max().item(), rel=0.02)
        view.get_by_role("button", name="for each head").click()
        _, one, together = re.findall(r"\d+(?:\.\d+)?", scale.inner_text())
        own = maps / maps.sum((1, 2), keepdim=True)
        assert float(one) == pytest.approx(own.max().item(), rel=0.02)
        assert float(together) == pytest.approx(
            own.sum(0).max().item(), rel=0.02
        )


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 700, 1440])
def test_nothing_moves_while_a_thing_is_dragged(opened, width):
    with opened("attention", viewport={"width": width, "height": 900}) as view:
        names = "[...document.querySelectorAll('.dl-chip')].map(chip => "
        names += "chip.childNodes[1].textContent)"
        order = view.evaluate(names)
        scene = view.locator(".dl-scene").bounding_box()
        heads = view.locator(".dl-heads").bounding_box()
        thing = view.locator(".dl-thing", has=view.locator("polygon")).last
        x, y = map(int, re.findall(r"-?\d+", thing.get_attribute("transform")))
        unit = scene["width"] / 192
        view.mouse.move(scene["x"] + x * unit, scene["y"] + y * unit)
        view.mouse.down()
        for step in range(1, 9):  # over all others, to the right edge
            to = x + (185 - x) * step / 8
            view.mouse.move(scene["x"] + to * unit, scene["y"] + y * unit)
            view.wait_for_timeout(100)
            now = view.evaluate(names)
            assert now == [name for name in order if name in now]
            assert view.locator(".dl-scene").bounding_box() == scene
            assert view.locator(".dl-heads").bounding_box() == heads
        view.mouse.up()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 690, 1440])
def test_the_heads_are_in_line_and_one_stop(opened, width):
    with opened("attention", viewport={"width": width, "height": 900}) as view:
        view.get_by_role("button", name="for each head").click()
        heads = view.locator(".dl-head")
        tops = [
            heads.nth(i).locator("canvas").bounding_box()["y"]
            for i in range(8)
        ]
        assert len(set(tops[:4])) == len(set(tops[4:])) == 1
        line = "getComputedStyle(document.querySelector('.dl-heads strong'))"
        height = float(view.evaluate(f"parseFloat({line}.lineHeight)"))
        name = heads.first.locator("strong").bounding_box()
        assert name["height"] < 1.5 * height
        heads.first.focus()
        for key in ("ArrowRight", "ArrowDown", "Enter"):
            view.keyboard.press(key)
        assert heads.nth(5).get_attribute("aria-pressed") == "true"
        assert "Head 5" in view.locator(".dl-words").inner_text()
        stops = [heads.nth(i).get_attribute("tabindex") for i in range(8)]
        assert stops.count("0") == 1


@pytest.mark.browser
def test_the_words_say_what_the_query_says_after_an_earlier_layer(opened):
    with opened("attention") as view:
        words = view.locator(".dl-words")
        view.locator(".dl-chip", has_text="Tent").click()
        assert "its query says" not in words.inner_text()
        layers = view.get_by_role("toolbar", name="Box embedding from")
        layers.get_by_role("button", name="1").click()
        assert "says “no object”" in words.inner_text()


@pytest.mark.browser
def test_every_control_of_the_heads_changes_the_picture(opened):
    with opened("attention") as view:
        view.locator(".dl-chip", has_text="Grass").click()
        seen = {view.evaluate(PICTURE)}

        def changed():
            picture = view.evaluate(PICTURE)
            new = picture not in seen
            seen.add(picture)
            return new

        view.locator(".dl-head").nth(6).click()
        assert changed()
        view.get_by_role("button", name="for each head").click()
        assert changed()
        view.get_by_role("button", name="1", exact=True).click()
        assert changed()
        view.locator("input[type=range]").focus()
        view.keyboard.press("End")
        assert changed()
        view.locator(".dl-head").nth(6).click()  # all heads again
        assert changed()
        assert "positions" in view.locator(".dl-words").inner_text()
