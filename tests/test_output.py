"""Results are written whole or not at all."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detr_lite.errors import ConfigError, OutputError
from detr_lite.files import output
from detr_lite.files.output import (
    MARKER,
    alone,
    check_file,
    check_folder,
    staged,
    staged_file,
)


def fail(context, name, error=RuntimeError):
    """Write into a context, and then fail."""
    with context as place:
        path = place / name if name else place
        path.write_text("half")
        raise error


def names(folder):
    return sorted(p.name for p in folder.rglob("*"))


def files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_files_appear_when_all_are_written(tmp_path):
    with staged(tmp_path / "a" / "b") as stage:
        (stage / "inner").mkdir()
        (stage / "inner" / "one.txt").write_text("1")
        (stage / "two.txt").write_text("2")
        assert not (tmp_path / "a" / "b" / "two.txt").exists()
    assert names(tmp_path / "a" / "b") == ["inner", "one.txt", "two.txt"]
    assert (tmp_path / "a" / "b" / "inner" / "one.txt").read_text() == "1"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    with pytest.raises(error):
        fail(staged(tmp_path / "a" / "b"), "one.txt", error)
    assert names(tmp_path) == []


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "old.txt").write_text("old")
    with staged(tmp_path) as stage:
        (stage / "old.txt").write_text("new")
    assert names(tmp_path) == ["mine.txt", "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "new"
    with pytest.raises(RuntimeError):
        fail(staged(tmp_path), "old.txt")
    assert (tmp_path / "old.txt").read_text() == "new"
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_full_disk_is_said_with_the_place(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    wanted = re.escape(str(tmp_path / "a")) + ".*No space left"
    with pytest.raises(OutputError, match=wanted):
        fail(staged(tmp_path / "a"), "one.txt", full)
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [staged, staged_file])
def test_an_error_of_another_file_is_not_said_of_the_place(tmp_path, write):
    """What a command reads meanwhile may fail, too."""
    with pytest.raises(FileNotFoundError) as caught, write(tmp_path / "out"):
        (tmp_path / "input.png").read_bytes()
    assert Path(caught.value.filename).name == "input.png"
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_stage_is_said_of_the_place(tmp_path):
    with (
        pytest.raises(OutputError, match="out cannot be written"),
        staged(tmp_path / "out") as stage,
    ):
        (stage / "none" / "a.txt").write_text("a")


def test_one_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "one.txt"
    with staged_file(path) as part:
        part.write_text("1")
        assert not path.exists()
    assert names(tmp_path) == ["a", "one.txt"]
    assert path.read_text() == "1"


def test_an_old_file_stays_where_the_new_one_fails(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        fail(staged_file(path), None)
    assert names(tmp_path) == ["one.txt"]
    assert path.read_text() == "old"


def test_a_file_that_fails_leaves_no_folder(tmp_path):
    path = tmp_path / "a" / "b" / "one.txt"
    with pytest.raises(RuntimeError):
        fail(staged_file(path), None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["wall/one.txt", "wall/a/one.txt"])
def test_a_file_in_the_way_of_a_folder_is_said(tmp_path, place):
    (tmp_path / "wall").write_text("in the way")
    with pytest.raises(OutputError, match="wall"):
        staged_file(tmp_path / place).__enter__()
    with pytest.raises(OutputError, match="wall"):
        staged(tmp_path / place).__enter__()
    assert Path(tmp_path / "wall").read_text() == "in the way"


def test_what_is_no_file_is_not_replaced(tmp_path):
    """Such as a device, which a rename would turn into a file."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OutputError, match="it is no file"):
            fail(staged_file(tmp_path / name), None)
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["folder", "pipe"]


