"""The notebooks are what their texts give, and the checker can tell."""

import base64
import importlib.util
import io
import re
import shutil
import sys

import nbformat
import numpy as np
import pytest
import weave
import yaml
from PIL import Image
from support import ROOT, ran

BOOK = ROOT / "book"
TEXTS = sorted((BOOK / "text").glob("*.md"))
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))


def copied(folder, chapter="01"):
    """Return a book of one chapter, a copy: change it and check it."""
    book = folder / "book"
    shutil.copytree(BOOK / "_assets", book / "_assets")
    (book / "text").mkdir()
    for pattern in (f"{chapter}_*.ipynb", f"text/{chapter}_*.md"):
        (path,) = BOOK.glob(pattern)
        shutil.copy(path, book / path.relative_to(BOOK))
    return book


@pytest.fixture
def copy(tmp_path):
    return copied(tmp_path)


def edit(book, change):
    """Change the notebook of a copied book."""
    (path,) = book.glob("*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def code(notebook, number=0):
    """Return a code cell after the first, which every notebook shares."""
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return cells[number + 1]


def picture(notebook):
    """Return the first cell that draws."""
    return next(
        c for c in notebook.cells if "image" in c.metadata.get("mystnb", {})
    )


def test_the_book_is_what_its_texts_give(capsys):
    assert weave.main(["--check"]) == 0
    assert capsys.readouterr() == ("", "")
    assert NOTEBOOKS


def test_a_changed_text_is_noticed(copy, capsys):
    text = sorted((copy / "text").glob("*.md"))[0]
    text.write_text(text.read_text() + "\nOne more sentence.\n")
    assert weave.main(["--check", "--book", str(copy)]) == 1
    assert "fix the text" in capsys.readouterr().err


def test_a_notebook_without_a_text_is_noticed(copy, capsys):
    path = sorted(copy.glob("*.ipynb"))[0]
    shutil.copy(path, copy / "99_no_text.ipynb")
    assert weave.main(["--check", "--book", str(copy)]) == 1
    assert "99_no_text.ipynb has no text." in capsys.readouterr().err


def test_a_missing_notebook_is_noticed(copy, capsys):
    sorted(copy.glob("*.ipynb"))[0].unlink()
    assert weave.main(["--check", "--book", str(copy)]) == 1
    assert "is missing." in capsys.readouterr().err


def _source(notebook):
    code(notebook).source += "\nprint(1)"


def _prose(notebook):
    notebook.cells[0].source += "\nAnd more."


def _tags(notebook):
    code(notebook).metadata["tags"] = ["nbval-ignore-output"]


def _dropped(notebook):
    del notebook.cells[-1]


def _identity(notebook):
    code(notebook).id = "other"


def _metadata(notebook):
    notebook.metadata["kernelspec"]["name"] = "my-kernel"


def _not_run(notebook):
    code(notebook, 3).execution_count = None
    code(notebook, 3).outputs = []


def _out_of_order(notebook):
    first, second = code(notebook, 0), code(notebook, 1)
    first.execution_count, second.execution_count = 2, 1


def _error(notebook):
    code(notebook).outputs = [nbformat.v4.new_output("error", ename="E")]


def _stderr(notebook):
    code(notebook).outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="warning")
    ]


def _timing(notebook):
    code(notebook).metadata["execution"] = {"iopub.execute_input": "now"}


def _no_alt(notebook):
    picture(notebook).metadata["mystnb"]["image"]["alt"] = " "


def _two_pictures(notebook):
    picture(notebook).outputs *= 2


def _large(notebook):
    code(notebook).outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a" * 2_000_000)
    ]


