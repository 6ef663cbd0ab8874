"""The files of a training run: its log, its checkpoint, its results.

What is written is whole: a file appears under its name when all of it is
there.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from detr_lite.errors import ConfigError, DataError
from detr_lite.files.output import (
    cannot_write,
    check_folder,
    entered,
    staged,
    staged_file,
)
from detr_lite.inference.evaluation import Evaluation, as_json
from detr_lite.inference.model import PanopticModel
from detr_lite.training.recipe_json import NAME, RecipeFile, read_recipe
from detr_lite.weights.catalog import BACKBONE_FILE
from detr_lite.weights.writing import save_backbone, save_model, write_pickle

CHECKPOINT = "checkpoint.pt"
MODEL = "model.safetensors"
FREE = (".steps", ".warmup")  # of a phase, what may change on the way
# What a checkpoint holds.
KEYS = {
    "settings",
    "phase",
    "step",
    "model",
    "trainer",
    "seconds",
    "processes",
    "log",
}


@contextlib.contextmanager
def in_own_folder(out: Path, resume: bool) -> Iterator[None]:
    """Hold the folder of a run; of several processes the main one does."""
    folder = contextlib.nullcontext()
    if os.environ.get("RANK", "0") == "0":
        known = resume and (out / CHECKPOINT).exists()
        folder = entered(out, "train", known=known)
    try:
        with folder:
            yield
    except RuntimeError as error:
        # Raised wherever the main process is just then.
        if not str(error).startswith("DataLoader"):
            raise
        raise ConfigError(
            f"A worker that loads images ended or stood still ({error})"
            "; there may be too little memory for so many. Use fewer "
            "workers, and go on with --resume."
        ) from error


def check_no_run(out: Path) -> None:
    """Refuse a folder in which no new run can begin.

    OutputError: it holds what training has not written; ConfigError: a run.
    """
    check_folder(out, "train")
    if (out / CHECKPOINT).exists() or (out / MODEL).exists():
        raise ConfigError(
            f"{out} already holds a run; go on with it by --resume or name "
            "another folder."
        )


@dataclass(frozen=True)
class Progress:
    """What a watcher is told; see `train`.

    Attributes:
        phase: its name.
        number: its place in the recipe, from 0.
        step: steps done in it, of `steps`.
        resumed: of them, those done before the run was resumed in it.
        seconds: of the run, in all its parts if it was resumed.
        losses: means since the last report.
        metrics: of the last evaluation, or empty.
        model: as it is now, for a look; it is trained on.
    """

    phase: str
    number: int
    step: int
    steps: int
    resumed: int
    seconds: float
    losses: dict[str, float]
    metrics: dict[str, float]
    model: PanopticModel


class Run:
    """The files of a run, and its reports.

    Only the main process writes.  Where processes must agree or are asked
    for their state, all of them have to call a method: report, checkpoint,
    phase_done and finish.
    """

    def __init__(
        self, recipe, engine, out, accelerator, watch, checkpoint_seconds
    ):
        self.recipe, self.out, self.watch = recipe, out, watch
        self.path = out / CHECKPOINT
        self.log = out / "log.jsonl"  # a line for each report
        self.accelerator = accelerator
        self.precision = engine.precision
        self.main = accelerator.is_main_process
        self.began = self.saved = time.monotonic()
        self.checkpoint_seconds = checkpoint_seconds
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.metrics: dict[str, float] = {}
        self.resumed: dict[int, int] = {}  # number of a phase: steps

    def start(self, model, resume: bool, about: str) -> tuple[int, int, dict]:
        """Return the phase and step to begin at, and the trainer's state.

        about: the text of the run's recipe file.
        """
        self.model = model
        # What a checkpoint belongs to.  How a step is computed, but for the
        # precision, changes no loss of it.
        told = json.loads(about)
        self.settings = {
            **told["recipe"],
            "precision": self.precision,
            "data": told["data"],
        }
        if resume:
            return self._resume(model, told)
        check_no_run(self.out)
        self.accelerator.wait_for_everyone()  # all have looked
        if self.main:
            with staged(self.out) as stage:
                (stage / "log.jsonl").write_text("")
                (stage / NAME).write_text(about)
        return 0, 0, {}

    def _resume(self, model, told: dict) -> tuple[int, int, dict]:
        try:
            saved = torch.load(self.path, "cpu", weights_only=True)
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.out} holds no unfinished run to resume; "
                "start one without --resume."
            ) from error
        # What broken bytes make torch raise is not documented: anything.
        except Exception as error:
            raise ConfigError(
                f"{self.path} cannot be read ({type(error).__name__}); "
                "delete it and start again."
            ) from error
        if not isinstance(saved, dict) or saved.keys() != KEYS:
            raise ConfigError(
                f"{self.path} cannot be read as a checkpoint of this version; "
                "delete it and start again."
            )
        there = self.out / NAME
        file = None
        if there.exists():
            file = read_recipe(there, "delete it, to resume without it")
            self._check_own(saved, file)
        self._compare(saved)
        processes = len(saved["processes"])
        if processes != self.accelerator.num_processes:
            raise ConfigError(
                f"{self.path} belongs to a run of {processes} processes, "
                f"and here are {self.accelerator.num_processes}; resume it "
                "with as many."
            )
        _check_finite(saved["model"], f"{self.path} holds")
        model.load_state_dict(saved["model"])
        self.own = saved["processes"][self.accelerator.process_index]
        self.sums = {
            name: value.to(self.accelerator.device)
            for name, value in self.own["sums"].items()
        }
        self.count = self.own["count"]
        self.began -= saved["seconds"]
        self.restore_random_state()
        if self.main:
            # Steps after the checkpoint come again, and so do their lines.
            with contextlib.suppress(FileNotFoundError):
                size = self.log.stat().st_size
                os.truncate(self.log, min(saved["log"], size))
            self._tell_steps(saved, told, file)
            with staged_file(there) as part:
                part.write_text(json.dumps(told, indent=1) + "\n")
        if saved["step"]:
            self.resumed[saved["phase"]] = saved["step"]
        return saved["phase"], saved["step"], saved["trainer"]

    def _check_own(self, saved: dict, file: RecipeFile) -> None:
        """Refuse a checkpoint that another run has left."""
        here = {
            **json.loads(json.dumps(asdict(file.recipe))),
            "precision": file.engine.precision,
            "data": file.data,
        }
        for name, old, new in _differences(saved["settings"], here):
            raise ConfigError(
                f"{self.path} belongs to another run than the {NAME} beside "
                f"it: {name} is {old} in the one and {new} in the other; put "
                "the checkpoint of this run there, or name another folder."
            )

    def _tell_steps(
        self, saved: dict, told: dict, file: RecipeFile | None
    ) -> None:
        """Let a resumed run's recipe file tell what was and will be done.

        told: its content, made for the steps of this command alone.
        """
        number, old = saved["phase"], saved["settings"]["phases"]
        new = told["recipe"]["phases"]
        new[:number] = old[:number]
        self.settings["phases"] = new
        changed = saved["step"] > 0 and new[number] != old[number]
        told["steps_changed"] = changed
        if file is not None:
            told["start"], told["start_weights"] = (
                file.start,
                file.start_weights,
            )
            told["steps_changed"] |= file.steps_changed

    def _compare(self, saved: dict) -> None:
        """Refuse a checkpoint of other settings, but for the steps to do."""
        number, done = saved["phase"], saved["step"]
        for name, old, new in _differences(saved["settings"], self.settings):
            raise ConfigError(
                f"{self.path} belongs to a run with other settings: {name} "
                f"was {old}, and is {new} now; resume it with that, or name "
                "another folder."
            )
        phases = self.recipe.phases
        if done and phases[number].steps <= done:
            raise ConfigError(
                f"{self.path} has done {done} steps of phase "
                f"{phases[number].name}, which shall have "
                f"{phases[number].steps}; give it more."
            )

    def restore_random_state(self) -> None:
        """Go on with the random numbers of the checkpoint."""
        torch.set_rng_state(self.own["rng"])
        if "cuda_rng" in self.own:
            torch.cuda.set_rng_state(self.own["cuda_rng"])

    def collect(self, losses: dict[str, Tensor]) -> None:
        """Add a step's losses to the next report."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        self.count += 1

    def report(self, number: int, step: int) -> None:
        """Tell and log a phase's mean losses since the last report."""
        phase = self.recipe.phases[number]
        names = list(self.sums)
        sums = torch.stack([self.sums[name].float() for name in names])
        sums = self.accelerator.reduce(sums, "mean").tolist()
        means = {
            name: value / self.count
            for name, value in zip(names, sums, strict=True)
        }
        self.sums, self.count = {}, 0
        if not math.isfinite(means["loss"]):
            raise DataError(
                f"The loss of phase {phase.name} became {means['loss']} "
                f"before step {step}; lower the learning rate."
            )
        self._tell(number, step, means, means)

    def evaluated(self, number: int, step: int, evaluation) -> None:
        """Tell and log the figures of an evaluation."""
        self.metrics = evaluation.metrics
        self._tell(number, step, {}, self.metrics)

    def _tell(self, number: int, step: int, losses: dict, new: dict) -> None:
        """Tell the watcher, and log what is new."""
        if not self.main:
            return
        phase = self.recipe.phases[number]
        seconds = time.monotonic() - self.began
        if self.watch:
            self.watch(
                Progress(
                    phase.name,
                    number,
                    step,
                    phase.steps,
                    self.resumed.get(number, 0),
                    seconds,
                    losses,
                    self.metrics,
                    self.model,
                )
            )
        line = {"phase": phase.name, "step": step, **new}
        line["seconds"] = round(seconds, 1)
        try:
            with self.log.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise cannot_write(self.log, error) from error

    def checkpoint(self, model, trainer, phase: int, step: int) -> None:
        """Save the state, if the last time was long enough ago."""
        due = time.monotonic() - self.saved >= self.checkpoint_seconds
        if self.accelerator.num_processes > 1:  # by the main one's clock
            due = broadcast_object_list([due])[0]
        if due:
            trainer.check()
            self._save(model, phase, step, trainer.state())

    def phase_done(self, model, phase: int) -> None:
        """Save what a phase leaves: the next one may start from it."""
        if self.main and self.recipe.phases[phase].name == "backbone":
            save_backbone(model, self.out / BACKBONE_FILE)
        self._save(model, phase + 1, 0, {})

    def _save(self, model, phase: int, step: int, trainer: dict) -> None:
        """Write a checkpoint once all processes have come to it."""
        own = {"rng": torch.get_rng_state(), "count": self.count}
        own["sums"] = {k: v.cpu() for k, v in self.sums.items()}
        if self.accelerator.device.type == "cuda":
            own["cuda_rng"] = torch.cuda.get_rng_state()
        processes = gather_object([own])
        self.saved = time.monotonic()
        if not self.main:
            return
        for state in (model.state_dict(), trainer.get("extra", {})):
            _check_finite(state, "The step before has left")
        content = {
            "settings": self.settings,
            "phase": phase,
            "step": step,
            "model": model.state_dict(),
            "trainer": trainer,
            "seconds": self.saved - self.began,
            "processes": processes,
            "log": self.log.stat().st_size if self.log.exists() else 0,
        }
        write_pickle(self.path, content)

    def finish(self, model, evaluation: Evaluation) -> None:
        """Write the results; the checkpoint has done its work."""
        self.accelerator.wait_for_everyone()
        if not self.main:
            return
        with staged(self.out) as stage:
            save_model(model, stage / MODEL)
            (stage / "metrics.json").write_text(as_json(asdict(evaluation)))
        with contextlib.suppress(OSError):
            self.path.unlink()


def _differences(old, new, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the name and both values of each setting that differs.

    But for the numbers of steps.
    """
    if isinstance(old, list) and isinstance(new, list):
        old, new = ({str(i): x for i, x in enumerate(y)} for y in (old, new))
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield name, f"{old}"[:60], f"{new}"[:60]
        return
    for key in {**old, **new}:
        there = f"{name}.{key}" if name else key
        if there.startswith("phases.") and there.endswith(FREE):
            continue
        yield from _differences(old.get(key), new.get(key), there)


def _check_finite(state: dict[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise DataError(
                f"{what} numbers in {name} that are not finite; start again "
                "with a lower learning rate."
            )
