"""Chapter 4's widget: a mask on its way through the CNN."""

import re

import pytest
import torch
from browsing import changed
from widgets import NAMES, quality_of, sample

from detr_lite.teaching.exercises.chapter4 import exercise_5

pytest_plugins = ["widget_page"]


def rated(prediction, scene):
    """Return the PQ of a prediction, and the best IoU of each class."""
    ious = {}
    for s in prediction.segments:
        mask = prediction.id_map == s.id
        for number in scene.segment_ids[scene.labels == s.label]:
            wanted = scene.id_map == number
            iou = (mask & wanted).sum() / (mask | wanted).sum()
            name = NAMES[s.label]
            ious[name] = max(ious.get(name, 0), iou.item())
    return quality_of(prediction, scene), ious


@pytest.mark.browser
def test_levels_are_switched_off_as_in_the_package(opened, model):
    scene = sample("stages")

    def agree():
        pq, ious = rated(model.predict(scene.image), scene)
        text = view.locator(".dl-words").inner_text()
        name, iou, shown = re.search(
            r"the (\w+).s segment.* IoU ([\d.]+) .* PQ of ([\d.]+\d)", text
        ).groups()
        assert float(iou) == pytest.approx(ious[name], abs=0.03)
        assert float(shown) == pytest.approx(pq, abs=0.03)
        return pq

    with opened("stages") as view:
        whole = agree()
        for rest, other in ((mean, "nothing"), (zeros, "its mean")):
            hooks = []
            for level, adapter in (("Res2", "adapter3"), ("Res3", "adapter2")):
                press(view, level)
                module = getattr(model.mask_head, adapter)
                hooks.append(module.register_forward_hook(rest))
                broken = agree()
            assert broken < whole - 0.1
            for hook in hooks:
                hook.remove()
            for level in ("Res2", "Res3"):
                press(view, level)
            view.get_by_role("button", name=other).click()


def press(view, name):
    button = view.get_by_role("button", name=name, exact=True)
    changed(view, ".dl-words", button.click)


def mean(module, args, output):
    return output.mean((2, 3), keepdim=True).expand_as(output)


def zeros(module, args, output):
    return torch.zeros_like(output)


@pytest.mark.browser
def test_the_starfish_needs_the_level_that_the_exercise_says(opened):
    """Exercise 4.5 asks for the level whose detail the model needs most."""
    costs = {}
    with opened("stages") as view:
        words = view.locator(".dl-words")
        for level in ("Res4", "Res3", "Res2"):
            press(view, level)
            assert words.inner_text().startswith(f"{level} off.")
            iou, pq = re.findall(r"\d\.\d\d", words.inner_text())
            costs[level.lower()] = float(iou), float(pq)
            press(view, level)
    for i in range(2):
        least = min(costs, key=lambda level: costs[level][i])
        assert exercise_5(least)


@pytest.mark.browser
def test_words_say_what_is_off_and_what_is_drawn(opened):
    with opened("stages") as view:
        caption = view.locator(".dl-caption").nth(1)
        stage = view.locator("input[type=range]")
        view.locator(".dl-steps button").nth(3).click()
        assert "Res4 added" in caption.inner_text()
        assert stage.get_attribute("aria-valuetext") == "stage 3"
        press(view, "Res4")
        assert "s mean added" in caption.inner_text()
        press(view, "nothing")
        assert "without Res4" in caption.inner_text()
        press(view, "Res3")
        press(view, "Res2")
        words = view.locator(".dl-words").inner_text()
        assert words.startswith("Res4, Res3 and Res2 off.")
        assert "argmax" in words


@pytest.mark.browser
def test_the_first_scene_comes_back(opened):
    with opened("stages") as view:
        chips = view.locator(".dl-chips")
        first = chips.inner_text()
        for name in ("Next scene", "First scene"):
            button = view.get_by_role("button", name=name)
            changed(view, ".dl-chips", button.click)
        assert chips.inner_text() == first


@pytest.mark.browser
def test_a_mask_is_scrubbed_by_keys_and_by_pressing_a_stage(opened):
    with opened("stages") as view:
        picture = view.locator(".dl-answer canvas")
        seen = set()

        def new():
            before = len(seen)
            seen.add(picture.evaluate("(canvas) => canvas.toDataURL()"))
            return len(seen) > before

        assert new()
        tiles = view.locator(".dl-steps button")
        view.locator("input[type=range]").focus()
        for step in range(tiles.count() - 2, -1, -1):
            view.keyboard.press("ArrowLeft")
            assert tiles.nth(step).get_attribute("aria-pressed") == "true"
            assert new()
        tiles.nth(6).click()
        assert not new()  # the mask again
        view.locator(".dl-chip").nth(2).click()
        assert new()
