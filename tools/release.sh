#!/bin/sh
# Makes a release of the version that the package says: a commit in which the
# notebooks and pages name its tag, the tag, and dist/ built from them.  The
# commit is on no branch, for main goes on saying main.  Nothing is pushed.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
tag=v$("$python" -c "import detr_lite; print(detr_lite.__version__)")
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    echo "There are changes: commit them first." >&2
    exit 1
fi
if git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null; then
    echo "There is a $tag already: raise the version first." >&2
    exit 1
fi

git switch --quiet --detach
"$python" tools/address.py --ref "$tag"
git commit --quiet --all --message "Release $tag"
git tag "$tag"
rm -rf dist
"$python" -m uv build --quiet
echo "The tag $tag is set, and dist/ is built from it."
