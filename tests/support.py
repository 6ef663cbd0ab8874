"""Helpers that several test files import."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from detr_lite.backbone import FrozenBatchNorm2d
from detr_lite.data.batch import pad_to_largest
from detr_lite.data.categories import Categories, Category
from detr_lite.data.coco.writer import write_split
from detr_lite.data.sample import Sample
from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.errors import DetrLiteError
from detr_lite.inference.model import build_model
from detr_lite.models import ModelConfig
from detr_lite.panoptic_detr import PanopticDETR
from detr_lite.targets import Targets
from detr_lite.training.phases import PhaseTrainer
from detr_lite.training.recipes import PRESETS, Phase, Recipe, with_steps
from detr_lite.transformer import MultiHeadAttention

ROOT = Path(__file__).resolve().parents[1]

# The scenes' model, made smaller: 96 x 96 pixels become 12 x 12 positions.
CONFIG = ModelConfig(
    num_classes=8,
    bottleneck=False,
    depths=(1, 1, 1, 1),
    resnet_width=8,
    dilate_res5=True,
    pool=False,
    width=32,
    heads=8,
    encoder_layers=1,
    decoder_layers=2,
    feedforward=32,
    dropout=0.1,
    num_queries=12,
    temperature=20.0,
    cycles=2.0,
    context=128,
    threshold=0.5,
    shortest=96,
    longest=160,
)

# Three steps of each phase; CONFIG has dropout, so random states count.
TINY = Recipe(
    phases=(
        Phase("backbone", 3, 4, 1e-3, warmup=2, clip=10.0),
        Phase("boxes", 3, 4, 1e-3, warmup=2),
        Phase("masks", 3, 4, 1e-3, warmup=2),
        Phase("joint", 3, 4, 1e-3, warmup=2),
    ),
    model=CONFIG,
)

TWO_CLASSES = Categories(
    [
        Category(3, "cat", True, (200, 30, 30)),
        Category(70, "sky", False, (30, 30, 200)),
    ]
)


# Tests, commands and files.


def sampled(values: Iterable, few: int) -> list:
    """Return parameters of a test: a few for `make test`, all for stress."""
    return [
        v if i < few else pytest.param(v, marks=pytest.mark.stress)
        for i, v in enumerate(values)
    ]


@contextmanager
def refusal(*words, error: type = DetrLiteError) -> Iterator:
    """Expect an error of ours: in one line, with these words in it."""
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert str(word) in message, message


def ran(*command, check: bool = False, **options) -> CompletedProcess[str]:
    """Run a command to its end, and keep what it prints."""
    words = [*map(str, command)]
    return subprocess.run(
        words, capture_output=True, text=True, check=check, **options
    )


def git(place: Path, *arguments: str) -> str:
    """Run git as somebody; return what it prints."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return ran("git", *who, *arguments, cwd=place, check=True).stdout


def checkout(place: Path) -> None:
    """Copy the files of this checkout, changed or new ones too."""
    listed = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


# Models and their training.


@torch.no_grad()
def randomized(model: nn.Module) -> nn.Module:
    """Move biases, norms and statistics off 0 and 1, so that each counts."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.2 * torch.randn_like(parameter)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, MultiHeadAttention):
            width = module.out_proj.in_features
            module.in_proj_weight[: 2 * width] *= 3
        if isinstance(module, PanopticDETR):
            # As after training, queries differ, and their masks depend on
            # where they look.
            width = module.bbox_attention.q_linear.in_features
            module.bbox_attention.q_linear.weight *= 8
            module.mask_head.lay1.weight[:, width:] *= 40
            module.detr.class_embed.weight *= 4
            module.detr.bbox_embed.layers[-1].weight *= 8
    return model


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Return whether two modules have the same tensors, bit for bit."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients of a model's parameters, of those that have one."""
    named = model.named_parameters()
    return {name: p.grad for name, p in named if p.grad is not None}


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "code ran")


