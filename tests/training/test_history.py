"""A run that was stopped and resumed has one metrics.csv, without gaps and without a step twice."""

import csv
from pathlib import Path
from types import SimpleNamespace

import torch
from lightning.pytorch.loggers import WandbLogger

from latentsync.training.history import RunCSVLogger, go_on, keep, wandb_id


def rows_in(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def logged(folder: Path, steps: range, begin: int, **more: float) -> list[dict[str, str]]:
    """Start a run's logger, let training begin at a step, log a loss for each of `steps`; what is in the file then."""
    logger = RunCSVLogger(str(folder))
    logger.save()  # as Lightning does before the checkpoint is read
    logger.begin_at(begin)
    for step in steps:
        logger.log_metrics({"train/loss": 1 / (step + 1), **more}, step)
    logger.finalize("success")
    return rows_in(folder)


def test_rows_after_the_checkpoint_are_written_anew_and_those_before_stay(tmp_path: Path) -> None:
    logged(tmp_path, range(6), begin=0)  # killed at step 6; the last checkpoint is of step 4
    rows = logged(tmp_path, range(4, 8), begin=4, later=2.0)
    assert [int(row["step"]) for row in rows] == list(range(8))
    assert [float(row["train/loss"]) for row in rows] == [1 / (step + 1) for step in range(8)]
    assert [row["later"] for row in rows] == [""] * 4 + ["2.0"] * 4


def test_new_run_in_an_old_folder_begins_anew(tmp_path: Path) -> None:
    logged(tmp_path, range(6), begin=0)
    assert [row["step"] for row in logged(tmp_path, range(2), begin=0)] == ["0", "1"]


def test_what_was_logged_before_the_first_step_is_kept(tmp_path: Path) -> None:
    logger = RunCSVLogger(str(tmp_path))
    logger.log_metrics({"val/loss": 3.0}, 0)
    logger.save()
    logger.begin_at(0)
    logger.finalize("success")
    assert [row["val/loss"] for row in rows_in(tmp_path)] == ["3.0"]


def test_evaluation_of_the_checkpoints_own_step_is_kept(tmp_path: Path) -> None:
    logger = RunCSVLogger(str(tmp_path))
    logger.begin_at(0)
    for step, metrics in ((3, {"train/loss": 1.0}), (4, {"eval/psnr": 30.0}), (4, {"train/loss": 0.5})):
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    rows = logged(tmp_path, range(4, 5), begin=4)
    assert [(row["step"], row["eval/psnr"], row["train/loss"]) for row in rows] == [
        ("3", "", "1.0"), ("4", "30.0", ""), ("4", "", "0.2"),
    ]  # fmt: skip


def test_checkpoint_knows_its_run_in_weights_and_biases(tmp_path: Path) -> None:
    wandb, csv_logger = WandbLogger.__new__(WandbLogger), RunCSVLogger(str(tmp_path))
    wandb._id, wandb._experiment = "abc123", None
    trainer = SimpleNamespace(loggers=[csv_logger, wandb], is_global_zero=True, global_step=0)
    checkpoint: dict = {}
    keep(trainer, checkpoint)
    go_on(trainer)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    torch.save({}, tmp_path / "b.ckpt")
    assert wandb_id(str(tmp_path / "a.ckpt")) == "abc123"
    assert [wandb_id(str(tmp_path / "b.ckpt")), wandb_id(None), wandb_id(str(tmp_path))] == [None] * 3