@pytest.mark.parametrize("old", ["old", None])
def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path, old):
    link, target = tmp_path / "link.json", tmp_path / "there" / "a.json"
    target.parent.mkdir()
    link.symlink_to(target)
    if old:
        target.write_text(old)
    with staged_file(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.json", "link.json", "there"]


def test_links_that_lead_round_are_refused(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.symlink_to(b)
    b.symlink_to(a)
    with pytest.raises(OutputError, match="leads back"), staged_file(a):
        pass
    assert a.is_symlink()
    assert b.is_symlink()


def test_a_folder_that_others_remove_is_made_again(tmp_path, monkeypatch):
    """As those do whose work failed, between our two steps."""
    mkdir, removed = Path.mkdir, []

    def remove_once(self, **how):
        mkdir(self, **how)
        if not removed:
            self.rmdir()
            removed.append(self)
            raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", remove_once)
    with alone(tmp_path / "a" / "one.txt"):
        (tmp_path / "a" / "one.txt").touch()
    assert removed
    assert names(tmp_path) == ["a", "one.txt"]


@pytest.mark.parametrize("write", [staged, staged_file])
def test_a_home_of_nobody_is_refused(write):
    with pytest.raises(ConfigError, match="~nobody-of-that-name/a begins"):
        write("~nobody-of-that-name/a").__enter__()


def filled(folder, command):
    with staged(folder, command) as stage:
        (stage / "one.txt").write_text(command)


def test_a_command_may_write_again_where_it_wrote(tmp_path):
    for _ in range(2):
        filled(tmp_path / "a", "predict")
    assert names(tmp_path / "a") == [".detr-lite", "one.txt"]


def test_an_empty_folder_may_be_written_to(tmp_path):
    filled(tmp_path, "predict")
    assert (tmp_path / "one.txt").read_text() == "predict"


@pytest.mark.parametrize("marker", [None, b"scenes", b"predicted", b"\xff"])
def test_a_folder_of_something_else_is_refused_untouched(tmp_path, marker):
    (tmp_path / "one.txt").write_text("mine")
    if marker is not None:
        (tmp_path / ".detr-lite").write_bytes(marker)
    before = names(tmp_path)
    with pytest.raises(OutputError, match=r"not empty.*predict.*a new folder"):
        filled(tmp_path, "predict")
    assert names(tmp_path) == before
    assert (tmp_path / "one.txt").read_text() == "mine"


KILLED = """
import os, sys
from detr_lite.files.output import staged, staged_file
with staged(sys.argv[1] + "/a", "predict") as a:
    (a / "one.txt").write_text("half")
    with staged_file(sys.argv[1] + "/b.json") as b:
        b.write_text("half")
        os.kill(os.getpid(), 9)
"""


def test_a_killed_command_may_start_again_and_clears_what_it_left(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path])
    assert done.returncode == -signal.SIGKILL
    left = names(tmp_path)
    assert any(name.startswith(".unfinished-") for name in left)
    assert {"one.txt", ".unfinished-b.json"} <= set(left)
    with pytest.raises(OutputError, match="not written by"):
        check_folder(tmp_path / "a", "evaluate")
    filled(tmp_path / "a", "predict")
    with staged_file(tmp_path / "b.json") as part:
        part.write_text("whole")
    assert names(tmp_path) == [MARKER, "a", "b.json", "one.txt"]
    assert (tmp_path / "b.json").read_text() == "whole"


def test_what_a_killed_command_left_is_no_result(tmp_path):
    """So a command that wants a new folder takes it."""
    subprocess.run([sys.executable, "-c", KILLED, tmp_path])
    with staged(tmp_path / "a", "predict", new=True) as stage:
        (stage / "two.txt").write_text("whole")
    assert names(tmp_path / "a") == [MARKER, "two.txt"]
    with (
        pytest.raises(OutputError, match="not an empty folder"),
        staged(tmp_path / "a", "predict", new=True),
    ):
        pass


MOVING = """
import os, pathlib, sys
from detr_lite.files.output import staged
whole = pathlib.Path.replace
def replace(self, target):
    if self.name == sys.argv[2]:
        os.kill(os.getpid(), 9)
    whole(self, target)
pathlib.Path.replace = replace
with staged(sys.argv[1], "scenes", new=True) as stage:
    for name in ("images/1.png", "images/2.png", "panoptic/1.png", "z.json"):
        (stage / name).parent.mkdir(exist_ok=True)
        (stage / name).write_text("of the first run")
"""


@pytest.mark.parametrize("moment", ["1.png", "2.png", "z.json"])
def test_files_that_a_killed_run_has_moved_are_cleared_away(tmp_path, moment):
    """By the next run that wants a new folder; nothing else is."""
    folder = tmp_path / "new"
    done = subprocess.run([sys.executable, "-c", MOVING, folder, moment])
    assert done.returncode == -signal.SIGKILL
    assert (folder / "images" / "1.png").exists() == (moment != "1.png")
    with staged(folder, "scenes", new=True) as stage:
        (stage / "3.png").write_text("of the second run")
    assert files(folder) == [MARKER, "3.png"]


@pytest.mark.parametrize("mine", ["mine", "images/mine"])
def test_with_anything_else_there_the_folder_is_refused(tmp_path, mine):
    folder = tmp_path / "new"
    subprocess.run([sys.executable, "-c", MOVING, folder, "z.json"])
    (folder / mine).write_text("mine")
    with (
        pytest.raises(OutputError, match="not an empty folder"),
        staged(folder, "scenes", new=True),
    ):
        pass
    assert (folder / mine).read_text() == "mine"
    (folder / mine).unlink()
    with staged(folder, "scenes", new=True) as stage:
        (stage / "3.png").write_text("of the second run")
    assert files(folder) == [MARKER, "3.png"]


def test_a_list_of_moves_leads_nowhere_else(tmp_path):
    folder, mine = tmp_path / "new", tmp_path / "mine"
    mine.write_text("mine")
    stage = folder / ".unfinished-abc"
    stage.mkdir(parents=True)
    (stage / "waiting").touch()
    (stage / ".moves").write_text(f"waiting\0../mine\0{mine}\0..")
    with staged(folder, "scenes", new=True) as stage:
        (stage / "one.txt").touch()
    assert mine.read_text() == "mine"
    assert names(folder) == [MARKER, "one.txt"]


def test_two_commands_cannot_enter_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "PATIENCE", 0.1)
    with staged(tmp_path / "a", "predict") as stage:
        (stage / "one.txt").write_text("first")
        with pytest.raises(OutputError, match="Another process writes to"):
            filled(tmp_path / "a", "predict")
        assert (stage / "one.txt").read_text() == "first"
    assert names(tmp_path / "a") == [MARKER, "one.txt"]
    filled(tmp_path / "a", "predict")  # now it's free


def test_a_home_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    filled("~/a", "predict")
    with staged_file("~/b.txt") as part:
        part.touch()
    assert (tmp_path / "a" / "one.txt").exists()
    assert (tmp_path / "b.txt").exists()


def test_after_an_error_no_marker_is_left(tmp_path):
    with pytest.raises(RuntimeError):
        fail(staged(tmp_path / "a", "predict"), "one.txt")
    assert names(tmp_path) == []
    filled(tmp_path / "a", "predict")
    with pytest.raises(RuntimeError):
        fail(staged(tmp_path / "a", "predict"), "two.txt")
    assert names(tmp_path / "a") == [".detr-lite", "one.txt"]


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "one.json"
    check_file(path, lambda p: False)  # there is none yet
    path.write_text("mine")
    check_file(path, lambda p: p.read_text() == "mine")
    with pytest.raises(OutputError, match=r"one\.json is there already"):
        check_file(path, lambda p: False)