def _other_picture(notebook):
    cell = next(c for c in notebook.cells if "picture" in c.metadata)
    for output in cell.outputs:
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = "QUJD"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_source, "the source is not the text's"),
        (_prose, "the source is not the text's"),
        (_tags, "the metadata is not the text's"),
        (_dropped, "cells"),
        (_identity, "the id is not the text's"),
        (_metadata, "the metadata are not those"),
        (_not_run, "was not run in order"),
        (_out_of_order, "was not run in order"),
        (_error, "raised an error"),
        (_stderr, "wrote to stderr"),
        (_timing, "holds times of execution"),
        (_no_alt, "has no alt text"),
        (_two_pictures, "has two images"),
        (_large, "more than 2000000 bytes"),
        (_other_picture, "is not the image"),
    ],
)
def test_a_changed_notebook_is_noticed(tmp_path, capsys, change, words):
    # The image that other pages show is chapter 6's.
    book = copied(tmp_path, "06" if change is _other_picture else "01")
    edit(book, change)
    assert weave.main(["--check", "--book", str(book)]) == 1
    assert words in capsys.readouterr().err


def test_a_notebook_is_woven_and_run(tmp_path, capsys):
    (tmp_path / "text").mkdir()
    text = tmp_path / "text" / "01_small.md"
    text.write_text(
        "# Small\n\n[Colab]({COLAB})\n\n"
        "```{code-cell}\n:tags: [solution]\n#@title A solution\n```\n\n"
        "```{code-cell}\nx = 2\n```\n\n```{code-cell}\nprint(x + 1)\n```\n"
    )
    arguments = ["--book", str(tmp_path)]
    assert weave.main(arguments) == 0
    stored = tmp_path / "01_small.ipynb"
    first = stored.read_bytes()
    cells = nbformat.reads(first.decode(), as_version=4).cells
    branch = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"][
        "branch"
    ]
    assert cells[0].source.endswith(f"/blob/{branch}/book/01_small.ipynb)")
    assert cells[1].metadata["tags"] == ["solution", "hide-cell"]
    assert cells[1].metadata["cellView"] == "form"
    assert cells[3].outputs[0].text == "3\n"
    assert weave.main([*arguments, "--check"]) == 0
    # Running it again gives the same bytes.
    assert weave.main(arguments) == 0
    assert stored.read_bytes() == first


def test_what_is_folded_says_what_it_hides(tmp_path, monkeypatch):
    """And the strip of stages links to the chapters, but for its own."""
    text = tmp_path / "02_box_embeddings.md"
    text.write_text(
        "# Two\n\n{STRIP}\n\n```{code-cell}\nsetup: 1 second\n```\n\n"
        "```{code-cell}\n:fold: the imports\nimport torch\n```\n\n"
        "```{code-cell}\n:fold: true\n\nbuild: detr_lite.detr.found\n```\n\n"
        "```{code-cell}\nopen\n```\n"
    )
    head, setup, imports, built, last = weave.compose(text).cells
    assert "[1 encoded image](01_encoded_image.ipynb)" in head.source
    assert "**2 box embeddings**" in head.source
    shown = [
        cell.metadata["mystnb"]["code_prompt_show"]
        for cell in (setup, imports, built)
    ]
    count = sum(bool(line) for line in built.source.splitlines())
    assert shown == [
        "Show the set-up",
        "Show the imports",
        f"Show the {count} lines of found",
    ]
    assert "hide-cell" in setup.metadata["tags"]
    for cell in (imports, built):
        assert cell.metadata["tags"] == ["hide-input"]
        assert cell.metadata["jupyter"] == {"source_hidden": True}
    assert "fold" not in imports.metadata
    assert not last.metadata


def test_prose_is_renewed_and_outputs_stay(copy, capsys):
    text = sorted((copy / "text").glob("*.md"))[0]
    stored = copy / f"{text.stem}.ipynb"
    before = nbformat.read(stored, as_version=4).cells
    text.write_text(text.read_text() + "\nOne more sentence.\n")
    arguments = ["--text", text.stem[:2], "--book", str(copy)]
    assert weave.main(arguments) == 0
    after = nbformat.read(stored, as_version=4).cells
    assert after[-1].source.endswith("One more sentence.")
    assert [c.get("outputs") for c in after] == [
        c.get("outputs") for c in before
    ]
    text.write_text(text.read_text() + "\n```{code-cell}\n1\n```\n")
    with pytest.raises(SystemExit, match="has changed: run it again"):
        weave.main(arguments)


