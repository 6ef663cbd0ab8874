"""The engine of the book's pages computes what the package computes.

A browser runs it, opened from a disk; what it answers is compared with
PyTorch, which gets the same rounded weights.
"""

import base64
import hashlib
import json
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import make_web_weights as tool
import numpy as np
import pytest
import torch
from browsing import chromium
from scipy.optimize import linear_sum_assignment
from support import ROOT
from web_file import load

from detr_lite.boxes import cxcywh_to_xyxy, giou
from detr_lite.data import scenes
from detr_lite.data.batch import pad_images
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
    render_scene,
)
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.panoptic import panoptic_results
from detr_lite.panoptic_detr import all_queries
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.faults import fault

FOLDER = ROOT / "book" / "_assets" / "widgets"
ISTHING = [c.isthing for c in SCENE_CATEGORIES]
TOLERANCE = 1e-3

# What the tests call in the page.  Numbers come back as base64: lists of
# them as JSON take minutes.
HELPERS = """
const { Beach, Engine } = detrLite;
const base64 = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset,
    array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  }
  return btoa(text);
};
const engines = {};
const engine = (plain, inPage) =>
  engines[`${plain} ${inPage}`] ??= Engine.start(plain, inPage);
async function run(index, wanted, more = {}, plain = false, inPage = false) {
  const { pixels } = new Beach(2, index).draw();
  const { results } = await (await engine(plain, inPage)).run(
    { pixels, masks: "all", wanted, ...more });
  return Object.fromEntries(Object.entries(results).map(
    ([name, { shape, data }]) => [name, [shape, base64(data)]]));
}
async function segment(index) {
  const { pixels } = new Beach(2, index).draw();
  const model = await engine(false, false);
  const { config } = model;
  const { results } = await model.run(
    { pixels, masks: "found", wanted: ["class_logits", "mask_logits"] });
  const kept = detrLite.found(
    results["class_logits.2"].data, config.num_queries, config.threshold);
  const masks = kept.map(({ query }) =>
    results.mask_logits.data.slice(query * 48 * 48, (query + 1) * 48 * 48));
  const { map, areas } = detrLite.panopticSegmentation(
    masks, 48, kept, detrLite.ISTHING, 96);
  return { kept, areas, map: base64(map),
    masks: base64(results.mask_logits.data) };
}
async function digests(seed, from, to) {
  const result = [];
  for (let index = from; index < to; index++) {
    result.push(await digest(new Beach(seed, index).draw()));
  }
  return result;
}
async function digest({ pixels, ids, labels }) {
  const all = new Uint8Array([...pixels, ...ids, ...labels]);
  return base64(new Uint8Array(await crypto.subtle.digest("SHA-256", all)));
}
"""


def numbers(text, kind=np.float32):
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    """A page on the disk that holds the engine."""
    page = tmp_path_factory.mktemp("engine") / "page.html"
    script = (FOLDER / "widgets.js").as_uri()
    page.write_text(
        f'<!doctype html><script src="{script}"></script>'
        f"<script>{HELPERS}</script>"
    )
    with chromium() as browser:
        view = browser.new_page()
        view.goto(page.as_uri())
        yield view


@pytest.fixture(scope="module")
def model():
    """The shipped model with the rounded weights of the pages."""
    return tool.rounded_model().requires_grad_(False)


class Watch:
    """Remembers what goes through modules, by hooks."""

    def __init__(self, model):
        self.seen, self.hooks = {}, []
        transformer = model.detr.transformer
        for i, layer in enumerate(transformer.encoder.layers):
            self.attention(f"encoder_attention.{i}", layer.self_attn)
            self.result(f"encoder.{i}", layer)
        for i, layer in enumerate(transformer.decoder.layers):
            self.attention(f"decoder_self_attention.{i}", layer.self_attn)
            self.attention(
                f"decoder_cross_attention.{i}", layer.multihead_attn
            )
        for i in range(1, 6):
            self.result(f"stage{i}", getattr(model.mask_head, f"gn{i}"))
        self.asked("box_embeddings", model.detr.class_embed)
        self.result("class_logits", model.detr.class_embed)
        self.result("boxes", model.detr.bbox_embed)

    def attention(self, name, module):
        def note(module, args):
            weights = module.weights(*args[:2])[0]  # M, queries, keys
            self.seen[name] = weights.transpose(1, 2)

        self.hooks.append(module.register_forward_pre_hook(note))

    def asked(self, name, module):
        def note(module, args):
            self.seen.setdefault(name, []).append(args[0].clone())

        self.hooks.append(module.register_forward_pre_hook(note))

    def result(self, name, module):
        def note(module, args, output):
            self.seen.setdefault(name, []).append(output.clone())

        self.hooks.append(module.register_forward_hook(note))

    def __enter__(self):
        return self.seen

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()


