"""Definitions at hand: what a term or a tensor is, where it is read.

The glossary's terms and the notation's names come from those two pages.  On
every other page the first mention in a section becomes a link to them, and
the page carries what its links lead to, so that a script can show it beside
them.  Without the script the links are links.

A word is taken for a term only where it can be nothing else: a term of
several words, like "attention map", or with capitals inside, like "IoU".
Words of every day, like "thing", are terms where the text links them.
"""

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from docutils import nodes

SOURCES = ("glossary", "notation")
NAMES = "references"  # of people, whose initials are no letters of ours
# Letters that chapters also use for something else.
AMBIGUOUS = {"L", "S", "T", "h", "w"}
# A mention inside these is none: a link, a name in code, a formula, a title.
CLOSED = (
    nodes.reference,
    nodes.literal,
    nodes.math,
    nodes.title,
    nodes.raw,
    nodes.FixedTextElement,
)


def slug(title: str) -> str:
    """Return the anchor of a heading: "Box AP" has #box-ap."""
    words = re.sub(r"[^\w\- ]", "", title.lower())
    return re.sub("[ _]", "-", words)


def glossary(text: str) -> dict[str, str]:
    """Return the definitions of a glossary, in Markdown, by title."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    bodies = (re.split(r"^## ", body, flags=re.M)[0] for body in parts[2::2])
    return {
        title: " ".join(body.split())
        for title, body in zip(parts[1::2], bodies, strict=True)
    }


def tables(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table of a page, by the heading above it."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    found = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = re.findall(r"^\| *(.+?) *\|$", body, re.MULTILINE)
        rows = [re.split(r" *\| *", line) for line in lines]
        found[title] = rows[1:]  # the names of the columns
    return found


def to_html(markdown: str) -> str:
    """Return a line of Markdown as HTML, its links as plain words."""
    html = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", escape(markdown, False))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", html)


class Terms:
    """What the two pages explain, and where in them.

    Attributes:
        definitions: HTML by key: the anchor of a term, or a symbol.
        words: matches a term or a letter in running text.
        symbols: where each symbol stands, by symbol.
    """

    def __init__(self, glossary_text: str, notation_text: str):
        self.definitions: dict[str, str] = {}
        self.symbols: dict[str, str] = {}
        self._slugs: dict[str, str] = {}  # by the term as it is written
        self._add_terms(glossary(glossary_text))
        found = tables(notation_text)
        self._add_letters(found.get("Letters", []))
        self._add_tensors(found.get("Tensors", []))
        letters = [x for x in self.symbols if len(x) == 1]
        names = sorted((*self._slugs, *letters), key=len, reverse=True)
        # Not within a longer word, nor a letter after an apostrophe, nor one
        # of a figure's number, "M.2", or before a bracket, "N(0, 1)".
        self.words = re.compile(
            rf"(?<![\w'\u2019.]){'(' + '|'.join(map(re.escape, names)) + ')'}"
            r"(?![\w'\u2019(]|\.\d)"
        )

    def _add_terms(self, entries: dict[str, str]) -> None:
        for title, definition in entries.items():
            anchor = slug(title)
            self.definitions[anchor] = (
                f"<strong>{escape(title)}</strong> {to_html(definition)}"
            )
            for name in title.split(", "):
                if distinct(name):
                    for form in forms(name):
                        self._slugs[form] = anchor

    def _add_letters(self, rows: list[list[str]]) -> None:
        for letter, meaning, coco, scenes in rows:
            if letter in AMBIGUOUS:
                continue
            self.symbols[letter] = "notation#letters"
            self.definitions[letter] = (
                f"<strong>{letter}</strong> {to_html(meaning)}: {scenes} in "
                f"the scenes' model, {coco} in COCO's"
            )

    def _add_tensors(self, rows: list[list[str]]) -> None:
        for name, shape, coco, scenes, _ in rows:
            bare = re.match(r"`([\w.]+)`", name)
            if bare is None or bare[1] in self.symbols:
                continue  # a second shape of one name: the page has both
            self.symbols[bare[1]] = "notation#tensors"
            html = (
                f"<strong><code>{bare[1]}</code></strong> {escape(shape)}: "
                f"{scenes} in the scenes' model, {coco} in COCO's"
            )
            term = slug(bare[1])
            for anchor in (bare[1], term, term.removesuffix("s")):
                if anchor in self.definitions:
                    html += f"<br/>{self.definitions[anchor]}"
                    break
            self.definitions[bare[1]] = html

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield where terms and letters stand in a text, and their keys."""
        for match in self.words.finditer(text):
            name = match[0]
            yield *match.span(), self._slugs.get(name, name)

    def place(self, key: str) -> str:
        """Return the page and the anchor that explain a key."""
        return self.symbols.get(key, f"glossary#{key}")


