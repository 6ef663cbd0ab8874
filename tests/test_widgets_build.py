"""The pages' script is what its sources give."""

import gzip
import os
import re
import shutil

import build_widgets
import pytest
from support import ROOT

SOURCES = ROOT / "book" / "widgets"
FOLDER = ROOT / "book" / "_assets" / "widgets"
NAMES = [f"{a}.{b}" for a in ("widgets", "reading") for b in ("js", "css")]
SCRIPTS_GZIPPED, WEIGHTS_GZIPPED = 60_000, 1_700_000  # bytes at most
FILM_GZIPPED = 300_000


@pytest.fixture(scope="module")
def tool():
    """tools/build_widgets.py, ready to build."""
    try:
        build_widgets.prepare()
    except SystemExit as error:  # no Node, or no network to install with
        if os.environ.get("DETR_LITE_NEEDS_BROWSER") == "1":
            pytest.fail(str(error))
        pytest.skip(f"the script can't be built here: {error}")
    return build_widgets


def test_the_script_is_what_its_sources_give(tool, tmp_path):
    tool.build(tmp_path)
    built = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(built) == set(NAMES)
    for name, content in built.items():
        assert (FOLDER / name).read_bytes() == content, "make widgets"


def test_types_and_style_of_the_sources(tool):
    tool.check()


def test_a_wrong_type_is_noticed(tool, tmp_path, monkeypatch):
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources)
    path = sources / "engine" / "boxes.ts"
    path.write_text(path.read_text() + '\nexport const x: number = "a";\n')
    monkeypatch.setattr(tool, "SOURCES", sources)
    with pytest.raises(SystemExit, match=r"boxes\.ts.*not assignable"):
        tool.check()


def test_the_lock_names_no_registry():
    text = (SOURCES / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 5


def test_the_committed_files_name_no_place():
    for name in NAMES:
        text = (FOLDER / name).read_text("utf-8")
        assert not re.search(r"node_modules|/home/|/tmp/|/work/", text)
        assert not re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", text)


def test_the_files_are_small():
    def gzipped(*names):
        content = (
            gzip.compress((FOLDER / name).read_bytes(), 9) for name in names
        )
        return sum(map(len, content))

    assert gzipped(*NAMES) <= SCRIPTS_GZIPPED
    assert gzipped("weights.js") <= WEIGHTS_GZIPPED
    assert gzipped("film.js") <= FILM_GZIPPED
