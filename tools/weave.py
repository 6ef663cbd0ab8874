"""Make the book's notebooks from its texts: tools/weave.py [NN ...].

Authors edit book/text/NN_name.md (Jupytext's MyST Markdown).  This program
turns a text into book/NN_name.ipynb, runs it, and stores it with its outputs;
the site, Colab and the tests read the notebook.

In a code cell of a text, these lines stand for more:

    setup: 40 seconds             installs and starts; the time on a CPU
    setup: 6 minutes, training    the same, where a model is trained
    build: detr_lite.module.Name  the code of the package's class or function
    build: detr_lite.module.Name without method other
    build: detr_lite.module.Name.method

Folded cells stay so on the site, in Colab and in JupyterLab: the set-up; a
cell with the tag "solution", output and all; and a cell whose header says
`fold: the imports`, or `fold: true` for the lines of what it builds.  The
output of an exercise that waits for its answer is left out on the site.

The word {STRIP} in a text stands for a line of all stages of the pipeline,
which links to the other chapters.

With --text nothing runs either: the prose is renewed and the outputs stay,
provided that no code cell has changed.

With --check nothing runs: the stored notebooks are compared with what the
texts give, and their outputs are inspected.  The exit code is 1 if anything
is wrong, and each fault is one line.
"""

import argparse
import ast
import base64
import hashlib
import os
import re
import sys
import tempfile
import textwrap
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
STAGES = {
    "01_encoded_image": "encoded image",
    "02_box_embeddings": "box embeddings",
    "03_attention_maps": "attention maps",
    "04_fpn_features": "masks",
    "05_training_steps": "panoptic segmentation",
}
SETUP = """\
# On Colab this installs the package; elsewhere it is there already.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("detr_lite") is None:
    package = "detr-lite @ git+{REPOSITORY}.git@{BRANCH}"
    pip = [sys.executable, "-m", "pip", "install", "-q", package]
    if subprocess.run(pip).returncode:
        sys.exit("The package was not installed: is there a network?")

from detr_lite.teaching.book import start

start(TIMES)"""


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
        "{BRANCH}": place["branch"],
        "{STRIP}": strip(text.stem),
    }
    notebook = jupytext.reads(text.read_text("utf-8"), fmt="md:myst")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            written, cell.source = cell.source, _filled(cell.source)
            _fold(cell, written)
        for word, address in words.items():
            cell.source = cell.source.replace(word, address)
    identify(notebook.cells)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def strip(stem: str) -> str:
    """Return the stages of the pipeline in a line, that of a text in bold."""
    names = [
        f"**{number} {name}**"
        if chapter == stem
        else f"[{number} {name}]({chapter}.ipynb)"
        for number, (chapter, name) in enumerate(STAGES.items(), 1)
    ]
    return "> " + " → ".join(["image", *names])


def identify(cells: list[NotebookNode]) -> None:
    """Give each cell an id from its content: moving one changes no other."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = f"{digest}-{seen[digest]}"


def _filled(source: str) -> str:
    """Return a cell with its setup and build lines filled in."""
    lines = []
    for line in source.splitlines():
        kind, _, rest = line.partition(": ")
        if kind == "setup":
            time, _, training = rest.partition(", ")
            more = ", trains=True" if training else ""
            line = SETUP.replace("TIMES", f'"{time.strip()}"{more}')
        elif kind == "build":
            name, _, left_out = rest.partition(" without ")
            line = build_cell(name.strip(), left_out.split())
            line = "\n\n" * bool(lines) + line
        lines.append(line)
    return "\n".join(lines)


def build_cell(path: str, left_out: list[str]) -> str:
    """Return the code of one of the package's definitions, with @build.

    path: "detr_lite.module.Name" or "detr_lite.module.Name.method".
    left_out: methods of a class to leave out.
    Docstrings are cut to their first paragraph: the text says the rest.
    """
    package, module, *names = path.split(".")
    file = ROOT / package / f"{module}.py"
    lines = file.read_text("utf-8").splitlines()
    node, drop = ast.parse("\n".join(lines)), set()
    for name in names:
        children = {getattr(n, "name", None): n for n in node.body}
        if name not in children:
            sys.exit(f"There is no {path} to build.")
        node = children[name]
    for child in ast.walk(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef):
            continue
        if child.name in left_out:
            drop |= set(range(_first_line(child) - 1, child.end_lineno + 1))
        elif ast.get_docstring(child) is not None:
            text = child.body[0]
            first = lines[text.lineno - 1 : text.end_lineno]
            if "" in first:
                end = text.lineno - 1 + first.index("")
                lines[end - 1] += '"""'
                drop |= set(range(end + 1, text.end_lineno + 1))
    kept = [
        lines[n - 1]
        for n in range(_first_line(node), node.end_lineno + 1)
        if n not in drop
    ]
    owner = ".".join([package, module, *names[:-1]])
    text = textwrap.dedent("\n".join(kept)).strip()
    return f'@build("{owner}")\n{text}'


