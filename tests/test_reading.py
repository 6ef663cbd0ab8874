"""Terms and questions of the pages, before a browser sees them."""

import re
import sys

import pytest
from support import ROOT

BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
try:
    from terms import Terms, distinct, slug
finally:
    sys.path.pop(0)

GLOSSARY = """# Glossary

## A to Z

### Attention map

Weights, laid out ([Chapter 3](03.ipynb)).

### IoU

Common area *over* `all`.

### Thing

What can be counted.

## Next

### TP, FP, FN

Counts.
"""
NOTATION = """# Notation

## Letters

| letter | what it counts | COCO's model | scenes' model |
|---|---|---|---|
| N | object queries | 100 | 12 |
| T | true segments | differs | differs |

## Tensors

| name | shape | COCO's model | scenes' model | in the original's code |
|---|---|---|---|---|
| `attention_maps` | S x M x h x w | 15x8x25x34 | 12x8x12x12 | `bbox_mask` |
"""


@pytest.fixture(scope="module")
def terms():
    return Terms(GLOSSARY, NOTATION)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The attention maps and a map.", ["attention maps"]),
        ("Attention maps of N queries.", ["Attention maps", "N"]),
        ("FP counts IoUs, TP too.", ["FP", "IoUs", "TP"]),
        ("A thing of things.", []),  # words of every day
        ("N/4 rows, an IoU-like x", ["N", "IoU"]),
        ("CNN, N1, o'N, a.N and Tp", []),  # within other words
        ("T is also a temperature.", []),
        ("From N(0, 1), see figure N.2 of N.", ["N"]),
    ],
)
def test_terms_are_found_where_they_can_be_nothing_else(terms, text, wanted):
    found = [text[start:stop] for start, stop, _ in terms.find(text)]
    assert found == wanted


def test_each_mention_leads_to_its_definition(terms):
    keys = [key for *_, key in terms.find("attention map, FP, N")]
    assert keys == ["attention-map", "tp-fp-fn", "N"]
    assert [terms.place(key) for key in keys] == [
        "glossary#attention-map",
        "glossary#tp-fp-fn",
        "notation#letters",
    ]
    assert set(keys) <= set(terms.definitions)


def test_definitions_are_html_without_links(terms):
    assert (
        "Weights, laid out (Chapter 3)." in terms.definitions["attention-map"]
    )
    assert "<em>over</em> <code>all</code>" in terms.definitions["iou"]


def test_a_tensor_has_its_shape_and_its_definition(terms):
    html = terms.definitions["attention_maps"]
    assert "S x M x h x w" in html
    assert "12x8x12x12" in html
    assert "Weights, laid out" in html


def test_the_books_own_pages_are_understood():
    texts = [(BOOK / f"{n}.md").read_text() for n in ("glossary", "notation")]
    known = Terms(*texts)
    titles = re.findall(r"^### (.+)$", texts[0], re.MULTILINE)
    assert slug("src_proj") == "src-proj"  # as Sphinx names the anchor
    assert {slug(title) for title in titles} <= set(known.definitions)
    assert sum(map(distinct, titles)) > 20
    assert {"N", "d", "memory", "mask_logits"} <= set(known.symbols)
    assert not any("](" in html for html in known.definitions.values())
