"""What runs by itself names what exists, and a release is what it says."""

import os
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from subprocess import CompletedProcess

import nbformat
import pytest
import yaml
from support import ROOT, checkout, git, ran

import detr_lite

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
TAG = f"v{detr_lite.__version__}"


def workflow(name: str) -> dict:
    # YAML takes the key "on" for a truth.
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    return yaml.safe_load(path.read_text())


def commands(name: str) -> list[str]:
    """Return the lines that a workflow's steps run."""
    return [
        line.strip()
        for job in workflow(name)["jobs"].values()
        for step in job["steps"]
        for line in step.get("run", "").splitlines()
    ]


@pytest.mark.parametrize(
    "name", [p.stem for p in (ROOT / ".github" / "workflows").glob("*")]
)
def test_a_workflow_names_what_exists(name):
    content = workflow(name)
    assert content["name"] == name
    assert content[True]
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"[\w/-]+@v\d+", step.get("uses", "a/b@v1"))
    for line in commands(name):
        for target in re.findall(r"^make (\w+)", line):
            assert target in TARGETS
        for file in re.findall(r"(?:^|\s)((?:\.ci|tools)/[\w.]+)", line):
            assert (ROOT / file).is_file()


def test_the_oldest_and_the_newest_dependencies_are_tried():
    job = workflow("tests")["jobs"]["dependencies"]
    tried = {e["resolution"] for e in job["strategy"]["matrix"]["include"]}
    assert tried == {"lowest-direct", "highest"}
    assert "make fast" in commands("tests")
    assert "$RESOLUTION" in (ROOT / "tools" / "setup_env.sh").read_text()


def test_what_is_no_fast_test_exists():
    names = re.search(r"^SLOW = ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)[1]
    for name in names.replace("\\", "").split():
        assert list((ROOT / "tests").glob(f"test_{name}.py")), name


def test_make_help_lists_what_a_person_calls():
    listed = set(re.findall(r'echo "make (\w+)', MAKEFILE))
    assert listed == TARGETS - {"help", "env"}


def test_hooks_run_what_the_lock_pins_and_leave_notebooks_alone():
    wanted = {re.match(r"[\w-]+", r)[0] for r in
              PROJECT["optional-dependencies"]["test"]}  # fmt: skip
    (repo,) = HOOKS["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert re.match(r"\.venv/bin/(\w+)", hook["entry"])[1] in wanted
    assert re.search(HOOKS["exclude"], "book/01_encoded_image.ipynb")
    assert not re.search(HOOKS["exclude"], "book/text/01_encoded_image.md")


def test_one_version_stands_everywhere():
    assert PROJECT["version"] == detr_lite.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == detr_lite.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## {detr_lite.__version__}\n" in changes


def release(place: Path) -> CompletedProcess[str]:
    settings = {
        "PYTHON": sys.executable,
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
    return ran(place / "tools" / "release.sh", env=os.environ | settings)


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """The files of this checkout as a repository, and a release of it."""
    if not Path(sys.executable).with_name("uv").exists():
        pytest.skip("needs uv, which tools/setup_env.sh installs")
    place = tmp_path_factory.mktemp("released")
    checkout(place)
    # As on main, whatever this checkout is.
    command = [sys.executable, "tools/address.py", "--ref", "main"]
    ran(*command, cwd=place, check=True)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "as it is")
    done = release(place)
    assert done.returncode == 0, done.stderr
    return place


def test_a_release_carries_its_tag_and_main_goes_on(released):
    assert git(released, "tag").split() == [TAG]
    assert git(released, "status", "--porcelain") == ""
    assert git(released, "branch", "--show-current") == ""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        name = f"book/{path.name}"
        for commit, ref in ((TAG, TAG), ("main", "main")):
            text = git(released, "show", f"{commit}:{name}")
            cells = nbformat.reads(text, as_version=4).cells
            source = "\n".join(cell.source for cell in cells)
            assert f"/blob/{ref}/{name}" in source
            assert set(re.findall(r"\.git@([\w.-]+)", source)) == {ref}


def test_the_wheel_holds_types_and_weights(released):
    (wheel,) = (released / "dist").glob("*.whl")
    assert list((released / "dist").glob("*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "detr_lite/py.typed" in names
    assert "detr_lite/_data/scenes.safetensors" in names


def test_a_version_is_released_once(released):
    done = release(released)
    assert done.returncode == 1
    assert done.stderr.startswith(f"There is a {TAG} already")
    (released / "README.md").write_text("changed")
    done = release(released)
    git(released, "checkout", "-q", "README.md")
    assert done.returncode == 1
    assert done.stderr.startswith("There are changes")