def _first_line(node: ast.AST) -> int:
    """Return the line of a definition, or of its first decorator."""
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _fold(cell: NotebookNode, written: str) -> None:
    """Fold a cell on the site, in Colab and in JupyterLab.

    written: its source before it was filled in.
    """
    tags, jupyter = cell.metadata.get("tags", []), {"source_hidden": True}
    fold = cell.metadata.pop("fold", None)
    if written.startswith("setup:"):
        fold, more = "the set-up", ["nbval-ignore-output", "hide-cell"]
    elif "solution" in tags:
        fold, more = "a solution", ["hide-cell"]
        jupyter["outputs_hidden"] = True
    elif fold is not None:
        more = ["hide-input"]
    else:
        if 'check("' in written:  # it says that nothing is answered yet
            cell.metadata["tags"] = [*tags, "remove-output"]
        return
    if fold is True:
        fold = _lines_of(cell.source, written)
    cell.metadata["tags"] = [*tags, *(t for t in more if t not in tags)]
    prompts = {"code_prompt_show": f"Show {fold}"}
    prompts["code_prompt_hide"] = f"Hide {fold}"
    cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | prompts
    cell.metadata["cellView"] = "form"
    cell.metadata["jupyter"] = jupyter


def _lines_of(source: str, written: str) -> str:
    """Return "the 49 lines of ResNet" for a cell that builds it."""
    count = sum(bool(line.strip()) for line in source.splitlines())
    names = re.findall(
        r"^build: detr_lite\.\w+\.([\w.]+)", written, re.MULTILINE
    )
    joined = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"the {count} lines of {joined}"


def execute(notebook: NotebookNode) -> None:
    """Run the cells in order, in an empty folder, and keep their outputs."""
    from nbclient import NotebookClient

    # Chapter 7 would look for photographs.
    offline = os.environ | {"DETR_LITE_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=3600,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute(env=offline)
    for cell in _code(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:  # one image is enough
                data.pop("image/jpeg", None)
    notebook.metadata = nbformat.from_dict(METADATA)


def renew_prose(notebook: NotebookNode, stored: Path) -> None:
    """Take over the outputs of the stored notebook, whose code is equal."""
    old = _code(nbformat.read(stored, as_version=4))
    new = _code(notebook)
    if [c.source for c in old] != [c.source for c in new]:
        sys.exit(f"The code of {stored.name} has changed: run it again.")
    for mine, theirs in zip(new, old, strict=True):
        mine.outputs = theirs.outputs
        mine.execution_count = theirs.execution_count


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
    for cell, path in _images(notebook, stored.parent):
        if not path.exists() or path.read_bytes() != _png(cell):
            yield f"{path.name} is not the image that {name} drew."


def _output_faults(name: str, notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with the outputs, whatever the text says."""
    run = 0
    for number, cell in enumerate(notebook.cells, 1):
        place = f"{name}, cell {number}"
        if cell.cell_type != "code":
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
            yield f"{place}: its image has no alt text (mystnb.image.alt)."
        if len(pictures) > 1:
            yield f"{place}: it has two images, but one alt text."


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code"]


def _images(notebook: NotebookNode, book: Path) -> list:
    """Return the cells whose image other pages show, and the files.

    Such a cell names the file in its metadata, as "image".
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
    parser.add_argument("--text", action="store_true", help="keep the outputs")
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
            if args.text:
                renew_prose(notebook, stored)
            else:
                execute(notebook)
            nbformat.write(notebook, stored)
            for cell, path in _images(notebook, args.book):
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
            "The notebooks are not what the texts give; fix the text, then "
            "run tools/weave.py with the chapter's number.",
            file=sys.stderr,
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
