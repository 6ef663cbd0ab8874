"""Chapter 2's widget: what each query finds, layer by layer."""

import re

import pytest
from browsing import drag
from widgets import NAMES, sample

from detr_lite.data.batch import pad_images

pytest_plugins = ["widget_page"]


def every_layer(model, image):
    """Return logits and boxes of each decoder layer, (N, ...) each."""
    heads, seen = (model.detr.class_embed, model.detr.bbox_embed), []
    hooks = [
        head.register_forward_hook(lambda *args: seen.append(args[-1]))
        for head in heads
    ]
    model.detr(*pad_images([image]))
    for hook in hooks:
        hook.remove()
    logits, boxes = (x.flatten(0, -3) for x in seen)
    return list(zip(logits, boxes.sigmoid(), strict=True))


@pytest.mark.browser
def test_the_queries_find_what_the_package_finds(opened, model):
    layers = every_layer(model, sample("queries").image)
    names = [*NAMES, "no object"]
    with opened("queries") as view:
        rows = view.locator("button.dl-query")
        assert rows.count() == 12
        for query in (0, 1, 8, 11):
            rows.nth(query).click()
            words = view.locator(".dl-words").inner_text()
            found = re.findall(r"says ([a-z ]+) \((\d+)", words)
            sure = [logits[query].softmax(-1) for logits, _ in layers]
            for (name, percent), wanted in zip(found, sure, strict=True):
                assert name == names[wanted.argmax()]
                score = 100 * wanted.max().item()
                assert int(percent) == pytest.approx(score, abs=2)
            boxes = view.locator(".dl-layers .dl-over")
            for i, (_, wanted) in enumerate(layers):
                width = float(boxes.nth(i).get_attribute("width"))
                height = float(boxes.nth(i).get_attribute("height"))
                size = wanted[query, 2:].tolist()
                assert (width, height) == pytest.approx(size, abs=0.02)


@pytest.mark.browser
def test_what_is_not_sure_enough_is_no_find(opened):
    """The starfish on the ball: two queries name a ball, less than sure."""
    unsure = set()
    with opened("queries") as view:
        rows = view.locator("button.dl-query")
        scene = view.locator(".dl-scene").bounding_box()

        def at(x, y):
            side = scene["width"]
            return scene["x"] + side * x, scene["y"] + side * y

        for place in ((0.6, 0.7), (0.85, 0.45), (0.75, 0.2)):
            star = view.get_by_role("button", name="starfish").first
            box = star.bounding_box()
            x = box["x"] + box["width"] / 2
            y = box["y"] + box["height"] / 2
            drag(view, (x, y), at(*place))
            view.wait_for_timeout(400)
            for row in rows.all():
                name = row.locator(".dl-name").inner_text()
                said = row.get_attribute("aria-label").rpartition("then ")[2]
                sure = int(re.search(r"(\d+)", said)[1])
                found = "no object" not in said
                assert (name.strip("?") in said) == found
                if name.endswith("?"):
                    unsure.add(sure)
                else:
                    assert sure >= 70 or not found
            if unsure:
                break
    assert unsure
    assert max(unsure) <= 70


@pytest.mark.browser
def test_the_queries_are_one_stop_and_a_thing_can_be_removed(opened):
    with opened("queries") as view:
        rows = view.locator("button.dl-query")
        stops = [rows.nth(i).get_attribute("tabindex") for i in range(12)]
        assert sorted(stops) == ["-1"] * 11 + ["0"]
        rows.nth(4).focus()
        view.keyboard.press("ArrowDown")
        view.keyboard.press("Enter")
        assert rows.nth(5).get_attribute("aria-pressed") == "true"
        label = rows.nth(5).get_attribute("aria-label")
        assert len(re.findall(r"\(\d+\s%\)", label)) == 3
        assert "IoU" in view.locator(".dl-words").inner_text()
        # Query 5 has found the crate.
        view.get_by_role("button", name="Remove crate").click()
        assert view.locator(".dl-thing").count() == 3


@pytest.mark.browser
def test_a_query_that_found_nothing_stays_chosen_while_things_move(opened):
    with opened("queries") as view:
        view.locator("button.dl-query").nth(0).click()
        words = view.locator(".dl-words")
        before = view.evaluate(
            "document.querySelector('.dl-layers canvas').toDataURL()"
        )
        view.locator(".dl-horizon").focus()
        view.keyboard.press("ArrowUp")
        view.wait_for_function(
            "(old) => document.querySelector('.dl-layers canvas')"
            ".toDataURL() !== old",
            arg=before,
        )
        assert words.inner_text().startswith("Query 0")
        view.get_by_role("button", name="3", exact=True).click()
        pressed = view.locator(".dl-choice [aria-pressed=true]")
        assert pressed.inner_text() == "3"
