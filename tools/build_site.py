"""Build the book's site: tools/build_site.py OUT writes OUT/html.

Silent when all is well.  Any warning fails the build: then the warnings are
shown, the exit code is 1, and a site that OUT already holds stays.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build_site(out: Path) -> str:
    """Build the site into out/html; return what went wrong, or ""."""
    out.mkdir(parents=True, exist_ok=True)
    # Always from nothing: an old build would hide warnings.
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out) as folder:
        command = [Path(sys.executable).with_name("jupyter-book"), "build"]
        command += ["book", "--config", "_config.yml"]
        command += ["--path-output", folder, "-W", "--keep-going", "-q"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return _warnings(done.stdout + done.stderr)
        shutil.rmtree(out / "html", ignore_errors=True)
        (Path(folder) / "_build" / "html").rename(out / "html")
    return ""


def _warnings(text: str) -> str:
    """Return the lines that say what is wrong, or all if there is none."""
    wrong = [
        line
        for line in text.splitlines()
        if "WARNING" in line or "ERROR" in line
    ]
    return "\n".join(wrong) or text


def main(arguments: list[str]) -> int:
    """Build; return the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    wrong = build_site(Path(arguments[0]).resolve())
    if wrong:
        print(f"The site was not built:\n{wrong}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
