"""On Colab: each notebook runs alone, and its first cell installs the rest.

An environment with torch, torchvision, matplotlib, scipy, scikit-image and
ipykernel only, an empty folder, an empty home, and git told to take the
repository from a local copy instead of its address: there nbval runs the
notebooks unchanged and compares what they print and draw.  So `make test`
need not run them once more beside the package.

Chapter 6 is the exception.  Here its training is cut short, and nothing is
compared; as it was woven it runs in the development environment.  Nor is
chapter 7 compared where there is no wheel with its micrograph.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import yaml
from support import ROOT, checkout, git, ran

from detr_lite.teaching.nuclei import micrograph

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
THERE = (
    "torch",
    "torchvision",
    "matplotlib",
    "scipy",
    "scikit-image",
    "ipykernel",
)
UV = Path(sys.executable).with_name("uv")
LEFT_OUT = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
SHORT = """
from dataclasses import replace

phases = [replace(phase, steps=8) for phase in recipe.phases]
recipe = replace(recipe, phases=tuple(phases))
"""

pytestmark = pytest.mark.skipif(
    not UV.exists(), reason="needs uv, which tools/setup_env.sh installs"
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """The files of this checkout as a repository of their own."""
    place = tmp_path_factory.mktemp("repository")
    checkout(place)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "as it is")
    return place


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of an environment like Colab's."""
    place = tmp_path_factory.mktemp("colab") / "venv"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    pins = ROOT / "requirements.lock"
    subprocess.run(
        [UV, "pip", "install", "-q", "--python", python, "--link-mode",
         "symlink", "--constraint", pins, *THERE],
        check=True,
    )  # fmt: skip
    return python


def run(path: Path, python: Path, repository: Path, place: Path) -> str:
    """Run a notebook in an empty folder; return what is wrong, or ""."""
    work, kernel = place / "work", place / "kernels" / "colab"
    for folder in (place / "home", work, kernel):
        folder.mkdir(parents=True)
    launch = [str(python), "-m", "ipykernel_launcher", "-f"]
    spec = {"argv": [*launch, "{connection_file}"], "display_name": "Colab"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    notebook, compared = notebook_of(path)
    nbformat.write(notebook, work / path.name)
    shutil.copy(ROOT / "book" / "conftest.py", work)  # it compares images
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    done = ran(
        sys.executable, "-m", "pytest", "-q", "-x", "--color=no",
        "--nbval" if compared else "--nbval-lax",
        "--nbval-kernel-name=colab", "--nbval-cell-timeout=600",
        f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}",
        "-p", "no:cacheprovider", path.name,
        cwd=work,
        env={k: v for k, v in os.environ.items() if k not in LEFT_OUT} | {
            "HOME": str(place / "home"),
            "JUPYTER_PATH": str(place),
            "OMP_NUM_THREADS": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
            "GIT_CONFIG_VALUE_0": settings["repository"]["url"] + ".git",
        },
    )  # fmt: skip
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)  # without colors
    return plain.strip()[-3000:] if done.returncode else ""


def versions(python: Path) -> list[str]:
    """Return what is installed of what Colab brings."""
    done = ran(UV, "pip", "freeze", "-q", "--python", python, check=True)
    return [x for x in done.stdout.split() if x.split("==")[0] in THERE]


def notebook_of(path: Path):
    """Return a notebook, and whether what it shows is compared.

    The training of chapter 6 is cut short.
    """
    notebook = nbformat.read(path, as_version=4)
    if path.name.startswith("07"):
        return notebook, micrograph().real
    whole = not path.name.startswith("06")
    if not whole:
        first = next(
            i
            for i, cell in enumerate(notebook.cells)
            if "recipe = preset(name)" in cell.source
        )
        cell = nbformat.v4.new_code_cell(SHORT)
        notebook.cells.insert(first + 1, cell)
    return notebook, whole


@pytest.fixture(scope="module")
def runs(python, repository, tmp_path_factory) -> dict[str, str]:
    """Every notebook's error, "" where all is well, and two things more.

    Without the repository the first notebook fails, as "failed"; the first
    that runs with it installs the package.
    """
    errors = {}

    def one(path: Path) -> tuple[str, str]:
        place = tmp_path_factory.mktemp(path.stem)
        return path.stem, run(path, python, repository, place)

    before = versions(python)
    place = tmp_path_factory.mktemp("failed")
    nowhere = place / "nowhere"
    errors["failed"] = run(NOTEBOOKS[0], python, nowhere, place)
    errors |= [one(NOTEBOOKS[0])]
    with ThreadPoolExecutor(2) as pool:
        errors |= pool.map(one, NOTEBOOKS[1:])
    same = versions(python) == before
    errors["torch"] = "" if same else "what was there was changed"
    return errors


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_alone_and_shows_what_is_stored(runs, path):
    assert runs[path.stem] == ""


def test_torch_is_left_as_it_was(runs):
    assert runs["torch"] == ""


def test_a_failed_installation_is_one_clear_sentence(runs):
    sentence = "The package was not installed: is there a network?"
    assert f"\nSystemExit: {sentence}\n" in runs["failed"]


def test_the_package_came_from_the_repository(runs, python, tmp_path):
    code = "import detr_lite; print(detr_lite.__file__)"
    done = ran(python, "-Ic", code, cwd=tmp_path, check=True)
    assert done.stdout.startswith(str(python.parent.parent))


def test_every_notebook_has_the_same_first_cell():
    """But for the time it takes: one that installs stands for all."""
    firsts = set()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        code = [c.source for c in notebook.cells if c.cell_type == "code"]
        firsts.add(code[0].partition("start(")[0])
    assert len(firsts) == 1
    assert "pip" in firsts.pop()