def reference(model, image):
    """Return everything that the engine notes, by its name for it."""
    images, mask = pad_images([image])
    with Watch(model) as seen:
        output = model(images, mask, all_queries)
    detection = output.detection
    wanted = {"image": images[0]}
    for i, level in enumerate(detection.pyramid):
        wanted[f"res{i + 2}"] = level[0]
    # The heads see all layers at once: layers, B, N, d.
    heads = [
        torch.cat(seen.pop(name)).flatten(0, -3)
        for name in ("box_embeddings", "class_logits", "boxes")
    ]
    for i, (x, logits, boxes) in enumerate(zip(*heads, strict=True)):
        wanted[f"box_embeddings.{i}"] = x.T
        wanted[f"class_logits.{i}"] = logits.T
        wanted[f"boxes.{i}"] = boxes.sigmoid().T
        found = scores(model.bbox_attention, x, detection.memory[0])
        wanted[f"attention_scores.{i}"] = found
    for name, value in seen.items():
        if name.startswith("stage"):
            for query, x in enumerate(torch.cat(value).relu()):
                wanted[f"{name}.{query}"] = x
        elif name.startswith("encoder."):
            wanted[name] = value[0][0].T
        else:
            wanted[name] = value
    wanted["src_proj"] = detection.src_proj[0]
    wanted["memory"] = detection.memory[0]
    wanted["attention_maps"] = output.attention_maps
    wanted["mask_logits"] = output.mask_logits
    return wanted


def scores(attention, embeddings, memory):
    """Return what the softmax is taken of, (N, M, h, w), from its layers."""
    heads = attention.heads
    q = attention.q_linear(embeddings).unflatten(1, (heads, -1))
    k = attention.k_linear(memory.flatten(1).T).unflatten(1, (heads, -1))
    found = torch.einsum("nmc,lmc->nml", q, k) / q.shape[-1] ** 0.5
    return found.unflatten(-1, memory.shape[-2:])


def compare(view, model, call, index):
    """Assert that the engine's results are the model's."""
    image = SceneSplit(VALIDATION_SEED, index + 1)[index].image
    wanted = reference(model, image)
    groups = sorted({name.split(".")[0] for name in wanted})
    got = view.evaluate(call, [index, groups])
    assert set(got) == set(wanted), "a result is missing, or one too many"
    for name, (shape, text) in got.items():
        expected = wanted[name].detach().numpy()
        assert np.prod(shape) == expected.size, name
        mine = numbers(text).reshape(expected.shape)
        assert np.abs(mine - expected).max() < TOLERANCE, name


@pytest.mark.browser
@pytest.mark.parametrize("index", [0, 20])
def test_every_result_is_pytorchs(view, model, index):
    compare(view, model, "([i, wanted]) => run(i, wanted)", index)


@pytest.mark.browser
def test_without_webassembly_and_without_workers(view, model):
    """Plain JavaScript, in the page itself."""
    compare(view, model, "([i, wanted]) => run(i, wanted, {}, true, true)", 3)


@contextmanager
def changed(model, change):
    """Do without something, or switch a fault on, as the page does."""

    def nothing(module, args, output):
        return torch.zeros_like(output)

    def mean(module, args, output):
        return output.mean((2, 3), keepdim=True).expand_as(output)

    head = model.mask_head
    parts = {
        "encodings": model.detr.backbone[1],
        "res4": head.adapter1,
        "res3": head.adapter2,
        "res2": head.adapter3,
    }
    part = change.removesuffix("_detail")
    if part not in parts:
        with fault(change):
            yield
        return
    hook = parts[part].register_forward_hook(
        nothing if part == change else mean
    )
    yield
    hook.remove()