def distinct(name: str) -> bool:
    """Return whether a term can be nothing else in running text."""
    return " " in name or bool(re.search(r"[A-Z0-9]", name[1:]))


def forms(name: str) -> set[str]:
    """Return how a term is written: in a sentence, of one and of several."""
    inside = name if re.search("[A-Z]", name[1:]) else name.lower()
    many = re.sub(r"y$", "ie", inside) + "s"
    return {name, inside, many, many[0].upper() + many[1:]}


def link(app, docname: str, key: str, child: nodes.Node) -> nodes.reference:
    """Return a link to the explanation of a key."""
    page, _, anchor = app.env.terms.place(key).partition("#")
    uri = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
    made = nodes.reference("", "", refuri=uri, internal=True)
    made["classes"].append("dl-term")
    made += child
    return made


def mark(app, doctree: nodes.document, docname: str) -> None:
    """Link the first mention of each term in each section."""
    if docname in (*SOURCES, NAMES):
        return
    seen_in: dict[int, set] = {}
    for paragraph in list(doctree.findall(nodes.paragraph)):
        seen = seen_in.setdefault(id(section_of(paragraph)), set())
        for node in list(paragraph.findall(is_mention)):
            if isinstance(node, nodes.Text):
                mark_words(app, docname, node, seen)
            elif isinstance(node, nodes.literal):
                mark_tensor(app, docname, node, seen)
            else:
                node["classes"].append("dl-term")  # one look for all
                seen.add(node["refuri"].partition("#")[2])


def section_of(node: nodes.Node) -> nodes.Node:
    """Return the section under a heading of level 2, or what is above."""
    above = []
    while node is not None:
        if isinstance(node, nodes.section | nodes.document):
            above.append(node)
        node = node.parent
    return above[max(len(above) - 3, 0)]


def is_mention(node: nodes.Node) -> bool:
    """Return whether a node may name a term: words, code or a link."""
    if isinstance(node, nodes.reference):
        return "glossary.html#" in node.get("refuri", "")
    ancestor = node.parent
    while ancestor is not None and not isinstance(ancestor, nodes.paragraph):
        if isinstance(ancestor, CLOSED):
            return False
        ancestor = ancestor.parent
    if ancestor is not None and " \u2192 " in ancestor.astext():
        return False  # the strip of stages: all links are chapters
    return isinstance(node, nodes.Text | nodes.literal)


def mark_words(app, docname: str, node: nodes.Text, seen: set) -> None:
    """Link the terms and the letters of a text that are new."""
    text, parts, end = node.astext(), [], 0
    for start, stop, key in app.env.terms.find(text):
        if key in seen:
            continue
        seen.add(key)
        word = nodes.Text(text[start:stop])
        parts += [nodes.Text(text[end:start]), link(app, docname, key, word)]
        end = stop
    if parts:
        node.parent.replace(node, [*parts, nodes.Text(text[end:])])


def mark_tensor(app, docname: str, node: nodes.literal, seen: set) -> None:
    """Link the name of a tensor, unless it names a phase of training."""
    name = node.astext()
    if name not in app.env.terms.symbols or name in seen:
        return
    if re.search(r"\bphases?\b", node.parent.astext()):
        return
    seen.add(name)
    parent = node.parent
    made = link(app, docname, name, node.deepcopy())
    parent.replace(node, made)


def carry(app, pagename, templatename, context, doctree) -> None:
    """Put the definitions of a page's links into it, and the script."""
    body = context.get("body", "")
    keys = set(re.findall(r'href="glossary\.html#([^"]+)"', body))
    symbols = r'href="notation\.html#\w+">(?:<[^>]+>)*([\w.]+)<'
    keys |= set(re.findall(symbols, body))
    if pagename in SOURCES:
        return
    known = app.env.terms.definitions
    own = {key: known[key] for key in sorted(keys) if key in known}
    if own:
        # "</" would end the script.
        data = json.dumps(own, ensure_ascii=False).replace("</", "<\\/")
        context["body"] += (
            f'<script type="application/json" id="dl-terms">{data}</script>'
        )
        app.add_js_file("widgets/reading.js", loading_method="defer")
        app.add_css_file("widgets/reading.css")


def read(app) -> None:
    """Read both pages before anything is built."""
    folder = Path(app.srcdir)
    texts = [folder / f"{name}.md" for name in SOURCES]
    found = [p.read_text("utf-8") if p.is_file() else "" for p in texts]
    app.env.terms = Terms(*found)


def setup(app) -> dict:
    """Mark the mentions of a page when it is written."""
    app.connect("builder-inited", read)
    app.connect("doctree-resolved", mark)
    app.connect("html-page-context", carry, priority=500)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
