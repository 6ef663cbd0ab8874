"""The live images of single chapters, each on a bare page of its own.

What all of them have in common, tests/test_widgets.py looks at.
"""

import re
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import make_web_film
import numpy as np
import pytest
import torch
from browsing import chromium
from web_file import load

from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.inference.loading import load_model
from detr_lite.panoptic import panoptic_results
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.faults import (
    FAULTS,
    fault,
    shared_stuff,
    through_png,
    together,
)
from detr_lite.teaching.stills import similarity
from detr_lite.teaching.widgets import KINDS, Widget
from detr_lite.weights.catalog import shipped_file

ROOT = Path(__file__).resolve().parents[1]
ASSETS = (ROOT / "book" / "_assets" / "widgets").as_uri()
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>{name}</title>
<link rel="stylesheet" href="{assets}/widgets.css">
<body>{widget}<script src="{assets}/widgets.js"></script>
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a widget's page and waits for something in it."""

    @contextmanager
    def start(name, wait, anchor="", **options):
        page = tmp_path / f"{name}.html"
        widget = Widget(name)._repr_html_()
        page.write_text(PAGE.format(name=name, assets=ASSETS, widget=widget))
        options.setdefault("viewport", {"width": 1200, "height": 900})
        context = browser.new_context(**options)
        view, errors = context.new_page(), []
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.goto(page.as_uri() + anchor)
        view.locator(wait).first.wait_for()
        yield view
        context.close()
        assert errors == []

    return start


@pytest.fixture(scope="module")
def model():
    return load_model("scenes", device="cpu").requires_grad_(False)


def sample(name):
    index = KINDS[name].scene
    return SceneSplit(VALIDATION_SEED, index + 1)[index]


def changed(view, selector, act):
    """Act, and wait until a text or an attribute is another."""
    look = f"document.querySelector({selector!r}).outerHTML"
    before = view.evaluate(look)
    act()
    view.wait_for_function(f"(old) => {look} !== old", arg=before)


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

    with opened("encoding", ".dl-hand") as view:
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
    with opened("encoding", ".dl-hand") as view:
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
        changed(view, ".dl-boxes svg", off.click)
        assert view.locator(".dl-clocks.dl-off").count() == 1
        on = view.get_by_role("button", name="on", exact=True)
        changed(view, ".dl-boxes svg", on.click)


def quality_of(prediction, scene):
    """Return the PQ of a prediction, and the IoU of each found segment."""
    quality = PanopticQuality(len(SCENE_CATEGORIES))
    ids, labels = scene.segment_ids.tolist(), scene.labels.tolist()
    true = dict(zip(ids, labels, strict=True))
    found = {s.id: s.label for s in prediction.segments}
    quality.update(prediction.id_map, found, scene.id_map, true)
    ious = {}
    for s in prediction.segments:
        mask = prediction.id_map == s.id
        name = SCENE_CATEGORIES[s.label].name
        for number, label in true.items():
            if label == s.label:
                wanted = scene.id_map == number
                iou = (mask & wanted).sum() / (mask | wanted).sum()
                ious[name] = max(ious.get(name, 0), iou.item())
    return quality.compute()["pq"], ious


@pytest.mark.browser
def test_levels_are_switched_off_as_in_the_package(opened, model):
    scene = sample("stages")

    def agree():
        pq, ious = quality_of(model.predict(scene.image), scene)
        text = view.locator(".dl-words").inner_text()
        name, iou, shown = re.search(
            r"the (\w+) has an IoU of ([\d.]+) .* PQ of ([\d.]+\d)", text
        ).groups()
        assert float(iou) == pytest.approx(ious[name], abs=0.03)
        assert float(shown) == pytest.approx(pq, abs=0.03)
        return pq

    with opened("stages", ".dl-chip") as view:
        whole = agree()
        adapters = (("Res2", "adapter3"), ("Res3", "adapter2"))
        hooks = []
        for level, adapter in adapters:
            press = view.get_by_role("button", name=level, exact=True).click
            changed(view, ".dl-words", press)
            module = getattr(model.mask_head, adapter)
            hooks.append(module.register_forward_hook(zeros))
            broken = agree()
        for hook in hooks:
            hook.remove()
        assert broken < whole - 0.1


