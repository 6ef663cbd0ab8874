"""The files around the package agree, and importing it stays cheap."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "detr_lite"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def locked() -> dict[str, list[Requirement]]:
    """Return the pins of requirements.lock by normalized name."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            pins.setdefault(normalized(requirement.name), []).append(
                requirement
            )
    return pins


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> list[str]:
    return [*PROJECT["dependencies"], *(r for e in EXTRAS.values() for r in e)]


@pytest.mark.parametrize("text", required())
def test_the_lock_pins_what_the_project_asks_for(text):
    wanted = Requirement(text)
    pins = locked()[normalized(wanted.name)]
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert wanted.specifier.contains(specifier.version)


def test_the_lock_pins_one_version_of_everything():
    for name, pins in locked().items():
        markers = [str(pin.marker) for pin in pins]
        assert len(set(markers)) == len(markers), name
        for pin in pins:
            assert pin.url is None
            assert [s.operator for s in pin.specifier] == ["=="], name


def test_the_lock_names_no_place():
    """No index of one company or machine: names and versions alone."""
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--(index|find|extra)|^-|@|\bfile:", text, re.M)


def test_what_runs_here_is_what_the_lock_pins():
    """The tests speak for the pinned versions, not for others."""
    from importlib.metadata import version

    for name in ("torch", "numpy", "transformers", "torchmetrics"):
        pins = [
            pin
            for pin in locked()[name]
            if pin.marker is None or pin.marker.evaluate()
        ]
        assert len(pins) == 1
        assert pins[0].specifier.contains(version(name))


def conda() -> list[str]:
    return [d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)]


def test_the_conda_environment_has_no_unknown_keys():
    known = {"name", "channels", "dependencies", "variables"}
    assert set(ENVIRONMENT) <= known
    assert ENVIRONMENT["name"] == PROJECT["name"]


def test_condas_python_is_one_the_project_runs_on():
    (python,) = [d for d in conda() if re.match(r"python\b", d)]
    version = python.removeprefix("python").lstrip("=")
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert allowed.contains(f"{version}.0")


def test_conda_installs_the_project_with_pip():
    (pip,) = [
        d["pip"] for d in ENVIRONMENT["dependencies"] if d not in conda()
    ]
    assert any(re.match(r"pip\b", d) for d in conda())
    (line,) = pip  # all versions are held in pyproject.toml
    extras = re.fullmatch(r"-e \.\[(.+)\]", line)[1].split(",")
    assert set(extras) == set(EXTRAS)


def imported_by(code: str) -> set[str]:
    """Return the top-level modules that code imports in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {
    "accelerate",
    "IPython",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pycocotools",
    "torchvision",
    "transformers",
}


def test_importing_the_package_costs_torch_and_little_more():
    assert imported_by("import detr_lite") & HEAVY == set()


def test_help_costs_no_more_than_that():
    code = (
        "from detr_lite.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass"
    )
    assert imported_by(code) & HEAVY == set()


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "detr_lite":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("detr_lite."):
                found.add(node.module.removeprefix("detr_lite."))
    return found & {p.stem for p in PACKAGE.glob("*.py")}


def top_imports(path: Path) -> set[str]:
    """Return the modules of the package imported when the file is."""
    tree = ast.parse(path.read_text())
    body = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    return {
        node.module.removeprefix("detr_lite.")
        for node in body
        if node.module and node.module.startswith("detr_lite.")
    }


TOP = {"book", "cli", "commands", "plots", "__main__", "__init__"}


@pytest.mark.parametrize(
    "path",
    [p for p in PACKAGE.glob("*.py") if p.stem not in TOP],
    ids=lambda p: p.stem,
)
def test_nothing_below_imports_plots_book_or_cli(path):
    """Drawing is called by a prediction that shows itself, when it does."""
    assert top_imports(path) & TOP == set()
    draws = path.stem in ("prediction", "detections")
    inside = {"plots"} if draws else set()
    assert imports(path) & TOP <= inside


def test_imports_go_one_way():
    """Along them, no module is reached from itself."""
    arrows = {p.stem: top_imports(p) for p in PACKAGE.glob("*.py")}

    def reached(name, seen):
        for other in arrows[name] - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    for name in arrows:
        assert name not in reached(name, set())


LAYERS = ["backbone", "transformer", "detr", "panoptic_detr", "losses"]


@pytest.mark.parametrize("place", range(len(LAYERS)))
def test_the_model_is_built_from_below(place):
    later = {*LAYERS[place + 1 :], "training", "evaluation", "models"}
    assert imports(PACKAGE / f"{LAYERS[place]}.py") & later == set()


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_file_in_the_repository_is_large():
    sizes = {p.name: p.stat().st_size for p in tracked() if p.is_file()}
    assert {n: s for n, s in sizes.items() if s > 8 * 2**20} == {}


def python_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("number", range(len(python_blocks())))
def test_the_readmes_python_runs(number, tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = subprocess.run(
        [sys.executable, "-c", python_blocks()[number]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_environment_behind_a_link_is_left_alone(tmp_path):
    """Setting up begins by emptying .venv."""
    for name in ("tools/setup_env.sh", "requirements.lock", "pyproject.toml"):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "new" / name)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    (tmp_path / "new" / ".venv").symlink_to(tmp_path / "other")
    done = subprocess.run(
        [tmp_path / "new/tools/setup_env.sh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert ".venv is a link" in done.stderr
    assert (tmp_path / "other" / "file").read_text() == "mine"