def outputs(output):
    """Return what a model says at last, of the first image of a batch."""
    own = output.image_index == 0
    return {
        "probabilities": output.class_logits[0].softmax(-1).T,
        "boxes.2": output.boxes[0].T,
        "attention_maps": output.attention_maps[own],
        "mask_logits": output.mask_logits[own],
    }


def agree(got, wanted):
    got = {name: numbers(text) for name, (_, text) in got.items()}
    logits = torch.from_numpy(got["class_logits.2"].copy()).view(9, -1)
    got["probabilities"] = logits.softmax(0).numpy().ravel()
    for name, value in wanted.items():
        expected = value.numpy().ravel()
        assert np.abs(got[name] - expected).max() < TOLERANCE, name


LAST = ["class_logits", "boxes", "attention_maps", "mask_logits"]
LEVELS = ["res2", "res3", "res4"]
MISSING = ["encodings", *LEVELS, *(f"{level}_detail" for level in LEVELS)]
MISTAKES = [
    "batch_first",
    "memory_swapped",
    "no_object_ignored",
    "per_head_softmax",
    "positions_lost",
]


@pytest.mark.browser
@torch.no_grad()
def test_changes_change_what_they_change_in_the_package(view, model):
    images, mask = pad_images([SceneSplit(VALIDATION_SEED, 21)[20].image])
    right = outputs(model(images, mask, all_queries))
    for change in MISSING + MISTAKES:
        with changed(model, change):
            wanted = outputs(model(images, mask, all_queries))
        differences = (
            (wanted[name] - right[name]).abs().max() for name in wanted
        )
        assert max(differences) > 100 * TOLERANCE, change
        got = view.evaluate(
            "([wanted, changes]) => run(20, wanted, { changes })",
            [LAST, [change]],
        )
        agree(got, wanted)


@pytest.mark.browser
@torch.no_grad()
@pytest.mark.parametrize("change", [None, "padding_mask_lost"])
def test_padding_is_hidden_as_in_the_package(view, model, change):
    """An image of 72 x 80 pixels, alone on a canvas of 96 x 96."""
    image = SceneSplit(VALIDATION_SEED, 21)[20].image
    batch = pad_images([image[:, :72, :80], image])
    with fault(change) if change else nullcontext():
        wanted = outputs(model(*batch, all_queries))
    got = view.evaluate(
        "([wanted, changes]) => run(20, wanted, { changes, size: [72, 80] })",
        [LAST, [change] if change else []],
    )
    agree(got, wanted)


def segmented(labels, masks, mode="union", min_area=4):
    """Return the package's answer for masks: positions by pixel, areas."""
    count = len(labels)
    logits = torch.full((1, count, len(ISTHING) + 1), -9.0)
    logits[0, range(count), labels] = 9
    output = SimpleNamespace(
        class_logits=logits,
        boxes=torch.zeros(1, count, 4),
        image_index=torch.zeros(count, dtype=torch.int64),
        query_index=torch.arange(count),
        mask_logits=torch.from_numpy(masks.copy()),
        detection=SimpleNamespace(sizes=None),
    )
    size = (96, 96)
    (result,) = panoptic_results(
        output, ISTHING, size, [size], mode=mode, min_area=min_area
    )
    positions = np.full(len(result.segments) + 1, -1)
    areas = [0] * count
    for segment in result.segments:
        positions[segment.id] = segment.query
        areas[segment.query] = segment.area
    return positions[result.id_map.numpy().ravel()], areas


@pytest.mark.browser
def test_segments_are_those_of_the_package(view):
    """The same masks, given to both: each pixel goes to the same segment."""
    for index in range(24):
        answer = view.evaluate("(i) => segment(i)", index)
        queries = [k["query"] for k in answer["kept"]]
        labels = [k["label"] for k in answer["kept"]]
        masks = numbers(answer["masks"]).reshape(-1, 48, 48)[queries]
        wanted, areas = segmented(labels, masks)
        assert (numbers(answer["map"], np.int8) == wanted).all(), index
        assert answer["areas"] == areas


