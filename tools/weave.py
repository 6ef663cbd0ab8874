"""Make the book's notebooks from its texts: tools/weave.py [NN ...].

Authors edit book/text/NN_name.md (Jupytext's MyST Markdown).  This program
turns a text into book/NN_name.ipynb, runs it, and stores it with its outputs;
the site, Colab and the tests read the notebook.

With --check nothing runs: the stored notebooks are compared with what the
texts give, and their outputs are inspected.  The exit code is 1 if anything
is wrong, and each fault is one line.
"""

import argparse
import base64
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 2_000_000  # bytes of a notebook
METADATA = {  # a GPU on Colab; nothing that depends on this machine
    "accelerator": "GPU",
    "colab": {"provenance": []},
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
SKIP = "nbval-skip"  # a cell that is shown, but runs on Colab only


def compose(text: Path) -> NotebookNode:
    """Return the notebook that a text gives, without outputs.

    The words {REPOSITORY} and {COLAB} in a text stand for the address of the
    repository and of the notebook on Colab, both from _config.yml.
    """
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    place = settings["repository"]
    colab = place["url"].replace(
        "https://github.com",
        settings["launch_buttons"]["colab_url"] + "/github",
    )
    colab += f"/blob/{place['branch']}/{place['path_to_book']}"
    words = {
        "{COLAB}": f"{colab}/{text.stem}.ipynb",
        "{REPOSITORY}": place["url"],
    }
    notebook = jupytext.reads(text.read_text("utf-8"), fmt="md:myst")
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        for word, address in words.items():
            cell.source = cell.source.replace(word, address)
        # An id from the content: moving a cell changes no other.
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = f"{digest}-{seen[digest]}"
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode) -> None:
    """Run the cells in order, in an empty folder, and keep their outputs."""
    from nbclient import NotebookClient

    skipped = [(c, c.source) for c in _code(notebook) if _is_skipped(c)]
    for cell, _ in skipped:
        cell.source = ""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=3600,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell, source in skipped:
        cell.source, cell.outputs, cell.execution_count = source, [], None
    for cell in _code(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:  # one picture is enough
                data.pop("image/jpeg", None)
    notebook.metadata = nbformat.from_dict(METADATA)


def faults(text: Path, stored: Path) -> Iterator[str]:
    """Yield what is wrong with a stored notebook, one sentence each."""
    name = stored.name
    if not stored.exists():
        yield f"{name} is missing."
        return
    if stored.stat().st_size > LARGEST:
        yield f"{name} has more than {LARGEST} bytes."
    notebook = nbformat.read(stored, as_version=4)
    wanted = compose(text)
    if notebook.metadata != wanted.metadata:
        yield f"{name}: the metadata are not those that weave.py writes."
    if len(notebook.cells) != len(wanted.cells):
        yield (
            f"{name} has {len(notebook.cells)} cells, {text.name} gives "
            f"{len(wanted.cells)}."
        )
    pairs = zip(notebook.cells, wanted.cells, strict=False)
    for number, (cell, new) in enumerate(pairs, 1):
        for part in ("cell_type", "source", "metadata", "id"):
            if cell.get(part) != new[part]:
                yield f"{name}, cell {number}: the {part} is not the text's."
    yield from _output_faults(name, notebook)
    for cell, path in _pictures(notebook, stored.parent):
        if not path.exists() or path.read_bytes() != _png(cell):
            yield f"{path.name} is not the picture that {name} drew."


def _output_faults(name: str, notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with the outputs, whatever the text says."""
    run = 0
    for number, cell in enumerate(notebook.cells, 1):
        place = f"{name}, cell {number}"
        if cell.cell_type != "code":
            continue
        if _is_skipped(cell):
            if cell.outputs or cell.execution_count is not None:
                yield f"{place}: it is for Colab only, yet it was run."
            continue
        run += 1
        if cell.execution_count != run:
            yield (
                f"{place}: it was not run in order (it has the number "
                f"{cell.execution_count}, not {run})."
            )
        if "execution" in cell.metadata:
            yield f"{place}: it holds times of execution."
        if any(o.output_type == "error" for o in cell.outputs):
            yield f"{place}: it raised an error."
        if any(o.get("name") == "stderr" for o in cell.outputs):
            yield f"{place}: it wrote to stderr."
        pictures = [
            o
            for o in cell.outputs
            if any(k.startswith("image/") for k in o.get("data", {}))
        ]
        image = cell.metadata.get("mystnb", {}).get("image", {})
        if pictures and not image.get("alt", "").strip():
            yield f"{place}: its picture has no alt text (mystnb.image.alt)."
        if len(pictures) > 1:
            yield f"{place}: it has two pictures, but one alt text."


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code"]


def _is_skipped(cell: NotebookNode) -> bool:
    return SKIP in cell.metadata.get("tags", [])


def _pictures(notebook: NotebookNode, book: Path) -> list:
    """Return the cells whose picture other pages show, and the files.

    Such a cell names the file in its metadata, as "picture".
    """
    return [
        (cell, book / cell.metadata["picture"])
        for cell in _code(notebook)
        if "picture" in cell.metadata
    ]


def _png(cell: NotebookNode) -> bytes:
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            return base64.b64decode(output["data"]["image/png"])
    return b""


def main(arguments: list[str] | None = None) -> int:
    """Weave or check; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Make the book's notebooks from its texts.",
        epilog="example: tools/weave.py 06",
    )
    parser.add_argument("chapters", nargs="*", metavar="NN")
    parser.add_argument("--check", action="store_true", help="run nothing")
    parser.add_argument(
        "--book", type=Path, default=ROOT / "book", metavar="DIR"
    )
    args = parser.parse_args(arguments)
    texts = sorted((args.book / "text").glob("*.md"))
    for chapter in args.chapters:
        if not any(t.stem.startswith(chapter) for t in texts):
            parser.error(f"there is no chapter {chapter}")
    wrong = []
    for text in texts:
        if args.chapters and not text.stem.startswith(tuple(args.chapters)):
            continue
        stored = args.book / f"{text.stem}.ipynb"
        if not args.check:
            notebook = compose(text)
            execute(notebook)
            nbformat.write(notebook, stored)
            for cell, path in _pictures(notebook, args.book):
                path.write_bytes(_png(cell))
        wrong += faults(text, stored)
    if args.check and not args.chapters:
        stems = {t.stem for t in texts}
        wrong += [
            f"{n.name} has no text."
            for n in sorted(args.book.glob("*.ipynb"))
            if n.stem not in stems
        ]
    for fault in wrong:
        print(fault, file=sys.stderr)
    if wrong:
        print(
            "The notebooks are not what the texts give; mend the text, then "
            "run tools/weave.py with the chapter's number.",
            file=sys.stderr,
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
