"""What tests/test_processes.py runs in two processes; see there.

python two_processes.py FOLDER killed   train, and be killed
python two_processes.py FOLDER resumed  go on, and compare
"""

import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from support import CONFIG, TINY, gradients, phase_trainer

from detr_lite.cli import main as cli
from detr_lite.data.scenes import SCENE_CATEGORIES, SceneSplit
from detr_lite.data.subsets import Part
from detr_lite.inference.evaluation import evaluate
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model
from detr_lite.training.batches import BatchOrder, Share
from detr_lite.training.recipes import Engine, Phase
from detr_lite.training.train import make_accelerator, train

LIMITS = (96, 160)
PHASES = ("boxes", "masks", "joint")


def losses_and_gradients(name, split, accelerator, accumulate=1):
    """Return a step's losses, and the gradients of all that is trained.

    Without dropout, which is random in each process.
    """
    with doubles():
        return _losses_and_gradients(name, split, accelerator, accumulate)


@contextmanager
def doubles():
    """Compute in float64 what is float32, so that rounding hides nothing."""
    single = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = single
        torch.set_default_dtype(torch.float32)


def _losses_and_gradients(name, split, accelerator, accumulate):
    phase = Phase(name, 9, batch_size=6, lr=0.0, clip=1e9)
    order = BatchOrder(split, phase, seed=5)
    model, trainer = phase_trainer(
        phase, replace(CONFIG, dropout=0.0), Engine(accumulate=accumulate),
        accelerator,
    )  # fmt: skip
    share = Share(
        accelerator.process_index, accelerator.num_processes, accumulate
    )
    losses = trainer.step(0, order.batches(0, share, LIMITS))
    losses = {
        key: accelerator.reduce(value.detach().clone().float(), "mean").item()
        for key, value in losses.items()
    }
    found = {key: value.clone() for key, value in gradients(model).items()}
    accelerator.free_memory()
    return losses, found


def evaluations(accelerator):
    """Return the figures on 7 images in batches of 2, and on one."""
    model = load_model("scenes", "cpu")
    return [
        evaluate(
            model,
            Part(SceneSplit(7, 8), range(count)),
            batch_size=2,
            accelerator=accelerator,
        )
        for count in (7, 1)
    ]


def kill(progress):
    """End the process at once when the masks were evaluated.

    Then the log has their last step, and the checkpoint has not.
    """
    if progress.phase == "masks" and not progress.losses:
        os.kill(os.getpid(), signal.SIGKILL)


def run(folder, watch=None, resume=False):
    """Train boxes and masks, with reports of two steps.

    So the last checkpoint before the kill comes between two reports.
    """
    split = SceneSplit(7, 4)
    torch.manual_seed(0)
    detector = build_model(CONFIG, SCENE_CATEGORIES).detr
    phases = (
        Phase("boxes", 2, 4, 1e-3, warmup=2),
        Phase("masks", 4, 4, 1e-3, warmup=2),
    )
    return train(
        replace(TINY, phases=phases),
        split,
        split,
        folder,
        resume,
        watch,
        log_every=2,
        evaluations=1,
        checkpoint_seconds=0,
        detector=detector,
    )


def fine_tune(folder):
    """Run the command, from a model and for data that the test has made."""
    arguments = ["train", "--preset", "finetune", "--steps", "2"]
    arguments += ["--from", str(folder / "start.safetensors")]
    arguments += ["--data", str(folder / "data")]
    assert cli.main([*arguments, "--out", str(folder / "tuned")]) == 0


def main(folder: Path, what: str) -> None:
    """Do one part, and leave what the test looks at in the folder."""
    if what == "killed":
        run(folder / "killed", kill)
    run(folder / "killed", resume=True)
    run(folder / "whole")
    fine_tune(folder)
    accelerator = make_accelerator()
    found = {"evaluations": evaluations(accelerator)}
    split = SceneSplit(7, 8)
    for name in PHASES:
        found[name] = losses_and_gradients(name, split, accelerator)
    found["accumulate"] = losses_and_gradients(
        "joint", split, accelerator, accumulate=2
    )
    if accelerator.is_main_process:
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