@pytest.mark.browser
def test_stuff_is_merged_and_tiny_segments_go(view):
    """What the model's own masks rarely show, from masks made up."""
    labels = [0, 5, 0, 5, 7]
    masks = np.full((5, 48, 48), -5, np.float32)
    masks[0, :, :24] = 1  # a ball on the left
    masks[1, :, 24:36] = 1  # the sea in two masks
    masks[3, :, 36:] = 1
    masks[2, 3, 3] = 10  # a ball of 2 x 2 pixels
    masks[4] = -4  # grass that loses everywhere
    seen = set()
    for mode in ("union", "original"):
        for min_area in (0, 4, 3000):
            answer = view.evaluate(
                """([all, labels, mode, minArea]) => {
                  const masks = all.map((mask) => Float32Array.from(mask));
                  const kept = labels.map(
                    (label, query) => ({ query, label, score: 1 }));
                  const { map, areas } = detrLite.panopticSegmentation(
                    masks, 48, kept, detrLite.ISTHING, 96,
                    { mode, minArea });
                  return { map: base64(map), areas };
                }""",
                [masks.reshape(5, -1).tolist(), labels, mode, min_area],
            )
            wanted, areas = segmented(labels, masks, mode, min_area)
            assert (numbers(answer["map"], np.int8) == wanted).all()
            assert answer["areas"] == areas
            seen.add(tuple(areas))
    assert len(seen) > 3, "every way must matter"


def digest(seed, index):
    image, ids, labels = render_scene(seed, index)
    content = image.tobytes() + ids.tobytes() + bytes(labels)
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("seed", "first", "count"),
    [(2, 0, 96), (1, 4000, 24), (2**32 - 1, 0, 8)],
)
def test_scenes_have_the_same_bits(view, seed, first, count):
    got = view.evaluate(
        "([seed, from, to]) => digests(seed, from, to)",
        [seed, first, first + count],
    )
    assert got == [digest(seed, first + i) for i in range(count)]


class Moved(scenes._Random):
    """Puts a scene's first thing somewhere else."""

    place = (100, 120)

    def __init__(self, *args):
        super().__init__(*args)
        self.left = []  # what the next calls return, from a thing's on

    def between(self, low, high):
        value = super().between(low, high)
        if (low, high) == (19, 43) and self.left is not None:
            self.left = [*self.place]  # a radius: then come cx and cy
        elif self.left:
            value = self.left.pop(0)
            self.left = self.left or None
        return value


@pytest.mark.browser
def test_a_moved_thing_is_drawn_as_the_package_would(view, monkeypatch):
    before = digest(2, 5)
    monkeypatch.setattr(scenes, "_Random", Moved)
    wanted = digest(2, 5)
    assert wanted != before
    got = view.evaluate(
        """async ([x, y]) => {
          const beach = new Beach(2, 5);
          Object.assign(beach.things[0], { cx: x, cy: y });
          return digest(beach.draw());
        }""",
        Moved.place,
    )
    assert got == wanted


@pytest.mark.browser
def test_assignments_are_as_good_as_scipys(view):
    random = np.random.default_rng(0)
    matrices = []
    for segments, queries in ((1, 1), (2, 2), (3, 4), (5, 12), (8, 8)):
        matrices += list(random.normal(size=(20, segments, queries)))
        # Many equal costs: several assignments are the best.
        matrices += list(random.integers(0, 3, (20, segments, queries)))
    lists = [m.tolist() for m in matrices]
    best = view.evaluate("(all) => all.map(detrLite.assign)", lists)
    greedy = view.evaluate("(all) => all.map(detrLite.assignGreedily)", lists)
    worse = 0
    for costs, mine, quick in zip(matrices, best, greedy, strict=True):
        rows, columns = linear_sum_assignment(costs)
        optimum = costs[rows, columns].sum()
        for pairs in (mine, quick):
            assert len(set(pairs)) == len(pairs) == len(costs)
        assert costs[rows, mine].sum() == pytest.approx(optimum)
        worse += costs[rows, quick].sum() > optimum + 1e-9
    assert worse > 10, "greedy must not be as good"


@pytest.mark.browser
def test_boxes_agree_as_the_package_says(view):
    random = np.random.default_rng(0)
    pairs = random.uniform(0.05, 0.9, (50, 2, 4))
    pairs[0, 1] = pairs[0, 0]  # equal
    pairs[1] = [[0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]]  # far apart
    got = view.evaluate(
        "(all) => all.map(([a, b]) => detrLite.agreement(a, b))",
        pairs.tolist(),
    )
    a, b = torch.from_numpy(pairs).unbind(1)
    overlap = giou(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b))
    assert [x["giou"] for x in got] == pytest.approx(overlap.tolist())
    distance = (a - b).abs().sum(-1)
    assert [x["l1"] for x in got] == pytest.approx(distance.tolist())


