"""Files of weights are read without running anything that is in them."""

import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file
from support import Malicious, refusal

from detr_lite.errors import WeightsError
from detr_lite.inference.loading import load_model
from detr_lite.training.runs import KEYS
from detr_lite.weights.reading import read_checkpoint

FORMATS = [True, False]  # zip files, and those of torch before 1.6


@pytest.fixture
def state():
    return {"a.weight": torch.randn(3, 4), "a.bias": torch.randn(3)}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def refused(path, *words):
    with refusal(path, *words, error=WeightsError):
        read_checkpoint(path)


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_state_dict_of_torch_is_read(state, tmp_path, new, wrapped):
    path = tmp_path / "weights.pth"
    content = {"model": state} if wrapped else state
    torch.save(content, path, _use_new_zipfile_serialization=new)
    text, found = read_checkpoint(path)
    assert text == {}
    assert same(found, state)


@pytest.mark.parametrize("new", FORMATS)
def test_a_training_checkpoint_of_the_original_is_read(tmp_path, new):
    """It holds optimizer, schedule and the Namespace of its arguments."""
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 200)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    arguments = argparse.Namespace(
        lr=1e-4, masks=True, device="cuda", frozen_weights=None
    )
    path = tmp_path / "checkpoint.pth"
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": schedule.state_dict(),
            "epoch": 7,
            "args": arguments,
        },
        path,
        _use_new_zipfile_serialization=new,
    )
    assert same(read_checkpoint(path)[1], model.state_dict())


def test_a_checkpoint_of_our_training_is_refused(state, tmp_path):
    """Its model is not done, and what it is stands elsewhere."""
    path = tmp_path / "checkpoint.pt"
    others = dict.fromkeys(KEYS - {"model"}, 0)
    torch.save({"model": state} | others, path)
    refused(path, "`detr-lite train --resume`", "model.safetensors")


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "module._orig_mod.",
     "_orig_mod.module.", "model._orig_mod."],
)  # fmt: skip
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_what_wrappers_put_before_names_is_taken_off(
    state, tmp_path, prefix, key
):
    path = tmp_path / "weights.pth"
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({key: wrapped, "epoch": 1} if key else wrapped, path)
    assert same(read_checkpoint(path)[1], state)
    save_file(wrapped, path)
    assert same(read_checkpoint(path)[1], state)


def test_a_prefix_of_some_names_stays(state, tmp_path):
    path = tmp_path / "weights.safetensors"
    some = {"module.a": torch.ones(1), "b": torch.ones(1)}
    save_file(some, path)
    assert same(read_checkpoint(path)[1], some)


def test_a_safetensors_file_is_read_under_any_name(state, tmp_path):
    for name in ("model.safetensors", "model.pth"):
        save_file(state, tmp_path / name, {"format": "pt"})
        text, found = read_checkpoint(tmp_path / name)
        assert text == {"format": "pt"}
        assert same(found, state)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize("writer", [*FORMATS, 0, 2, 3, 4, 5])
def test_code_in_a_pickle_does_not_run(tmp_path, writer, name):
    proof, path = tmp_path / "proof", tmp_path / name
    content = {"model": {"weight": Malicious(proof)}}
    by_torch = isinstance(writer, bool)
    if by_torch:
        torch.save(content, path, _use_new_zipfile_serialization=writer)
    else:
        path.write_bytes(pickle.dumps(content, writer))
    named = by_torch and path.suffix == ".pth"
    why = "which may run any code" if named else "pickle"
    for read in (read_checkpoint, load_model):
        with refusal(path, why, error=WeightsError):
            read(path)
    assert not proof.exists()
    # The bait works.
    if by_torch:
        with path.open("rb") as file:
            torch.load(file, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert proof.read_text() == "code ran"


def test_a_namespace_is_allowed_here_alone(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(
        {"model": {"a": torch.ones(1)}, "x": argparse.Namespace()}, path
    )
    read_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.99])
def test_a_pickle_that_is_cut_off_is_refused(state, tmp_path, new, part):
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(2, int(len(whole) * part))])
    refused(path, "cut off")


def test_a_pickle_that_is_cut_off_in_a_name_is_refused(state, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    start, _, _ = path.read_bytes().partition(b"eredDict")
    path.write_bytes(start)
    refused(path, "calls collections.Or,", "cut off")


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_safetensors_file_that_is_cut_off_is_refused(state, tmp_path, part):
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, "cut off")


@pytest.mark.parametrize(
    "content",
    [{}, {"model": {}}, [torch.ones(1)], {"a": 3}, {"model": {"a": "b"}},
     {1: torch.ones(1)}, torch.ones(2)],
)  # fmt: skip
def test_a_pickle_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    refused(path, "state dict")


def test_missing_files_folders_and_text_are_refused(tmp_path):
    refused(tmp_path / "gone.pth", "There is no file")
    refused(tmp_path, "is a folder")
    (tmp_path / "notes.txt").write_text("these are no weights")
    refused(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    "start", [b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"]
)
def test_safetensors_are_known_whatever_their_length_looks_like(
    state, tmp_path, start
):
    """One header length in 1,640 begins as a zip file or a pickle does."""
    path = tmp_path / "model.safetensors"
    save_file(state, path, {"config": "mine"})
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    wanted = int.from_bytes(start, "little")
    while wanted < size:
        wanted += 2**16
    header = content[8 : 8 + size].ljust(wanted)
    path.write_bytes(
        wanted.to_bytes(8, "little") + header + content[8 + size :]
    )
    assert path.read_bytes()[:2] == start
    text, found = read_checkpoint(path)
    assert text == {"config": "mine"}
    assert same(found, state)
