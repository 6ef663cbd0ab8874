"""The files around the package agree, and importing it stays cheap."""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support import ROOT, git, ran

import detr_lite

PACKAGE = ROOT / "detr_lite"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


LOCKS = ("requirements.lock", "detr_lite/teaching/nuclei.txt")


def lines_of_the_lock(name: str = LOCKS[0]) -> list[str]:
    """Return a line for each pin, with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    return [x for x in text.splitlines() if x and not x.startswith("#")]


def locked() -> dict[str, list[Requirement]]:
    """Return the pins of requirements.lock by normalized name."""
    pins: dict[str, list[Requirement]] = {}
    for line in lines_of_the_lock():
        requirement = Requirement(line.partition(" --hash")[0])
        pins.setdefault(normalized(requirement.name), []).append(requirement)
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


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_hashes_of_everything(name):
    """What is installed is what was there when the lock was made."""
    for line in lines_of_the_lock(name):
        hashes = line.split()[-line.count("--hash") :]
        assert hashes
        for given in hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", given), line


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_place(name):
    """No index of one company or machine: names and versions alone."""
    text = (ROOT / name).read_text()
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


def test_the_workflow_tries_every_python_that_is_named():
    """3.14 is listed there, and the README says that nobody has tried it."""
    path = ROOT / ".github" / "workflows" / "tests.yml"
    job = yaml.safe_load(path.read_text())["jobs"]["tests"]
    versions = job["strategy"]["matrix"]["python"]
    readme = (ROOT / "README.md").read_text()
    allowed = SpecifierSet(PROJECT["requires-python"])
    for version in versions:
        assert version in readme
        assert allowed.contains(f"{version}.0")


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ((3, 10, 14), False),
        ((3, 11, 2), True),
        ((3, 12, 0), False),
        ((3, 12, 1), False),
        ((3, 12, 2), True),
        ((3, 14, 0), True),
    ],
)
def test_set_up_takes_a_python_that_works(tmp_path, version, taken):
    """Of which one stands here: it says its version, and can no more."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/setup_env.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && exec {sys.executable} -c "{code}" "$2"\n'
        "echo made with it; exit 3\n"
    )
    python.chmod(0o755)
    (tmp_path / "bin").mkdir()  # without any other Python
    for name in ("cat", "cksum", "dirname", "rm", "sh"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = ran(
        tmp_path / "tools" / "setup_env.sh",
        env={"PATH": str(tmp_path / "bin"), "PYTHON": str(python)},
    )
    made = "made with it" in done.stdout
    assert made == taken


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
    code += "\nimport sys; print(*sys.modules)"
    done = ran(sys.executable, "-c", code, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {
    "accelerate",
    "IPython",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pycocotools",
    "scipy",
    "torch",
    "torchvision",
    "transformers",
}
HELP = """
from detr_lite.cli.main import main
try: main(['--help'])
except SystemExit: pass"""


@pytest.mark.parametrize(
    "code", ["import detr_lite", "import detr_lite; dir(detr_lite)", HELP]
)
def test_importing_the_package_and_asking_for_help_need_no_torch(code):
    assert imported_by(code) & HEAVY == set()


@pytest.mark.parametrize("name", detr_lite.__all__)
def test_what_a_user_holds_can_be_taken_from_the_package(name):
    assert name in dir(detr_lite)
    assert getattr(detr_lite, name).__name__ == name


def test_a_name_that_the_package_lacks_is_named():
    with pytest.raises(AttributeError, match="no attribute 'cat'"):
        detr_lite.cat  # noqa: B018


def test_imports_go_one_way():
    """The layers, and which rooms know of which, stand in pyproject.toml."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = ran(lint, "--no-cache", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_top_floor_is_small():
    """What the chapters build, and little more."""
    assert len(list(PACKAGE.glob("*.py"))) <= 20


def tree(file: str, folder: str) -> set[str]:
    """Return the paths that the tree of a page lists below a folder."""
    text = (ROOT / file).read_text("utf-8")
    pattern = rf"^```text\n{folder}/\n(.*?)^```"
    (block,) = re.findall(pattern, text, re.M | re.S)
    paths, stack = set(), []
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        stack[depth:] = [name.rstrip("/")]
        assert len(line.split()) > 1, f"{name} has no word on what it is"
        paths.add("/".join(stack))
    return paths


def test_the_tree_in_contributing_has_every_module():
    there = {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" or path.parent == PACKAGE
    }
    there |= {
        str(path.parent.relative_to(PACKAGE))
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE
    }
    assert tree("CONTRIBUTING.md", "detr_lite") == there


def test_the_tree_in_the_readme_has_every_folder():
    names = {str(path.relative_to(ROOT)) for path in tracked()}
    folders = {n.split("/")[0] for n in names if "/" in n}
    rooms = {
        str(p.parent.relative_to(ROOT)) for p in PACKAGE.glob("*/__init__.py")
    }
    shown = tree("README.md", "detr-lite")
    assert shown >= {f for f in folders if f[0] != "."} | rooms
    assert {name for name in shown if not (ROOT / name).exists()} == set()


def tracked() -> list[Path]:
    names = git(ROOT, "ls-files", "-z").split("\0")
    return [ROOT / name for name in names if name]


def test_no_file_in_the_repository_is_large():
    sizes = {p.name: p.stat().st_size for p in tracked() if p.is_file()}
    assert {n: s for n, s in sizes.items() if s > 8 * 2**20} == {}


def python_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("number", range(len(python_blocks())))
def test_the_readmes_python_runs(number, tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = ran(sys.executable, "-c", python_blocks()[number], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_environment_behind_a_link_is_left_alone(tmp_path):
    """Setting up begins by emptying .venv."""
    for name in (
        "tools/setup_env.sh",
        "requirements.lock",
        "pyproject.toml",
        "detr_lite/teaching/nuclei.txt",
    ):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "new" / name)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    (tmp_path / "new" / ".venv").symlink_to(tmp_path / "other")
    done = ran(tmp_path / "new/tools/setup_env.sh")
    assert done.returncode == 1
    assert ".venv is a link" in done.stderr
    assert (tmp_path / "other" / "file").read_text() == "mine"
