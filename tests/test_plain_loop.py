"""Chapter 6's loop, all of it in one cell, does what `train` does."""

import ast

import nbformat
import torch
from support import ROOT, logged

from detr_lite.data.scenes import SceneSplit
from detr_lite.inference.loading import load_backbone
from detr_lite.inference.model import build_model
from detr_lite.training.recipes import Phase, Recipe
from detr_lite.training.train import train

NOTEBOOK = ROOT / "book" / "06_train_and_evaluate.ipynb"
RECIPE = Recipe(
    phases=(
        Phase("boxes", steps=3, batch_size=4, lr=1e-3, warmup=2),
        Phase("masks", steps=3, batch_size=3, lr=3e-3, warmup=1, clip=1.0),
    ),
    seed=5,
    weight_decay=0.01,
    no_object_weight=0.3,
)


def cell() -> str:
    (source,) = [
        c.source
        for c in nbformat.read(NOTEBOOK, as_version=4).cells
        if c.cell_type == "code" and "def train_plainly(" in c.source
    ]
    return source


def train_plainly():
    """Return the notebook's function, with what the notebook imports."""
    space = {}
    for other in nbformat.read(NOTEBOOK, as_version=4).cells:
        if other.cell_type == "code" and "import" in other.source:
            tree = ast.parse(other.source)
            kinds = (ast.Import, ast.ImportFrom)
            lines = [n for n in tree.body if isinstance(n, kinds)]
            exec(ast.unparse(ast.Module(lines, [])), space)
    exec(cell(), space)
    return space["train_plainly"]


def test_the_loop_is_short():
    assert len(cell().splitlines()) <= 60


def test_the_loop_gives_the_losses_and_the_weights_of_train(tmp_path):
    split = SceneSplit(7, 12)
    result = train(RECIPE, split, split, tmp_path, log_every=1, evaluations=1)
    theirs = [x["loss"] for x in logged(tmp_path) if "loss" in x]
    torch.manual_seed(RECIPE.seed)
    mine = build_model(RECIPE.model, split.categories)
    load_backbone(mine)
    assert train_plainly()(mine, RECIPE, split) == theirs
    assert len(theirs) == 6
    for name, tensor in result.model.cpu().state_dict().items():
        assert torch.equal(mine.state_dict()[name], tensor), name
