"""Chapter 1's widget: what a position knows."""

import re

import pytest
import torch
from browsing import changed
from widgets import sample

from detr_lite.data.batch import pad_images
from detr_lite.teaching.stills import similarity

pytest_plugins = ["widget_page"]


@pytest.mark.browser
def test_a_position_resembles_what_it_does_in_the_package(opened, model):
    scene = sample("encoding")
    detection = model.detr(*pad_images([scene.image]))
    ids = scene.id_map[4::8, 4::8].flatten()

    def hits(one):
        same = (ids == ids[one]).nonzero().flatten().tolist()
        same.remove(one)
        for features in (detection.src_proj[0], detection.memory[0]):
            alike = similarity(features, one).flatten()
            alike[one] = -2
            nearest = alike.topk(len(same)).indices.tolist()
            yield len(set(nearest) & set(same))

    with opened("encoding") as view:
        cursor = view.locator(".dl-cursor").first
        cursor.focus()
        words = view.locator(".dl-words").first
        hand = "document.querySelector('.dl-hand').outerHTML"
        for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "ArrowRight"):
            before = view.evaluate(hand)
            view.keyboard.press(key)
            sideways = key in ("ArrowLeft", "ArrowRight")
            assert (view.evaluate(hand) != before) == sideways
            place = cursor.get_attribute("transform")
            column, row = map(int, re.findall(r"\d+", place))
            shown = re.findall(r"(\d+)(?: lie on| after)", words.inner_text())
            wanted = list(hits(12 * row + column))
            assert list(map(int, shown)) == pytest.approx(wanted, abs=1)


@pytest.mark.browser
def test_a_position_is_chosen_by_pointing_and_boxes_need_encodings(opened):
    with opened("encoding") as view:
        memory = view.locator(".dl-layers .dl-scene").nth(1)
        memory.hover(position={"x": 3, "y": 3})
        cursors = view.locator(".dl-cursor")
        assert cursors.count() == 4
        for i in range(4):
            place = cursors.nth(i).get_attribute("transform")
            assert place == "translate(0 0)"
        picture = ".dl-layers .dl-figure:nth-child(3) .dl-caption"
        view.get_by_role("button", name="5", exact=True).click()
        assert "head 5" in view.locator(picture).inner_text()
        off = view.get_by_role("button", name="off")
        why = view.get_by_text("Without encodings")
        assert why.is_hidden()
        changed(view, ".dl-boxes svg", off.click)
        assert why.is_visible()
        assert view.locator(".dl-clocks.dl-off").count() == 1
        on = view.get_by_role("button", name="on", exact=True)
        changed(view, ".dl-boxes svg", on.click)


@pytest.mark.browser
def test_the_attention_is_the_packages_without_the_position_itself(
    opened, model
):
    detection = model.detr(*pad_images([sample("encoding").image]))
    x = detection.src_proj.flatten(2).transpose(1, 2)
    code = model.detr.backbone[1](torch.zeros(1, 12, 12, dtype=torch.bool))
    code = code.flatten(2).transpose(1, 2)
    attention = model.detr.transformer.encoder.layers[0].self_attn
    weights = attention.weights(x + code, x + code)[0]
    with opened("encoding") as view:
        view.get_by_role("button", name="1", exact=True).first.click()
        cursor = view.locator(".dl-cursor").first
        cursor.focus()
        view.keyboard.press("ArrowUp")  # row 6, column 10
        assert cursor.get_attribute("aria-valuetext") == "Row 6, column 10"
        one = 12 * 5 + 9
        heads = view.get_by_role("toolbar", name="Head")
        for name, wanted in (
            ("3", weights[3, one]),
            ("all", weights[:, one].mean(0)),
        ):
            heads.get_by_role("button", name=name).click()
            words = view.locator(".dl-words").first.inner_text()
            itself = int(re.search(r"(\d+)\s% is on itself", words)[1])
            assert itself == pytest.approx(100 * wanted[one], abs=1)
            top = view.locator(".dl-layers .dl-scale").nth(2).inner_text()
            wanted[one] = 0
            shown = float(top.split()[-1])
            assert shown == pytest.approx(wanted.max().item(), rel=0.1)


def test_similarity_leaves_the_shared_mean_out():
    features = torch.tensor([[[5.0, 7, 5]], [[3, 3, 6]]])
    centered = features.flatten(1) - features.mean((1, 2))[:, None]
    a, b, _ = centered.T
    wanted = a @ b / (a.norm() * b.norm())
    assert torch.allclose(similarity(features, 0)[0, 1], wanted)
