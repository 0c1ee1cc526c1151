"""Which checkpoint a run goes on from, and what a run does that was cut off after its last step."""

import logging
import random
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from run_process import write_tiny_shards
from tiny_module import TinyModule, tiny_data

from latentsync.errors import UserError
from latentsync.training.resume import (
    RunState,
    find_checkpoint,
    finish,
    random_state,
    set_random_state,
)


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"{step:08d}.ckpt"
    torch.save({"state_dict": {"w": torch.ones(999)}, "loops": {}, "optimizer_states": [], "global_step": step}, path)
    return path


def test_auto_takes_the_newest_good_checkpoint_and_warns_of_cut_off_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = [checkpoint(tmp_path, step) for step in (2, 10, 9)][1]
    cut = checkpoint(tmp_path, 12)
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "00000014.ckpt").touch()
    (tmp_path / "last.ckpt").symlink_to(cut.name)
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint("auto", tmp_path) == find_checkpoint("last", tmp_path) == str(good)
    passed_over = [record.getMessage() for record in caplog.records]
    assert all(any(name in text for text in passed_over) for name in ("00000012.ckpt", "00000014.ckpt"))


def test_auto_starts_anew_where_last_refuses(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        assert find_checkpoint("auto", folder) is None
        with pytest.raises(UserError, match="resume=last: no good checkpoint"):
            find_checkpoint("last", folder)
    assert find_checkpoint(None, tmp_path) is None


def test_named_checkpoint_has_to_exist_and_to_be_whole(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    assert find_checkpoint(str(path), tmp_path / "elsewhere") == str(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"00000003\.ckpt: not a checkpoint, or cut off"):
        find_checkpoint(str(path), tmp_path)
    with pytest.raises(UserError, match="there is no such checkpoint"):
        find_checkpoint(str(tmp_path / "x.ckpt"), tmp_path)


def test_random_generators_come_back_through_a_file(tmp_path: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.normal()), float(torch.rand(1))]

    draws()  # an odd number of normal ones: the second of the pair is kept in the state
    torch.save(random_state(), tmp_path / "state.pt")
    first = draws()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() == first


class EndSeen(Callback):
    """Counts validations and ends of training."""

    def __init__(self) -> None:
        self.ends = 0

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.ends += 1


def test_run_cut_off_after_its_last_step_is_validated_and_ended(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", 5)
    seen: list[tuple[bool, int, int]] = []
    for resume in (None, tmp_path / "done.ckpt"):
        torch.manual_seed(0)
        module, end, state = TinyModule(), EndSeen(), RunState("seed: 0\n", tmp_path / "config.yaml")
        trainer = lightning.Trainer(
            accelerator="cpu", max_steps=4, max_epochs=-1, logger=False, callbacks=[state, end],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, limit_val_batches=2, val_check_interval=4, check_val_every_n_epoch=None,
        )  # fmt: skip
        data = tiny_data(shards)
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        if not state.trained:
            finish(trainer, module, data)
        seen.append((state.trained, end.ends, len(module.validated)))
        trainer.save_checkpoint(tmp_path / "done.ckpt")
    assert seen == [(True, 1, 2), (False, 1, 2)]
