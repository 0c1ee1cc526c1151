"""One history of a run, however often it was stopped: metrics.csv goes on, and so does the run in Weights & Biases."""

import csv
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from latentsync.work.files import written_whole

WANDB_ID = "wandb_id"  # in a checkpoint


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which goes on in the metrics.csv that is there from the step that `begin_at` says."""

    def __init__(self, save_dir: str, name: str = "logs", flush_logs_every_n_steps: int = 10) -> None:
        super().__init__(save_dir, name, version=0, flush_logs_every_n_steps=flush_logs_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> "_Writer":
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment  # type: ignore[return-value]

    def begin_at(self, step: int) -> None:
        """Of what earlier starts logged keep what belongs to the first `step` steps; 0: a new run."""
        self.experiment.begin_at(step)


class _Writer(ExperimentWriter):
    """Rows that are in the file already stay there until `begin_at`."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._path = Path(self.metrics_file_path)
        self._earlier = len(self._rows())

    def _check_log_dir_exists(self) -> None:
        """Lightning's deletes the file."""

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            self.metrics_keys = list(reader.fieldnames or [])
            return [row for row in reader if row["step"]]

    def begin_at(self, step: int) -> None:
        rows = self._rows()
        kept = [row for row in rows[: self._earlier] if _belongs(row, step)] + rows[self._earlier :]
        self._earlier = 0
        if len(kept) == len(rows):
            return
        with written_whole(self._path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(kept)


def _belongs(row: dict[str, str], steps: int) -> bool:
    """Whether a row is of the first `steps` steps; they count from 0, an evaluation's row has the steps behind it."""
    evaluated = any(value for name, value in row.items() if name.startswith("eval/"))
    return int(row["step"]) < steps + evaluated * (steps > 0)


def go_on(trainer: lightning.Trainer) -> None:
    """Tell the loggers from which step on the run is trained."""
    for logger in trainer.loggers:
        if isinstance(logger, RunCSVLogger) and trainer.is_global_zero:
            logger.begin_at(trainer.global_step)


def keep(trainer: lightning.Trainer, checkpoint: dict) -> None:
    """What a checkpoint needs for it: all rows on the disk, and the run's name in Weights & Biases."""
    for logger in trainer.loggers:
        logger.save()
        if isinstance(logger, WandbLogger):
            checkpoint[WANDB_ID] = logger.version


def wandb_id(checkpoint: str | None) -> str | None:
    """The run in Weights & Biases that a checkpoint belongs to, if any."""
    if checkpoint is None or not Path(checkpoint).is_file():
        return None  # DeepSpeed's are folders
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True).get(WANDB_ID)