@pytest.mark.browser
def test_quality_is_the_packages(view):
    """Maps at random: blocks that overlap, void on both sides, a wrong id."""
    random = np.random.default_rng(0)
    cases = []
    for count in (1, 2, 4, 6):
        labels = random.integers(0, 3, count + 1).tolist()
        blocks = random.integers(0, count + 1, (4, 4)).repeat(6, 0)
        theirs = blocks.repeat(6, 1)
        mine = np.roll(theirs, random.integers(0, 4, 2), (0, 1))
        mine[random.random(mine.shape) < 0.1] = 0
        mine[:3, :9] = count + 1  # one that the truth hasn't
        cases.append((mine, [*labels[:count], 1], theirs, labels[:count]))
    for mine, my_labels, theirs, their_labels in cases:
        got = view.evaluate(
            """([ids, labels, trueIds, trueLabels]) => {
              const quality = detrLite.panopticQuality(
                { ids, labels }, { ids: trueIds, labels: trueLabels });
              return { ...quality, classes: [...quality.classes] };
            }""",
            [
                mine.ravel().tolist(),
                my_labels,
                theirs.ravel().tolist(),
                their_labels,
            ],
        )
        counted = PanopticQuality(3)
        counted.update(
            torch.from_numpy(mine),
            listed(mine, my_labels),
            torch.from_numpy(theirs),
            listed(theirs, their_labels),
        )
        for name, value in counted.compute().items():
            assert got[name] == pytest.approx(value), name
        for label, one in got["classes"]:
            for name in ("tp", "fp", "fn", "iou"):
                value = getattr(counted, name)[label]
                assert one[name] == pytest.approx(value)
        assert sum(counted.tp + counted.fp + counted.fn) == sum(
            one["tp"] + one["fp"] + one["fn"] for _, one in got["classes"]
        )


def listed(ids, labels):
    """Return the segments that have a pixel: id -> label."""
    return {i + 1: k for i, k in enumerate(labels) if (ids == i + 1).any()}


def test_rounding_the_weights_costs_next_to_nothing(model):
    """On a sample; tools/make_web_weights.py --check looks at all 512."""
    few = SceneSplit(VALIDATION_SEED, 16)
    shipped = evaluate(load_model("scenes", device="cpu"), few)
    rounded = evaluate(model, few)
    assert rounded.metrics["pq"] == pytest.approx(
        shipped.metrics["pq"], abs=0.002
    )


def test_the_committed_weights_are_the_shipped_models():
    data = tool.pack(load_model("scenes", device="cpu"))
    mine, theirs = tool.unpack(load("weights.js")), tool.unpack(data)
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        # Another processor may round a folded norm to the byte beside it.
        step = tensor.abs().max() / 120
        assert (mine[name] - tensor).abs().max() <= step, name
    assert header(load("weights.js")) == header(data)


def header(data):
    size = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + size])


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("bottleneck", True, "bottleneck = false, and these weights have"),
        ("num_queries", 13, "num_queries is a multiple of 4"),
    ],
)
def test_another_configuration_fails_with_a_sentence(view, name, value, words):
    data = load("weights.js")
    start = 4 + int.from_bytes(data[:4], "little")
    changed = header(data)
    changed["config"][name] = value
    text = json.dumps(changed).encode()
    text += b" " * (-len(text) % 4)
    data = len(text).to_bytes(4, "little") + text + data[start:]
    message = view.evaluate(
        """async (base64) => {
          const own = globalThis.detrLiteWeights;
          globalThis.detrLiteWeights = base64;
          try {
            await Engine.start();
          } catch (error) {
            return error.message;
          } finally {
            globalThis.detrLiteWeights = own;
          }
        }""",
        base64.b64encode(data).decode(),
    )
    assert words in message


@pytest.mark.browser
def test_names_and_colors_are_the_packages(view):
    colors = view.evaluate("detrLite.CLASS_COLORS")
    assert colors == [list(c.color) for c in SCENE_CATEGORIES]
    assert view.evaluate("detrLite.NAMES") == [
        c.name for c in SCENE_CATEGORIES
    ]
    assert view.evaluate("detrLite.ISTHING") == ISTHING
