"""The files of a training run: its log, its checkpoint, its results.

What is written is whole: a file appears under its name when all of it is
there.
"""

import contextlib
import io
import json
import math
import pickle
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from detr_lite.errors import ConfigError, DataError
from detr_lite.evaluation import Evaluation
from detr_lite.output import cannot_write, staged, staged_file
from detr_lite.recipes import Phase
from detr_lite.weights import BACKBONE_FILE, save_backbone, save_model


@dataclass(frozen=True)
class Progress:
    """What a watcher is told; see `train`.

    Attributes:
        phase: its name.
        step: steps done in it, of `steps`.
        seconds: since the run began, or was resumed.
        losses: means since the last report.
        metrics: of the last evaluation, or empty.
    """

    phase: str
    step: int
    steps: int
    seconds: float
    losses: dict[str, float]
    metrics: dict[str, float]


class Run:
    """The files of a run, and its reports."""

    def __init__(self, recipe, out, accelerator, watch, checkpoint_seconds):
        self.recipe, self.out, self.watch = recipe, out, watch
        self.accelerator = accelerator
        self.main = accelerator.is_main_process
        self.began = self.saved = time.monotonic()
        self.checkpoint_seconds = checkpoint_seconds
        self.sums: dict[str, float] = {}
        self.count = 0
        self.metrics: dict[str, float] = {}

    @property
    def path(self) -> Path:
        """Where the checkpoint is."""
        return self.out / "checkpoint.pt"

    def start(self, model, resume: bool) -> tuple[int, int, dict]:
        """Return the phase and step to begin at, and the trainer's state."""
        if resume:
            return self._resume(model)
        if self.path.exists() or (self.out / "model.safetensors").exists():
            raise ConfigError(
                f"{self.out} already holds a run; go on with it by --resume "
                "or name another folder."
            )
        if self.main:
            with staged(self.out) as stage:
                (stage / "log.jsonl").write_text("")
        return 0, 0, {}

    def _resume(self, model) -> tuple[int, int, dict]:
        try:
            saved = torch.load(self.path, weights_only=True)
        except FileNotFoundError:
            raise ConfigError(
                f"{self.out} holds no unfinished run to resume; "
                "start one without --resume."
            ) from None
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ConfigError(
                f"{self.path} cannot be read ({type(error).__name__}); "
                "delete it and start again."
            ) from None
        if saved["recipe"] != json.dumps(asdict(self.recipe)):
            raise ConfigError(
                f"{self.path} belongs to a run with other settings; resume "
                "it with those, or name another folder."
            )
        model.load_state_dict(saved["model"])
        torch.set_rng_state(saved["rng"])
        return saved["phase"], saved["step"], saved["trainer"]

    def collect(self, losses: dict[str, Tensor]) -> None:
        """Add a step's losses to the next report."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        self.count += 1

    def report(self, phase: Phase, step: int) -> None:
        """Tell and log the mean losses since the last report."""
        means = {k: float(v) / self.count for k, v in self.sums.items()}
        self.sums, self.count = {}, 0
        if not math.isfinite(means["loss"]):
            raise DataError(
                f"The loss of phase {phase.name} became {means['loss']} "
                f"before step {step}; lower the learning rate."
            )
        self._tell(phase, step, means)
        self._log({"phase": phase.name, "step": step, **means})

    def evaluated(self, phase: Phase, step: int, evaluation) -> None:
        """Tell and log the figures of an evaluation."""
        self.metrics = evaluation.metrics
        self._tell(phase, step, {})
        self._log({"phase": phase.name, "step": step, **self.metrics})

    def _tell(self, phase: Phase, step: int, losses: dict) -> None:
        if self.watch and self.main:
            seconds = time.monotonic() - self.began
            self.watch(
                Progress(
                    phase.name,
                    step,
                    phase.steps,
                    seconds,
                    losses,
                    self.metrics,
                )
            )

    def _log(self, line: dict) -> None:
        if not self.main:
            return
        line["seconds"] = round(time.monotonic() - self.began, 1)
        path = self.out / "log.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise cannot_write(path, error) from None

    def checkpoint(self, model, trainer, phase: int, step: int) -> None:
        """Save the state, if the last time was long enough ago."""
        due = time.monotonic() - self.saved >= self.checkpoint_seconds
        if due and self.main:
            self._save(model, phase, step, trainer.state())

    def phase_done(self, model, phase: int) -> None:
        """Save what a phase leaves: the next one may start from it."""
        if not self.main:
            return
        if self.recipe.phases[phase].name == "backbone":
            with staged_file(self.out / BACKBONE_FILE) as part:
                save_backbone(model, part)
        self._save(model, phase + 1, 0, {})

    def _save(self, model, phase: int, step: int, trainer: dict) -> None:
        buffer = io.BytesIO()
        torch.save(
            {
                "recipe": json.dumps(asdict(self.recipe)),
                "phase": phase,
                "step": step,
                "model": model.state_dict(),
                "trainer": trainer,
                "rng": torch.get_rng_state(),
            },
            buffer,
        )
        with staged_file(self.path) as part:
            part.write_bytes(buffer.getbuffer())
        self.saved = time.monotonic()

    def finish(self, model, evaluation: Evaluation) -> None:
        """Write the results; the checkpoint has done its work."""
        if not self.main:
            return
        with staged(self.out) as stage:
            save_model(model, stage / "model.safetensors")
            (stage / "metrics.json").write_text(
                json.dumps(asdict(evaluation), indent=1) + "\n"
            )
        with contextlib.suppress(OSError):
            self.path.unlink()
