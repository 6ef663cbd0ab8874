"""Run the fast tests on other Pythons and dependencies, and in odd places.

    python tools/matrix.py ARGUMENTS OF PYTEST

`make matrix` names the tests.  Each environment is made by uv in a temporary
folder, and its cache makes that cheap.  The table at the end has a line for
each; what this machine lacks is said, and does not count as a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LOCK = ("--require-hashes", "--requirement", "requirements.lock")
ALL = ".[book,export,test]"
LOCALE = "tr_TR.UTF-8"  # where the capital of i is no I
# Of the checkout, not of the package.
NOT_OF_A_WHEEL = ("environment", "models_page", "workflows")


class MissingError(Exception):
    """Something that this machine lacks."""


def run(*command, folder: Path = ROOT) -> str:
    """Run a command; return what it prints."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def uv(*arguments, folder: Path = ROOT) -> str:
    """Run uv."""
    return run(sys.executable, "-m", "uv", *arguments, folder=folder)


def python_of(version: str) -> str:
    """Return a Python that is here, uv's, PATH's or pyenv's."""
    try:
        return uv("python", "find", "--no-python-downloads", version)
    except RuntimeError:
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        for python in sorted(pyenv.glob(f"versions/{version}.*/bin/python")):
            return str(python)
    return version  # which uv may fetch


def environment(folder: Path, version: str, *requirements: str) -> Path:
    """Make an environment; return its Python."""
    try:
        uv("venv", "--quiet", "--python", python_of(version), folder)
    except RuntimeError as error:
        raise MissingError(f"no Python {version} ({error})") from error
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, *requirements)
    return python


def with_lock(folder: Path, version: str) -> Path:
    """Make an environment of what is pinned, with the checkout."""
    python = environment(folder, version, *LOCK)
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "-e", ".")
    return python


def copy_of_tests(folder: Path) -> None:
    """Copy the checkout, but for the package."""
    for name in run("git", "ls-files", "-z").split("\0"):
        if name and not name.startswith("detr_lite/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def turkish(folder: Path) -> dict[str, str]:
    """Return the variables of a Turkish locale, which may be made."""
    try:
        source = ["-i", "tr_TR", "-f", "UTF-8"]
        run("localedef", *source, folder / LOCALE)
    except (OSError, RuntimeError) as error:
        raise MissingError(f"no locale {LOCALE} ({error})") from error
    return {"LOCPATH": str(folder), "LC_ALL": LOCALE}


def outcome(
    python: Path,
    arguments: list[str],
    folder: Path = ROOT,
    **variables: str | None,
) -> str:
    """Run the tests; return pytest's last line, after the Python."""
    place = {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS"}
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider",
         "--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile",
         *arguments, "tests"],
        cwd=folder,
        env={k: v for k, v in variables.items() if v and k not in place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    last = done.stdout.strip().splitlines()[-1].strip("= ")
    exact = run(
        python, "-c", "import platform as p; print(p.python_version())"
    )
    if done.returncode:
        print(done.stdout[-5000:], flush=True)
        raise RuntimeError(f"{exact}: {last}")
    return f"{exact}: {last}"


def rows(tmp: Path, arguments: list[str]):
    """Yield the name of each line of the table, and what makes it."""
    here = [v for v in PYTHONS if python_of(v) != v] or [PYTHONS[0]]
    for version in PYTHONS:
        yield (
            f"Python {version}",
            lambda v=version: outcome(with_lock(tmp / v, v), arguments),
        )
    for name, version, resolution in (
        ("oldest dependencies", here[0], "lowest-direct"),
        ("newest dependencies", here[-1], "highest"),
    ):
        wanted = ["--resolution", resolution, "--editable", ALL]
        yield (
            name,
            lambda n=name, v=version, w=wanted: outcome(
                environment(tmp / n, v, *w), arguments
            ),
        )
    place = tmp / "a place with spaces"
    python = place / "env" / "bin" / "python"
    mine = [
        *arguments,
        *(f"--ignore-glob=*/test_{n}.py" for n in NOT_OF_A_WHEEL),
    ]

    def wheel() -> str:
        copy_of_tests(place)
        uv("build", "--quiet", "--wheel", "--out-dir", tmp / "wheel")
        environment(place / "env", here[-1], *LOCK)
        (built,) = (tmp / "wheel").glob("*.whl")
        uv("pip", "install", "--quiet", "--python", python, "--no-deps", built)
        return outcome(python, mine, place)

    yield "the wheel, in a path with spaces", wheel
    yield (
        "the same without HOME",
        lambda: outcome(python, mine, place, HOME=None),
    )
    nowhere = str(tmp / "nowhere")
    yield (
        "the same, HOME does not exist",
        lambda: outcome(python, mine, place, HOME=nowhere),
    )
    yield (
        "the same in Turkish",
        lambda: outcome(python, mine, place, **turkish(tmp)),
    )


def main() -> int:
    """Print the table; return 1 if a line of it failed."""
    table, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for name, make in rows(Path(folder), sys.argv[1:]):
            print(f"{name} ...", flush=True)
            began = time.monotonic()
            try:
                result = f"passed; {make()}"
            except MissingError as error:
                result = f"not here; {error}"
            except RuntimeError as error:
                result, failed = f"FAILED; {error}", True
            result = re.sub(r" in [\d.]+s.*", "", result)
            table.append((name, f"{result}, {time.monotonic() - began:.0f} s"))
            print(f"{name}: {table[-1][1]}", flush=True)
    width = max(len(name) for name, _ in table)
    print("\n".join(f"{name:{width}}  {result}" for name, result in table))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