def zeros(module, args, output):
    return torch.zeros_like(output)


@pytest.mark.browser
def test_a_mask_is_scrubbed_by_keys_and_by_pressing_a_stage(opened):
    with opened("stages", ".dl-chip") as view:
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

    with opened("panoptic", ".dl-fates td") as view:
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
    with opened("panoptic", ".dl-fates td") as view:
        answer = view.locator(".dl-answer")
        answer.hover(position={"x": 8, "y": 8})
        row = view.locator(".dl-fates .dl-won")
        assert "sky" in row.inner_text()
        cells = view.locator(".dl-fates .dl-number-cell").all_inner_texts()
        numbers = [
            float(x.replace("\N{MINUS SIGN}", "-")) for x in cells[1:] if x
        ]
        won = row.locator(".dl-number-cell").inner_text()
        assert float(won) == max(numbers)
        view.locator(".dl-cursor").focus()
        for _ in range(46):
            view.keyboard.press("ArrowDown")
        assert "sky" not in row.inner_text()


SEGMENTS = """() => {
  const { ids, labels } = document.querySelector(".dl-widget").segments();
  return [[...ids], labels];
}"""


@pytest.mark.browser
def test_the_sandbox_counts_as_the_package_does(opened):
    scene = sample("quality")
    ids, labels = scene.segment_ids.tolist(), scene.labels.tolist()
    true = dict(zip(ids, labels, strict=True))

    def agree():
        ids, labels = view.evaluate(SEGMENTS)
        found = torch.tensor(ids).view(96, 96)
        there = {i + 1: k for i, k in enumerate(labels) if i + 1 in ids}
        quality = PanopticQuality(len(SCENE_CATEGORIES))
        quality.update(found, there, scene.id_map, true)
        rows = view.locator(".dl-quality tbody tr").all_inner_texts()
        means = [float(x) for x in rows[-1].split()[1:]]
        wanted = quality.compute()
        rates = [wanted[name] for name in ("sq", "rq", "pq")]
        assert means == pytest.approx(rates, abs=0.006)
        for row in rows[:-1]:
            name, *cells = row.split()
            label = [c.name for c in SCENE_CATEGORIES].index(name)
            counts = quality.tp, quality.fp, quality.fn
            shown = [int(x) for x in cells[-6:-3]]
            assert shown == [count[label] for count in counts]
        return round(wanted["pq"], 6)

    def press(name):
        view.get_by_role("button", name=name, exact=True).click()

    with opened("quality", ".dl-quality td") as view:
        seen = [agree()]
        assert 0.8 < seen[0] < 1  # one thing is a little off
        board = view.locator(".dl-touchable")
        board.focus()
        for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "ArrowUp"):
            view.keyboard.press(key)
            seen.append(agree())
        press("Cut it in two")
        seen.append(agree())
        press("Call it crate")
        seen.append(agree())
        press("Forget it")
        seen.append(agree())
        press("paint")
        box = board.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        view.mouse.move(*middle)
        view.mouse.down()
        view.mouse.move(middle[0] + 60, middle[1] + 40, steps=4)
        view.mouse.up()
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
    phone = {"viewport": {"width": 390, "height": 700}, "has_touch": True}
    with opened("quality", ".dl-quality td", **phone) as view:
        board = view.locator(".dl-touchable")
        board.scroll_into_view_if_needed()
        before, labels = view.evaluate(SEGMENTS)
        thing = torch.tensor(before).view(96, 96) == len(labels)
        place = thing.nonzero()[thing.sum() // 2].tolist()
        scrolled, box = view.evaluate("scrollY"), board.bounding_box()
        unit = box["width"] / 96
        x, y = box["x"] + place[1] * unit, box["y"] + place[0] * unit
        finger = view.context.new_cdp_session(view)
        for kind, far in (("Start", 0), ("Move", 5), ("Move", 10)):
            point = {"x": x, "y": y + far * unit}
            event = {"type": f"touch{kind}", "touchPoints": [point]}
            finger.send("Input.dispatchTouchEvent", event)
        end = {"type": "touchEnd", "touchPoints": []}
        finger.send("Input.dispatchTouchEvent", end)
        after, _ = view.evaluate(SEGMENTS)
        moved = torch.tensor(after).view(96, 96) == len(labels)
        rows = (thing.nonzero()[:, 0].min(), moved.nonzero()[:, 0].min())
        assert rows[1] - rows[0] == pytest.approx(10, abs=1)
        assert view.evaluate("scrollY") == scrolled


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
    said = recorded["masks_classes"].argmax(-1) < len(SCENE_CATEGORIES)
    assert shown[said].all()
    assert not shown.all()
    top = packed["maps"].max((3, 4))
    assert (top == 255).all()


@pytest.mark.browser
def test_the_film_is_played_scrubbed_and_compared(opened, recorded):
    place, count = 0, len(recorded["boxes_steps"])
    scene = SceneSplit(VALIDATION_SEED, 21)[recorded["scenes"][place]]
    names = [*(c.name for c in SCENE_CATEGORIES), "no object"]

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

    with opened("film", ".dl-next") as view:
        requests = []
        view.on("request", lambda request: requests.append(request.url))
        view.wait_for_timeout(300)
        assert not requests  # nothing until somebody touches it
        view.locator(".dl-next").click()
        view.locator(".dl-curve").wait_for()
        assert requests == [f"{ASSETS}/film.js"]
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
        assert "not trained yet" in rows.nth(0).inner_text()
        assert "of 7 queries" in rows.nth(1).inner_text()
        curve = view.locator(".dl-curve")
        width = curve.bounding_box()["width"]
        curve.click(position={"x": width - 2, "y": 9})
        assert step.input_value() == str(count + 5)


CUT = 24  # rows, as in book/widgets/page/exhibit_reading.ts


def museum(model, name):
    """Return PQ with a fault as usual, and in the situation it shows in."""
    scene = sample("fault")

    def usual():
        return quality_of(model.predict(scene.image), scene)[0]

    def padded():
        low = scene.image[:, CUT:]
        ids = scene.id_map[CUT:]
        there = torch.isin(scene.segment_ids, ids)
        cut = SimpleNamespace(
            id_map=ids,
            segment_ids=scene.segment_ids[there],
            labels=scene.labels[there],
        )
        return quality_of(together(model, [low, scene.image])[0], cut)[0]

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


@pytest.mark.browser
def test_every_fault_costs_what_it_costs_in_the_package(opened, model):
    with opened("fault", ".dl-fates td", "#fault-memory_swapped") as view:

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
            assert with_fault(0) == pytest.approx(usual, abs=0.04), name
            if view.locator(".dl-fates tbody tr").count() > 2:
                assert with_fault(2) == pytest.approx(there, abs=0.06), name
            if name == "boxes_as_corners":
                assert cells(0).nth(2).inner_text() == "no"
                assert cells(1).nth(2).inner_text() == "yes"


@pytest.mark.browser
def test_without_a_fault_both_sides_of_the_wipe_are_alike(opened):
    with opened("fault", ".dl-fates td") as view:
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
        view.mouse.move(box["x"] + 5, box["y"] + 50)
        view.mouse.down()
        view.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 50)
        view.mouse.up()
        assert view.evaluate(place) == "75%"


@pytest.mark.browser
def test_an_address_leads_to_an_exhibit(opened):
    with opened("fault", ".dl-fates td") as view:
        view.evaluate("location.hash = '#fault-bytes_reversed'")
        view.locator(".dl-widget[data-shown=bytes_reversed]").wait_for()
        view.evaluate("location.hash = '#nowhere'")
        assert view.locator(".dl-widget[data-shown=bytes_reversed]").count()


@pytest.mark.browser
def test_a_fault_is_guessed(opened):
    with opened("fault", ".dl-fates td") as view:
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
        assert words.startswith("Right." if right else "No, it is")
        assert f"{int(right)} of 1" in words
        view.get_by_role("button", name="Guess another").click()
        assert choices.count() == 4
        view.get_by_role("button", name="No fault").click()
        assert choices.count() == 0


def test_similarity_leaves_the_shared_mean_out():
    features = torch.tensor([[[5.0, 7, 5]], [[3, 3, 6]]])
    centered = features.flatten(1) - features.mean((1, 2))[:, None]
    a, b, _ = centered.T
    wanted = a @ b / (a.norm() * b.norm())
    assert torch.allclose(similarity(features, 0)[0, 1], wanted)
