"""The command line: its examples run, its errors are one line each."""

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import ROOT, contents, edited, on_disk, ran, shorten

from detr_lite import panoptic
from detr_lite.cli.main import main
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.images import read_size
from detr_lite.data.scenes import SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.inference.loading import load_model
from detr_lite.weights.writing import save_model

COMMANDS = ["scenes", "train", "evaluate", "predict", "models", "check"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    """Commands are run where the book's reader would: data/ is there."""
    monkeypatch.setenv("COLUMNS", "300")
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(folder)


@pytest.fixture
def data(scenes, tmp_path):
    """Three scenes on disk."""
    return on_disk(Part(scenes, range(3)), tmp_path / "beach")


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    """The data and the folder of a run on them, which has finished."""
    place = tmp_path_factory.mktemp("trained")
    data = on_disk(Part(scenes, range(3)), place / "beach")
    out = place / "run"
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        run("train", "--data", data, "--out", out)
    return data, out


def files(folder):
    return sorted(
        str(p.relative_to(folder))
        for p in Path(folder).rglob("*")
        if p.name != "data" and "data/" not in str(p.relative_to(folder))
    )


def split(*arguments):
    """Return a command's words; several may stand in one text."""
    return shlex.split(" ".join(map(str, arguments)))


def run(*arguments):
    assert main(split(*arguments)) == 0


def fails(capsys, *arguments, words=()):
    """Run a command that must fail; it says one line and leaves nothing."""
    before = files(Path.cwd())
    capsys.readouterr()
    assert main(split(*arguments)) == 1
    error = capsys.readouterr().err
    if "step/s]\n" in error:  # training shows a bar, on a line of its own
        _, error = error.split("step/s]\n")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert error.startswith("detr-lite: ")
    for word in words:
        assert str(word) in error
    assert files(Path.cwd()) == before


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_runs(capsys, tiny_preset, command):
    text = helped(capsys, command)
    (example,) = re.findall(r"^example: detr-lite (.*)$", text, re.MULTILINE)
    assert shlex.split(example)[0] == command
    run(*shlex.split(example))


def test_the_example_in_the_main_help_runs(capsys):
    text = helped(capsys)
    (example,) = re.findall(r"^example: detr-lite (.*)$", text, re.MULTILINE)
    run(*shlex.split(example))


def test_the_main_help_lists_every_command(capsys):
    text = helped(capsys)
    for command in [*COMMANDS, "convert", "download", "export"]:
        assert re.search(rf"^ +{command} ", text, re.MULTILINE)


def test_a_reader_who_has_enough_gets_no_traceback():
    """As `detr-lite models | head -1` does."""
    with subprocess.Popen(
        [sys.executable, "-m", "detr_lite", "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_a_failing_module_says_one_line_without_traceback():
    words = ["predict", "gone.png", "--out", "found"]
    done = ran(sys.executable, "-m", "detr_lite", *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("detr-lite: ")
    assert "gone.png" in done.stderr
    assert files(".") == []


def test_no_command_at_all_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_ctrl_c_is_no_traceback(capsys, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("detr_lite.data.coco.writer.write_split", stop)
    assert main(["scenes", "--out", "made", "--count", "1"]) == 130
    assert capsys.readouterr().err == "detr-lite: stopped.\n"
    assert files(".") == []


# A command, twice, that says when it has written an image, and then waits.
SLOWLY = """
import signal, sys, time
from PIL import Image
from detr_lite.cli.main import main
# What runs in a shell's background begins with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
save = Image.Image.save
def slowly(*args, **options):
    save(*args, **options)
    print("writing", flush=True)
    time.sleep(60)
Image.Image.save = slowly
for _ in range(2):
    print(main(sys.argv[1:]), flush=True)
"""


def test_a_terminated_command_ends_as_one_that_was_interrupted():
    """No file is half-written, and no lock or part is left."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOWLY, "scenes", "--out", "made"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for number in (signal.SIGTERM, signal.SIGINT):
            assert process.stdout.readline() == b"writing\n"
            assert files(".") != []
            process.send_signal(number)
            assert process.stdout.readline() == b"130\n"
            assert files(".") == []
        assert process.stderr.read() == b"detr-lite: stopped.\n" * 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_is_said(capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("detr-lite: ")
    assert "No space left" in line


@pytest.fixture
def cat(data):
    """A data set with a class whose name not every terminal can show."""
    return edited(data, lambda c: c["categories"][0].update(name="\u732b"))


def test_a_module_escapes_what_the_terminal_cannot_show(cat):
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["-m", "detr_lite", "check", cat]
    done = ran(sys.executable, *words, env=os.environ | settings)
    assert done.returncode == 0
    assert done.stderr == ""
    assert r" \u732b" in done.stdout


def test_what_a_code_page_lacks_is_escaped(cat, monkeypatch):
    shown = io.BytesIO()
    terminal = io.TextIOWrapper(shown, encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    run("check", cat)
    assert rb" \u732b" in shown.getvalue()


def test_a_home_may_be_written_as_a_tilde(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("scenes", "--out=~/made", "--count", 1)
    run("check", "~/made")
    assert (tmp_path / "made" / "panoptic.json").exists()


def test_scenes_writes_a_data_set_that_reads_back(capsys):
    run("scenes", "--out", "made/here", "--count", 3, "--seed", 7)
    data, split = CocoPanoptic.from_folder("made/here"), SceneSplit(7, 3)
    assert len(data) == 3
    for mine, other in zip(data, split, strict=True):
        assert torch.equal(mine.image, other.image)
        assert torch.equal(mine.id_map, other.id_map)
    assert "3 scenes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--count", 0], ["--count", -2], ["--seed", -1]]
)
def test_scenes_refuses_impossible_numbers(capsys, options):
    fails(capsys, "scenes", "--out", "made", *options, words=options[1:])


def test_scenes_refuses_a_folder_with_something_in_it(capsys):
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    fails(capsys, "scenes", "--out", "full", words=["full"])
    assert Path("full/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("out", ["wall", "wall/made", "wall/a/b"])
@pytest.mark.parametrize("command", ["scenes", "predict", "train"])
def test_a_folder_that_cannot_be_made_is_refused(
    capsys, command, out, data, model_file, tiny_preset
):
    Path("wall").write_text("a file is in the way")
    arguments = {
        "scenes": ["--count", 1],
        "predict": [data / "images", "--model", model_file],
        "train": [],
    }[command]
    fails(capsys, command, *arguments, "--out", out, words=["wall"])
    assert Path("wall").read_text() == "a file is in the way"


def full_disk(monkeypatch, after):
    """Let images be written, and then no more."""
    save, count = Image.Image.save, iter(range(10**6))

    def limited(image, target, *rest, **options):
        save(image, target, *rest, **options)
        if next(count) >= after:
            Path(target).write_bytes(b"half an image")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", limited)


@pytest.mark.parametrize("after", [0, 3])
def test_on_a_full_disk_nothing_is_left(
    capsys, monkeypatch, after, data, model_file
):
    words = ["made/here", "No space left"]
    for command in ("scenes", f"predict {data}/images --model {model_file}"):
        with monkeypatch.context() as patch:
            full_disk(patch, after)
            fails(capsys, command, "--out made/here", words=words)


def test_predict_writes_what_coco_panoptic_tools_read(
    capsys, data, model_file
):
    run(f"predict {data}/images --model {model_file} --out found")
    assert "3 images segmented" in capsys.readouterr().out
    found = CocoPanoptic(
        "found/panoptic.json", data / "images", "found/panoptic"
    )
    model = load_model(model_file, device="cpu")
    assert found.categories == model.categories
    for sample in found:
        prediction = model.predict(data / "images" / f"{sample.name}.png")
        assert torch.equal(sample.id_map, prediction.id_map)
        labels = [s.label for s in prediction.segments]
        assert sample.labels.tolist() == labels
        assert len(labels) > 0


def test_predict_counts_a_single_picture_as_one(capsys, data, model_file):
    picture = min((data / "images").iterdir())
    run("predict", picture, "--model", model_file, "--out", "found")
    assert "1 image segmented" in capsys.readouterr().out


def test_predict_says_each_segments_score_area_and_box(data, model_file):
    run("predict", data / "images", "--model", model_file, "--out", "found")
    content = json.loads(Path("found/panoptic.json").read_text())
    for annotation in content["annotations"]:
        areas = [s["area"] for s in annotation["segments_info"]]
        assert sum(areas) == 96 * 96  # every pixel belongs to a segment
        for segment in annotation["segments_info"]:
            assert 0 < segment["score"] < 1
            x, y, w, h = segment["bbox"]
            assert 0 <= x <= x + w <= 96
            assert 0 <= y <= y + h <= 96
            assert isinstance(segment["isthing"], bool)


def test_predict_draws_an_overlay_of_each_picture(data, model_file):
    run("predict", data / "images", "--model", model_file, "--out", "found")
    names = [f"00000{i}.png" for i in range(3)]
    assert sorted(p.name for p in Path("found/overlay").iterdir()) == names
    for name in names:
        with Image.open(Path("found/overlay") / name) as drawn:
            assert drawn.width == drawn.height
            assert drawn.width % 96 == 0


def test_predict_takes_pictures_of_any_size(data, model_file):
    image = Image.open(data / "images/000000.png").resize((250, 70))
    image.save("wide.png")
    run("predict", "wide.png", "--model", model_file, "--out", "found")
    with Image.open("found/panoptic/wide.png") as panoptic:
        assert panoptic.size == (250, 70)


def test_predict_finds_less_at_a_higher_threshold(data, tiny_model):
    """0 is a threshold, too: the file's own is 1, at which nothing is kept."""
    tiny_model.threshold = 1.0
    save_model(tiny_model, model_file := Path("nothing.safetensors"))
    picture = data / "images/000000.png"
    for threshold, empty in ((0, False), (1, True)):
        out = f"found{threshold}"
        run(f"predict {picture} --model {model_file} --out {out}",
            f"--threshold {threshold}")  # fmt: skip
        content = json.loads(Path(out, "panoptic.json").read_text())
        segments = content["annotations"][0]["segments_info"]
        assert (segments == []) == empty


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "nan"])
def test_predict_refuses_impossible_thresholds(capsys, data, threshold):
    command = f"predict {data}/images --out found --threshold {threshold}"
    fails(capsys, command, words=[threshold])


def bad_picture(kind, data):
    """Return an image that cannot be segmented, and what is said of it."""
    good = data / "images/000000.png"
    path = Path("bad.png")
    if kind == "missing":
        return path, "There is no file"
    if kind == "text":
        path.write_text("no image")
        return path, "not an image"
    if kind == "cut off":
        path.write_bytes(good.read_bytes()[:2000])
        return path, "cut off"
    path = Path("folder")
    path.mkdir()
    return path, "holds no image"


@pytest.mark.parametrize(
    "kind", ["missing", "text", "cut off", "empty folder"]
)
def test_predict_refuses_bad_pictures_and_leaves_nothing(
    capsys, data, model_file, kind
):
    bad, word = bad_picture(kind, data)
    model = ["--model", model_file]
    fails(capsys, "predict", bad, "--out", "found", *model, words=[bad, word])


@pytest.mark.parametrize("kind", ["missing", "empty folder"])
def test_predict_looks_for_all_pictures_before_it_begins(
    capsys, data, model_file, kind
):
    bad, word = bad_picture(kind, data)
    command = f"predict {data}/images {bad} --model {model_file} --out found"
    fails(capsys, command, words=[bad, word])


@pytest.mark.parametrize("kind", ["text", "cut off"])
def test_predict_goes_on_after_a_bad_picture(capsys, data, model_file, kind):
    """It is told, and the results of the others are kept."""
    bad, word = bad_picture(kind, data)
    words = ["predict", bad, data / "images", "--model", model_file]
    assert main([*map(str, words), "--out", "found"]) == 1
    heard = capsys.readouterr()
    assert "Traceback" not in heard.err
    assert f"detr-lite: {bad} " in heard.err
    assert word in heard.err
    assert "1 could not be read" in heard.err
    assert "3 images segmented" in heard.out
    content = json.loads(Path("found/panoptic.json").read_text())
    names = [f"{i:06}.png" for i in range(3)]
    assert [i["file_name"] for i in content["images"]] == names


def test_predict_takes_a_picture_once(data, model_file):
    twice = [data / "images", data / "images" / "000001.png"]
    twice += [data / "images" / ".." / "images"]
    run("predict", *twice, "--model", model_file, "--out", "found")
    content = json.loads(Path("found/panoptic.json").read_text())
    assert len(content["images"]) == len(content["annotations"]) == 3


def test_predict_can_leave_pictures_unturned(model_file):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64), "blue").save("a.png", exif=exif)
    model = ["--model", model_file]
    run("predict", "a.png", *model, "--out", "upright")
    run("predict", "a.png", *model, "--out", "stored", "--as-stored")
    assert read_size(Path("upright/panoptic/a.png")) == (96, 64)
    assert read_size(Path("stored/panoptic/a.png")) == (64, 96)


def test_predict_refuses_two_pictures_of_one_name(capsys, data, model_file):
    Image.new("RGB", (96, 96)).save("000000.jpg")
    pictures = f"{data}/images 000000.jpg"
    command = f"predict {pictures} --model {model_file} --out found"
    fails(capsys, command, words=["000000.jpg", "000000.png"])


def test_evaluate_writes_the_figures_as_json(capsys, data, model_file):
    run(f"evaluate --model {model_file} --data {data} --json new/figures.json")
    content = json.loads(Path("new/figures.json").read_text())
    keys = {"box_ap", "pq", "sq", "rq", "pq_things", "pq_stuff"}
    assert keys <= content.keys()
    assert all(0 <= content[key] <= 1 for key in keys)
    printed = capsys.readouterr().out
    assert f"pq         {content['pq']:.3f}" in printed
    assert files(".") == ["new", "new/figures.json"]


def test_evaluate_takes_some_of_the_pictures(capsys, data, model_file):
    command = f"evaluate --model {model_file} --data {data}"
    run(command, "--count 2")
    assert capsys.readouterr().out.startswith("2 images\n")
    run(f"evaluate --model {model_file} --count 3")
    assert capsys.readouterr().out.startswith("3 images\n")
    for count in (0, 4):
        words = [f"subset of {count}"]
        fails(capsys, command, f"--count {count}", words=words)


def test_a_mode_is_passed_on(monkeypatch, data, model_file):
    """Unless one is asked for, it is the paper's."""
    modes = []

    def panoptic_maps(*args, mode, **others):
        modes.append(mode)
        return own(*args, mode=mode, **others)

    own = panoptic.panoptic_maps
    monkeypatch.setattr(panoptic, "panoptic_maps", panoptic_maps)
    for choice, mode in (("", "union"), ("--mode original", "original")):
        words = f"--model {model_file} {choice}"
        run(f"evaluate --data {data}", words)
        run(f"predict {data}/images --out {mode}", words)
        assert set(modes) == {mode}
        modes.clear()


@pytest.mark.parametrize(
    "command", ["evaluate --data {data}", "predict {data}/images --out found"]
)
def test_bad_weights_are_refused(capsys, data, command):
    path = Path("bad.safetensors")
    path.write_text("no weights")
    fails(capsys, command.format(data=data), "--model", path, words=[path])


def broken(data, kind):
    """Break a data set; return what must be said of it."""
    png = data / "panoptic/000001.png"
    if kind == "missing png":
        png.unlink()
        return "panoptic/000001.png"
    if kind == "png of another size":
        Image.new("RGB", (40, 50)).save(png)
        return "40 x 50"
    edited(data, lambda c: c["categories"][0].update(name="balloon"))
    return "balloon"


@pytest.mark.parametrize(
    "kind", ["missing png", "png of another size", "other categories"]
)
def test_evaluate_refuses_broken_data(capsys, data, model_file, kind):
    word = broken(data, kind)
    command = f"evaluate --model {model_file} --data {data}"
    fails(capsys, command, "--json figures.json", words=[word])


def test_train_refuses_broken_data_before_it_starts(capsys, data, tiny_preset):
    word = broken(data, "missing png")
    fails(capsys, "train", "--data", data, "--out", "run", words=[word])


def test_train_says_where_data_turn_out_to_be_broken(
    capsys, data, tiny_preset
):
    """What is in a PNG is known when it is read; the run can start again."""
    whole = (data / "panoptic/000001.png").read_bytes()
    word = broken(data, "png of another size")
    assert main(["train", "--data", str(data), "--out", "run"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("detr-lite: ")
    assert word in error
    (data / "panoptic/000001.png").write_bytes(whole)
    run("train", "--data", data, "--out", "run")


def test_missing_data_are_refused(capsys, model_file):
    for command in (f"evaluate --model {model_file}", "train --out run"):
        fails(capsys, command, "--data gone", words=["gone"])


def test_evaluate_refuses_a_place_where_no_file_can_be(
    capsys, data, model_file
):
    Path("wall").write_text("a file is in the way")
    Path("folder").mkdir()
    for place in ("wall/figures.json", "folder"):
        command = f"evaluate --model {model_file} --data {data}"
        fails(capsys, command, "--json", place, words=[place])


def test_train_writes_a_model_that_predicts(capsys, tiny_preset, data):
    run("train", "--out", "run")
    assert "run/model.safetensors" in capsys.readouterr().out
    run(f"predict {data}/images --model run/model.safetensors --out found")
    run(f"evaluate --data {data} --model run/model.safetensors")


def test_train_on_a_folder_learns_its_classes(trained):
    data, out = trained
    model = load_model(out / "model.safetensors")
    assert model.categories == CocoPanoptic.from_folder(data).categories


def test_train_refuses_what_cannot_be(capsys, tiny_preset, trained):
    fails(capsys, "train", "--preset", "slow", "--out", "run", words=["slow"])
    _, out = trained
    before = contents(out)
    capsys.readouterr()
    assert main(["train", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "already holds a run" in said.err
    assert not said.out  # not even what it would take
    assert contents(out) == before
    assert main(["train", "--out", "other", "--resume"]) == 1
    assert "no unfinished run" in capsys.readouterr().err


def test_models_lists_what_can_be_loaded(capsys):
    run("models")
    text = capsys.readouterr().out
    assert "scenes" in text
    assert "Apache-2.0" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "{data}/images", "--out", "{data}"],
        ["evaluate", "--data", "{data}", "--save", "{data}"],
        ["evaluate", "--data", "{data}", "--json", "{data}/panoptic.json"],
        ["export", "--out", "{data}/images/000000.png"],
        ["train", "--preset", "quick", "--out", "{data}"],
    ],
)
def test_nothing_of_the_users_is_replaced(
    data, model_file, tiny_preset, capsys, arguments
):
    before = contents(data)
    filled = [a.format(data=data) for a in arguments]
    if filled[0] != "train":
        filled += ["--model", str(model_file)]
    assert main(filled) == 1
    error = capsys.readouterr().err
    assert str(data) in error
    assert "name a new" in error
    assert contents(data) == before


def test_results_of_the_same_command_may_be_replaced(data, model_file, capsys):
    model = ["--model", str(model_file)]
    for _ in range(2):
        run("predict", data / "images", "--out", "found", *model)
        run("evaluate", "--data", data, "--save", "kept", *model)
        run("evaluate", "--data", data, "--json", "figures.json", *model)
    assert main(["predict", str(data), "--out", "kept", *model]) == 1


def test_a_data_set_that_was_made_is_no_place_for_results(capsys):
    run("scenes", "--out", "mine", "--count", 2)
    before = contents(Path("mine"))
    assert main(["predict", "mine/images", "--out", "mine"]) == 1
    assert contents(Path("mine")) == before
