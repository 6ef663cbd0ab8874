"""Change the repository's address and ref: tools/address.py --ref v0.2.0.

Colab's links, the install line of each notebook and the links of the pages
name the repository, and the branch or tag to take from it.  Both stand in
_config.yml; this program changes them there and wherever else they are
written.  Nothing is run, and the notebooks keep their outputs.

A release carries its tag; everything else says main.  Without an option the
present address and ref are printed.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
import yaml
from weave import identify

ROOT = Path(__file__).resolve().parents[1]
PLACES = (
    "_config.yml",
    "pyproject.toml",
    "CITATION.cff",
    "*.md",
    "data/*.md",
    "book/*.md",
    "book/text/*.md",
    "book/*.ipynb",
)
HOST = "https://github.com/"  # Colab opens notebooks from there


class Move:
    """From one address and ref to another, in any text.

    places: how many were changed so far.
    """

    def __init__(self, old: tuple[str, str], new: tuple[str, str]):
        self.path, self.ref = new[0].removeprefix(HOST), new[1]
        self.places = 0
        path, ref = re.escape(old[0].removeprefix(HOST)), re.escape(old[1])
        # The ref follows in links to files and in what pip installs.
        self.mention = re.compile(
            rf"(?P<host>github\.com/|\.com/github/){path}(?![\w-])"
            rf"(?:(?P<way>\.git@|/(?:blob|tree|edit|raw)/){ref}"
            r"(?![\w-]|\.\w))?"
        )

    def __call__(self, text: str) -> str:
        """Return the text with all mentions moved."""
        return self.mention.sub(self._moved, text)

    def _moved(self, found: re.Match[str]) -> str:
        way = found["way"]
        new = found["host"] + self.path + (way + self.ref if way else "")
        self.places += new != found[0]
        return new


def present(root: Path) -> tuple[str, str]:
    """Return the address and the ref that _config.yml gives."""
    settings = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    return settings["repository"]["url"], settings["repository"]["branch"]


def change(root: Path, new: tuple[str, str]) -> dict[str, int]:
    """Change everything below root; return the places by file."""
    old, changed = present(root), {}
    for pattern in PLACES:
        for file in sorted(root.glob(pattern)):
            move = Move(old, new)
            if file.suffix == ".ipynb":
                _change_notebook(file, move)
            else:
                _change_text(file, move)
            if move.places:
                changed[str(file.relative_to(root))] = move.places
    return changed


def _change_notebook(file: Path, move: Move) -> None:
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        cell.source = move(cell.source)
    if move.places:
        identify(notebook.cells)
        nbformat.write(notebook, file)


def _change_text(file: Path, move: Move) -> None:
    text = file.read_text("utf-8")
    new = move(text)
    if file.name == "_config.yml":
        line = re.compile(r"^(  branch: )(.+)$", re.MULTILINE)
        move.places += line.search(new)[2] != move.ref
        new = line.sub(rf"\g<1>{move.ref}", new, count=1)
    if new != text:
        file.write_text(new, "utf-8")


def _url(text: str) -> str:
    url = text.rstrip("/").removesuffix(".git")
    if not re.fullmatch(HOST + r"[\w-]+/[\w.-]+", url):
        raise argparse.ArgumentTypeError(
            f"{text} is no address like {HOST}owner/name"
        )
    return url


def _ref(text: str) -> str:
    # What YAML would read as something else than text is refused too.
    if not re.fullmatch(r"[A-Za-z][\w.-]*", text) or not isinstance(
        yaml.safe_load(text), str
    ):
        raise argparse.ArgumentTypeError(
            f"{text} is no branch or tag like main or v0.2.0"
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    """Change, and say what was changed; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Change the repository's address and ref everywhere.",
        epilog="example: tools/address.py --ref v0.2.0",
    )
    parser.add_argument("--url", type=_url, help="such as " + HOST + "me/mine")
    parser.add_argument("--ref", type=_ref, help="a branch or a tag")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR")
    args = parser.parse_args(arguments)
    old = present(args.root)
    if not (args.url or args.ref):
        print(*old)
        return 0
    new = args.url or old[0], args.ref or old[1]
    changed = change(args.root, new)
    for file, places in changed.items():
        print(f"{file}: {places} {'place' if places == 1 else 'places'}")
    if changed:
        print(f"{old[0]} at {old[1]} is now {new[0]} at {new[1]}.")
    else:
        print(f"Nothing to change: it is {new[0]} at {new[1]} already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
