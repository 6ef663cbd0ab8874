"""The pages that are no notebooks: what they name exists, and sizes agree."""

import ast
import copy
import json
import re
from functools import cache
from itertools import pairwise

import bench_tables as tool
import pytest
import torch
from support import ROOT

from detr_lite.data import images
from detr_lite.data.categories import Categories, Category
from detr_lite.files import archives
from detr_lite.inference.model import build_model
from detr_lite.models import SCENES_CONFIG, ModelConfig
from detr_lite.panoptic import panoptic_results
from detr_lite.training import batches

BOOK = ROOT / "book"
TIMES = " \N{MULTIPLICATION SIGN} "


@cache
def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text("utf-8")


def sections(text: str) -> dict[str, str]:
    """Return the text under each heading of the third level."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    ends = [re.split(r"^## ", body, flags=re.M)[0] for body in parts[2::2]]
    return dict(zip(parts[1::2], ends, strict=True))


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def named_tests(text: str) -> list[tuple[str, str]]:
    """Return (file, test) pairs from "`test_a` and `test_b` in `file`"."""
    line = re.search(r"^- \*\*Tests?\*\*: (.+)$", text, re.MULTILINE)[1]
    pairs = []
    for part in line.split("; "):
        tests, file = part.split(" in ")
        pairs += [
            (file.strip("`"), test.strip("`")) for test in tests.split(" and ")
        ]
    return pairs


DIFFERENCES = sections(page("differences"))


@pytest.mark.parametrize("title", DIFFERENCES)
def test_each_difference_names_tests_that_exist(title):
    for file, name in named_tests(DIFFERENCES[title]):
        assert name in functions_of(file)


@pytest.mark.parametrize("title", DIFFERENCES)
def test_each_difference_says_what_and_why(title):
    leads = re.findall(r"^- \*\*(\w+)\*\*: [^a-z]", DIFFERENCES[title], re.M)
    *words, last = leads
    assert last in ("Test", "Tests")
    assert (last == "Tests") == (len(named_tests(DIFFERENCES[title])) > 1)
    assert words in (
        ["Same"],
        ["Paper", "Here", "Why"],
        ["Original", "Here", "Why"],
        ["Paper", "Original", "Here", "Why"],
    )


@pytest.mark.parametrize(
    "name", ["how_checked", "differences", "index", "promises"]
)
def test_files_that_a_page_names_exist(name):
    places = re.findall(r"`((?:tests|tools|book)/[\w./]+)`", page(name))
    commands = re.findall(r"`[^`]*?((?:tests|tools)/\w+\.py)", page(name))
    for place in {*places, *commands}:
        assert (ROOT / place).exists(), place


@pytest.mark.parametrize("name", ["how_checked", "index"])
def test_commands_that_a_page_names_exist(name):
    targets = re.findall(r"\bmake (\w+)\b(?=`|$)", page(name), re.MULTILINE)
    assert targets
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_of_tests_of_the_book_is_described():
    """Those of single modules are not: they are too many to name."""
    for name in ("book", "build", "faults", "pages", "parity", "site"):
        place = f"tests/test_{name}.py"
        assert (ROOT / place).exists()
        assert f"`{place}`" in page("how_checked")


def test_the_promised_limits_are_those_of_the_code():
    limits = page("promises").split("## Limits")[1]
    for words in (
        f"{images.MIN_SIDE} to {images.MAX_SIDE:,} pixels a side, "
        f"{images.MAX_PIXELS // 10**6} million in all",
        f"at most {archives.RATIO} times their size",
    ):
        assert words in limits
    assert batches.STALLED == 10 * 60
    assert "ten minutes without a batch" in limits
    assert len({*images.FORMATS.values()}) == 6
    assert "images in six formats" in page("promises")


def test_each_promise_names_the_tests_that_keep_it():
    promises, _ = page("promises").split("## Limits")
    _, *parts = re.split(r"^\*\*.+\*\*$", promises, flags=re.M)
    assert len(parts) == 8
    for part in parts:
        assert re.search(r"`tests/\w+\.py`", part)


# Notation


def rows(part: str) -> list[list[str]]:
    """Return the cells of the table under a heading of the second level."""
    body = re.split(rf"^## {part}$", page("notation"), flags=re.M)[1]
    table = re.findall(r"^\|(.+)\|$", body.split("\n## ")[0], re.MULTILINE)
    return [[c.strip() for c in row.split("|")] for row in table[2:]]


def size(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(TIMES.strip()))


def tensors(config: ModelConfig, image: tuple[int, int], kept: int) -> dict:
    """Return the shape of each tensor of the table in a running model."""
    torch.manual_seed(0)
    categories = Categories(
        Category(i + 1, str(i), True, (0, 0, 0))
        for i in range(config.num_classes)
    )
    model = build_model(config, categories).eval()
    padding = torch.zeros(1, *image, dtype=torch.bool)
    images = torch.zeros(1, 3, *image)
    with torch.inference_mode():
        found = model.detr(images, padding)
        query = torch.arange(kept)
        output = model.add_masks(found, torch.zeros_like(query), query)
        ids = panoptic_results(
            output, [True] * config.num_classes, image, [image]
        )[0].id_map
    layers = len(found.layer_logits)
    table = {
        "`images`": images,
        "`padding_mask`, of the images": padding,
        "`padding_mask`, of the features": found.padding_mask,
        "`src_proj`": found.src_proj,
        "`pos`": model.detr.backbone[1](found.padding_mask),
        "`memory`": found.memory,
        "`query_embed.weight`": model.detr.query_embed.weight,
        "`box_embeddings`": found.box_embeddings,
        "`class_logits`": found.class_logits,
        "`boxes`": found.boxes,
        "`attention_maps`": output.attention_maps,
        "`mask_logits`": output.mask_logits,
        "`id_map`": ids,
    }
    for name, level in found.pyramid._asdict().items():
        table[f"`pyramid.{name}`"] = level
    shapes = {name: tuple(tensor.shape) for name, tensor in table.items()}
    shapes["`embeddings`, of all decoder layers"] = (
        layers,
        *found.box_embeddings.shape,
    )
    return shapes


@pytest.mark.parametrize(
    ("column", "config", "image", "kept"),
    [
        (2, ModelConfig(num_classes=250), (800, 1066), 15),
        (3, SCENES_CONFIG, (96, 96), 12),
    ],
    ids=["coco", "scenes"],
)
def test_shapes_on_the_page_are_those_of_a_running_model(
    column, config, image, kept
):
    shapes = tensors(config, image, kept)
    told = {row[0]: size(row[column]) for row in rows("Tensors")}
    assert told == shapes
    letters = {row[0]: row[column] for row in rows("Letters")}
    h, w = shapes["`memory`"][2:]
    wanted = {
        **dict(zip("BHW", (1, *image), strict=True)),
        "h": h,
        "w": w,
        "L": h * w,
        "d": config.width,
        "N": config.num_queries,
        "M": config.heads,
        "K": config.num_classes,
    }
    assert {letter: int(letters[letter]) for letter in wanted} == wanted
    # The shapes in letters say the same as those in numbers.
    values = {letter: str(number) for letter, number in wanted.items()}
    values |= {"S": str(kept), "(K + 1)": str(config.num_classes + 1)}
    for name, formula, *_ in rows("Tensors"):
        parts = formula.removesuffix(" of the image").split(TIMES)
        for part, number in zip(parts, told[name], strict=False):
            if part[0].isupper() or part in values:
                assert values[part] == str(number), name


# Glossary and references

TERMS = sections(page("glossary"))


def test_the_glossary_is_in_order():
    names = [name.lower() for name in TERMS]
    assert names == sorted(names)
    ranges = re.findall(r"^## (\w) to (\w)$", page("glossary"), re.MULTILINE)
    for part, (first, last) in zip(
        page("glossary").split("\n## ")[1:], ranges, strict=True
    ):
        for name in sections(part):
            assert first <= name[0].upper() <= last
    assert ranges[0][0] == "A"
    assert all(ord(b[0]) - ord(a[1]) == 1 for a, b in pairwise(ranges))


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_explained_in_a_sentence_or_two_and_placed(name):
    body = TERMS[name].strip()
    text = re.sub(r"\d\.\d|\]\([^)]*\)", "", body)
    assert 1 <= len(re.findall(r"[.](?:\s|$)", text)) <= 2
    (place,) = re.findall(r"\(\[([^]]+)\]\((\w+\.(?:ipynb|md))\)\)\.$", body)
    name, file = place
    assert (BOOK / file).is_file()
    if name.startswith("Chapter "):
        assert file.startswith(f"0{name.removeprefix('Chapter ')}_")


def entries() -> dict[str, dict[str, str]]:
    """Return the fields of each entry of the BibTeX file, by its key."""
    text = (BOOK / "references.bib").read_text("utf-8")
    found = re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}", text, re.M | re.S)
    assert len(found) == text.count("@")
    return {
        key: {
            name: value.strip("{}")
            for name, value in re.findall(r"^  (\w+) = (\{.*\}),$", body, re.M)
        }
        for key, body in found
    }


def names(authors: str) -> str:
    people = [
        " ".join(reversed(person.split(", ")))
        for person in authors.split(" and ")
    ]
    return " and ".join(filter(None, [", ".join(people[:-1]), people[-1]]))


def test_the_references_are_those_of_the_bibtex_file():
    listed = sections(page("references"))
    keys = [re.sub(r"\W+", "-", title.lower()) for title in listed]
    assert keys == list(entries())
    for body, entry in zip(listed.values(), entries().values(), strict=True):
        people, title, place, *notes = body.strip().splitlines()
        assert people.rstrip(".") == names(entry["author"]).rstrip(".")
        assert title == f"[{entry['title']}]({entry['url']})."
        venue = entry.get("booktitle") or entry.get("journal")
        assert place == ", ".join(filter(None, [venue, entry["year"]])) + "."
        assert notes


# Fast and exact

SAVINGS = sections(page("fast_and_exact"))


@pytest.fixture(scope="module")
def results():
    """What was measured."""
    return json.loads(tool.RESULTS.read_text("utf-8"))


@pytest.mark.parametrize("title", SAVINGS)
def test_each_saving_has_a_switch_and_tests_that_exist(title):
    assert re.search(r"^- \*\*Switch\*\*: \S", SAVINGS[title], re.M)
    for file, name in named_tests(SAVINGS[title]):
        assert name in functions_of(file)


def test_the_page_shows_what_was_measured(results):
    text = page("fast_and_exact")
    for name in (*tool.TABLES, "gpu"):
        assert text.count(f"<!-- {name} -->") == 1
        assert text.count(f"<!-- /{name} -->") == 1
    on_a_gpu = tool.read(tool.GPU_RESULTS)
    assert text == tool.filled(text, results, on_a_gpu)
    assert "\n| --- | --- |" in text


def test_the_pages_charts_show_what_was_measured(results):
    charts = tool.charts(results)
    assert charts
    for file, svg in charts.items():
        assert (tool.CHARTS / file).read_text("utf-8") == svg
        assert page("fast_and_exact").count(f"_assets/{file}") == 1


def test_a_table_follows_its_figures(results):
    changed = copy.deepcopy(results)
    times = {"seconds": 1e-9, "seconds_of_runs": [1e-9] * 3}
    changed["matcher_batch_64"]["transformers"].update(times)
    for name in ("times", "targets"):
        assert tool.TABLES[name](changed) != tool.TABLES[name](results)
    assert tool.targets(changed).splitlines()[-1].endswith("| no |")


def test_pixels_differ_only_where_rounding_can_decide(results):
    """Each of two masks is off by that much at most, on either side."""
    compared = 0
    for case in results.values():
        far = case.get("rounding", {})
        for side in {"reference", "transformers"} & far.keys():
            bound = 2 * (far["ours"] + far[side])
            assert case[side]["widest_gap"] <= bound
            compared += 1
    assert compared
    assert results["matcher_batch_64"]["transformers"]["different"] == 0
    assert results["post_processing_800x1066"]["reference"]["different"] == 0
