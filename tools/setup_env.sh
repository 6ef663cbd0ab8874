#!/bin/sh
# Creates .venv with Python 3.11 or newer, but 3.12.0 and 3.12.1, installs
# what requirements.lock pins, then this package in place.  Does nothing when
# all of it is there.  With RESOLUTION=lowest-direct or RESOLUTION=highest it
# installs the oldest or newest that pyproject.toml admits instead.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed
nuclei=detr_lite/teaching/nuclei.txt
wanted="$(cat requirements.lock pyproject.toml "$nuclei" | cksum)"
wanted="$wanted ${RESOLUTION:-}"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

# Python 3.12.0 and 3.12.1 crash when garbage collection meets a view of a
# BytesIO, as the traceback of an error may hold one (python/cpython gh-111049,
# fixed in 3.12.2).  The package keeps none; others may.
fits='import sys, venv, ensurepip
version = tuple(sys.version_info[:3])
sys.exit(version < (3, 11) or (3, 12) <= version < (3, 12, 2))'
python=
for candidate in ${PYTHON:-} python3.12 python3.13 python3.11 \
    python3 python python3.14; do
    if "$candidate" -c "$fits" >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "No Python from 3.11 on, with venv, was found (3.12.0 and 3.12.1" \
        "don't count: they crash); install one, or name it:" \
        "make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

if [ -L .venv ]; then
    echo ".venv is a link, and what it leads to would be emptied: remove the" \
        "link, or set up the environment where it leads." >&2
    exit 1
fi

echo "Setting up .venv with $("$python" --version): about 6 GB," \
    "1 minute with a fast network."
rm -f "$stamp"
"$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
if [ -n "${RESOLUTION:-}" ]; then
    .venv/bin/uv pip install --quiet --python .venv/bin/python \
        --resolution "$RESOLUTION" --editable ".[book,export,test]"
else
    .venv/bin/uv pip install --quiet --python .venv/bin/python \
        --require-hashes --requirement requirements.lock
    .venv/bin/uv pip install --quiet --python .venv/bin/python \
        --no-deps --editable .
fi
# Chapter 7's micrograph; its package has no wheel for some Pythons.
if ! .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps \
    --only-binary :all: --require-hashes --requirement "$nuclei"; then
    echo "The package stardist was not installed, so chapter 7 draws cells" \
        "in place of its micrograph."
fi
echo "$wanted" > "$stamp"
