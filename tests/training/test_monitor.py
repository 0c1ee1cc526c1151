"""The curves beside the losses: throughput, gradient norms, pictures in the loggers."""

import time
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tiny_lipsync import FRAMES, batch, draws, module
from torch.utils.data import DataLoader, Dataset

from latentsync.training.gradient_norms import GradientNorms
from latentsync.training.loss_plot import read_metrics
from latentsync.training.pictures import log_picture
from latentsync.training.throughput import Throughput, frames_of, peak_memory


class SlowClips(Dataset):
    """Takes a while for each batch."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index >= 4:
            raise IndexError
        time.sleep(0.3)
        return batch(seed=index)


def fitted(tmp_path: Path, *callbacks: lightning.Callback, **options: Any) -> dict[str, list[tuple[int, float]]]:
    logger = CSVLogger(tmp_path, name="logs")
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, callbacks=list(callbacks), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=2, **options,
    )  # fmt: skip
    trainer.fit(
        module(zero_outputs=False, trainable=["attn2.", "motion_modules."]), DataLoader(SlowClips(), batch_size=None)
    )
    return read_metrics(Path(logger.log_dir) / "metrics.csv")


def test_throughput_tells_waiting_from_working(tmp_path: Path) -> None:
    began = time.perf_counter()
    logged = fitted(tmp_path, Throughput())
    whole = time.perf_counter() - began  # two steps, with 0.3 s of waiting or more, take part of it
    assert len(logged["train/frames_per_second"]) == 2
    assert all(2 * FRAMES / whole < value < 2 * FRAMES / 0.3 for _, value in logged["train/frames_per_second"])
    assert all(0.3 / whole < value < 1 for _, value in logged["train/data_wait"])
    assert logged["train/peak_memory_gb"][0][1] > 0.1


def test_validation_and_checkpoints_are_not_waiting() -> None:
    throughput, trainer = Throughput(), lightning.Trainer(logger=False, barebones=False, accelerator="cpu")
    throughput.on_train_batch_start(trainer, None, batch(), 0)
    throughput.on_train_batch_end(trainer, None, None, batch(), 0)
    throughput.on_validation_start(trainer, None)
    time.sleep(0.05)
    throughput.on_train_batch_start(trainer, None, batch(), 1)
    assert throughput._waited == 0


def test_frames_are_counted_in_any_kind_of_batch() -> None:
    one = batch(2)
    assert frames_of(one) == 2 * FRAMES
    one.target = None
    assert frames_of(one) == 2 * FRAMES
    assert frames_of(torch.zeros(3, 5)) == 3
    assert peak_memory(torch.device("cpu")) > 1e8


def test_gradient_norms_by_part_make_up_the_whole(tmp_path: Path) -> None:
    parts = {"temporal": "motion_modules.", "audio": "attn2.", "none": "no such name"}
    logged = fitted(tmp_path, GradientNorms(parts), gradient_clip_val=1e-9)
    assert {name for name in logged if name.startswith("gradients/")} == {
        "gradients/temporal", "gradients/audio", "gradients/all",
    }  # fmt: skip
    for number, (_, whole) in enumerate(logged["gradients/all"]):
        squares = sum(logged[f"gradients/{part}"][number][1] ** 2 for part in ("temporal", "audio"))
        assert whole == pytest.approx(squares**0.5, rel=1e-4)
        assert whole > 1e-6  # before clipping


def test_gradient_norm_is_that_of_torch() -> None:
    lip_sync = module(zero_outputs=False, trainable=["attn2."])
    lip_sync.step(batch(), draws(batch())).total.backward()
    expected = torch.nn.utils.clip_grad_norm_(lip_sync.parameters(), 1e9)
    assert float(GradientNorms({"audio": "attn2."}).norms(lip_sync)["audio"]) == pytest.approx(float(expected))


def test_pictures_reach_tensorboard_and_offline_wandb(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((8, 12, 3), 90, np.uint8))
    board = TensorBoardLogger(tmp_path, name="tensorboard")
    wandb = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    trainer = lightning.Trainer(logger=[board, wandb], accelerator="cpu", enable_checkpointing=False)
    log_picture(trainer, "val/sample", path)
    board.experiment.flush()
    wandb.experiment.finish()
    [events] = Path(board.log_dir).glob("events*")
    assert b"val/sample" in events.read_bytes()
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/val/sample*.png"))