def test_an_unknown_chapter_is_refused(capsys):
    with pytest.raises(SystemExit):
        weave.main(["--check", "77"])
    assert "there is no chapter 77" in capsys.readouterr().err


def prose(path):
    """Yield the Markdown cells of a notebook."""
    notebook = nbformat.read(path, as_version=4)
    yield from (c.source for c in notebook.cells if c.cell_type == "markdown")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_prose_reads_the_same_everywhere(path):
    for source in prose(path):
        # Directives and roles are MyST's alone: Colab shows them raw.
        assert not re.search(r"^(`{3,}|:{3,})\{", source, re.MULTILINE)
        assert not re.search(r"\{[a-z:-]+\}`", source)
        # An image by address would be asked from another host.
        assert not re.search(r"!\[[^]]*\]\(https?:", source)
        assert "{COLAB}" not in source


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_code_fits_the_page(path):
    notebook = nbformat.read(BOOK / f"{path.stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert max(map(len, lines)) <= 79
            folded = "mystnb" in cell.metadata and (
                "code_prompt_show" in cell.metadata["mystnb"]
            )
            loop = "def train_plainly(" in lines[0]
            most = 60 if folded or loop else 20
            assert len(lines) <= most, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_few_outputs_are_left_unchecked(path):
    notebook = nbformat.read(path, as_version=4)
    unchecked = [
        c
        for c in notebook.cells
        if "nbval-ignore-output" in c.metadata.get("tags", [])
    ]
    assert len(unchecked) <= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_solutions_compile(path):
    for source in prose(path):
        for solution in re.findall(
            r"<details>.*?```python\n(.*?)```", source, re.DOTALL
        ):
            compile(solution, path.stem, "exec")


def drawn(pixels):
    """Return a cell's outputs that hold one image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    return [{"output_type": "display_data", "data": data, "metadata": {}}]


def test_pictures_are_compared_with_the_stored_ones():
    spec = importlib.util.spec_from_file_location(
        "book_pictures", BOOK / "conftest.py"
    )
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    page = np.full((40, 40, 3), 200, np.uint8)
    line = page.copy()
    line[20] = 0
    assert pictures.difference(drawn(page), drawn(page)) == ""
    assert "by 5.00 gray levels" in pictures.difference(
        drawn(line), drawn(page)
    )
    (html,) = drawn(line)
    text = html["data"].pop("image/png")
    html["data"]["text/html"] = f'<img src="data:image/png;base64,{text}"/>'
    assert "5.00 gray" in pictures.difference([html], drawn(page))
    assert "stored one" in pictures.difference(drawn(page[1:]), drawn(page))
    assert "0 images were drawn" in pictures.difference([], drawn(page))


def test_a_changed_picture_is_noticed_unless_it_varies(tmp_path):
    """And a changed print, by nbval itself."""
    text = nbformat.v4.new_output("stream", name="stdout", text="no")
    white = drawn(np.full((9, 9, 3), 255, np.uint8))
    draw = f"display({drawn(np.zeros((9, 9, 3), np.uint8))[0]['data']}, raw=1)"
    notebook = nbformat.v4.new_notebook()
    for source, outputs, tags in (
        ("print('yes')", [text], []),
        (draw, white, []),
        (draw, white, ["picture-varies"]),
        (draw, white, ["nbval-ignore-output"]),
    ):
        cell = nbformat.v4.new_code_cell(source, execution_count=1)
        cell.outputs = [nbformat.from_dict(output) for output in outputs]
        cell.metadata["tags"] = tags
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "drawn.ipynb")
    shutil.copy(BOOK / "conftest.py", tmp_path)
    done = ran(
        sys.executable, "-m", "pytest", "-q", "--nbval",
        "--nbval-current-env", "-p", "no:cacheprovider", "drawn.ipynb",
        cwd=tmp_path,
    )  # fmt: skip
    failed = re.findall(r"FAILED drawn.ipynb::Cell (\d)", done.stdout)
    assert failed == ["0", "1"], done.stdout
    assert "2 passed" in done.stdout