def phase_trainer(
    phase, config=CONFIG, engine=None, accelerator=None, **changes
):
    """Return a random model, and what trains one phase of it.

    changes: of the recipe.
    """
    torch.manual_seed(1)
    model = randomized(build_model(config, SCENE_CATEGORIES))
    recipe = replace(TINY, phases=(phase,), model=config, **changes)
    accelerator = accelerator or Accelerator()
    trainer = PhaseTrainer(
        model, phase, recipe, SCENE_CATEGORIES, accelerator, engine
    )
    return model, trainer


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Make `train --preset quick` a matter of a second."""
    recipe = with_steps(replace(TINY, phases=TINY.phases[::3]), 2)
    splits = SceneSplit(7, 4), SceneSplit(9, 4)
    patch.setitem(PRESETS, "quick", recipe)
    patch.setattr("detr_lite.training.train.scenes_data", lambda name: splits)


class Kill:
    """Stops a run as ctrl-C does, when it reports a step of a phase.

    phase: its name, or its place in the recipe.
    """

    def __init__(self, phase, step):
        self.phase, self.step = phase, step

    def __call__(self, progress):
        reached = self.phase in (progress.phase, progress.number)
        if reached and progress.step == self.step:
            raise KeyboardInterrupt


def logged(folder: Path) -> list[dict]:
    """Return the lines of a run's log."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# Samples and targets.


class Read(Part):
    """A whole split whose samples are read one by one, not held."""

    def __init__(self, split):
        super().__init__(split, range(len(split)))


def sample(id_map, ids, labels=None, crowd=None, name="beach") -> Sample:
    """Return a sample from lists; its pixels are random."""
    id_map = torch.as_tensor(id_map, dtype=torch.int32)
    return Sample(
        torch.randint(256, (3, *id_map.shape), dtype=torch.uint8),
        id_map,
        torch.tensor(ids, dtype=torch.int64),
        torch.tensor(labels or [0] * len(ids), dtype=torch.int64),
        torch.tensor(crowd or [False] * len(ids), dtype=torch.bool),
        1,
        name,
    )


def target(labels, boxes, id_map=None, ids=None) -> Targets:
    """Return the targets of one image from lists; by default without pixel."""
    if id_map is None:
        id_map = torch.zeros(4, 4, dtype=torch.int32)
    labels = torch.tensor(labels, dtype=torch.int64)
    if ids is None:
        ids = torch.arange(1, len(labels) + 1)
    return Targets(
        labels=labels,
        boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        image=torch.zeros_like(labels),
        segment_ids=torch.as_tensor(ids),
        id_maps=id_map[None],
        counts=(len(labels),),
    )


def joined(targets) -> Targets:
    """Return the targets of several images as those of one batch."""
    counts = tuple(n for t in targets for n in t.counts)
    numbers = torch.arange(len(counts))
    return Targets(
        labels=torch.cat([t.labels for t in targets]),
        boxes=torch.cat([t.boxes for t in targets]),
        image=numbers.repeat_interleave(torch.tensor(counts)),
        segment_ids=torch.cat([t.segment_ids for t in targets]),
        id_maps=pad_to_largest([m for t in targets for m in t.id_maps]),
        counts=counts,
    )


def same_targets(a: Targets, b: Targets) -> bool:
    """Return whether two batches have the same targets, bit for bit."""
    *mine, counts = vars(a).values()
    *theirs, others = vars(b).values()
    return counts == others and all(
        x.dtype == y.dtype and torch.equal(x, y)
        for x, y in zip(mine, theirs, strict=True)
    )


# Data sets on disk.


def on_disk(split, folder: Path) -> Path:
    """Write a data set into a new folder; return the folder."""
    folder.mkdir()
    write_split(split, folder)
    return folder


def as_coco(folder: Path, root: Path, name: str) -> None:
    """Move a data set to where COCO has the split of that name."""
    annotations = root / "annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    (folder / "images").rename(root / name)
    (folder / "panoptic").rename(annotations / f"panoptic_{name}")
    (folder / "panoptic.json").rename(annotations / f"panoptic_{name}.json")


def edited(folder, change):
    """Change the JSON of a split on disk; return its folder."""
    path = folder / "panoptic.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


def with_segment(folder, number, **entries):
    """List one more segment of the first image; return the folder."""
    segment = {"id": number, "category_id": 1} | entries

    def add(content):
        content["annotations"][0]["segments_info"].append(segment)

    return edited(folder, add)


def painted(folder, rows, columns, color, name="000000.png"):
    """Color some pixels of a PNG of segments."""
    path = folder / "panoptic" / name
    rgb = np.array(Image.open(path))
    rgb[rows, columns] = color
    Image.fromarray(rgb).save(path)
