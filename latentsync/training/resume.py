"""Going on where a run stopped: which checkpoint, what it keeps beside Lightning's own state, and the end of a run."""

import logging
import os
import pickle
import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from latentsync.errors import UserError
from latentsync.training.history import go_on, keep
from latentsync.work.files import write_whole

log = logging.getLogger(__name__)

TRAINING_STATE = {"state_dict", "loops", "optimizer_states", "global_step"}


def find_checkpoint(resume: str | None, folder: Path) -> str | None:
    """The checkpoint to go on from.

    resume: None for a new run; "auto" for the newest good one in `folder`, or a new run when there is none; "last" the
    same, but there must be one; else a path (a folder is DeepSpeed's; it is not looked into).
    Checkpoints of a run that cannot be read are passed over with a warning. Raises UserError for one named by path.
    """
    if resume is None:
        return None
    if resume in ("auto", "last"):
        newest = newest_checkpoint(folder)
        if newest is None and resume == "last":
            raise UserError(f"resume=last: no good checkpoint in '{folder}'; leave resume out to start anew")
        return None if newest is None else str(newest)
    if not os.path.exists(resume):
        raise UserError(f"resume={resume}: there is no such checkpoint; leave resume out to start anew")
    if not os.path.isdir(resume):
        training_step(Path(resume))
    return resume


def newest_checkpoint(folder: Path) -> Path | None:
    """The good checkpoint of the most training steps in `folder` (of equals the latest written), or None."""
    found: list[tuple[int, int, Path]] = []
    for path in sorted(folder.glob("*.ckpt")):
        if path.is_symlink() or not path.is_file():  # last.ckpt is a link to another one
            continue
        try:
            found.append((training_step(path), path.stat().st_mtime_ns, path))
        except UserError as error:
            log.warning("passed over: %s", error)
    return max(found)[2] if found else None


def training_step(path: Path) -> int:
    """How many steps the checkpoint has behind it. Raises UserError unless a run can go on from it.

    Weights alone, or half a file, are not enough. The file is mapped: no tensor is read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"resume={path}: not a checkpoint, or cut off; give another, or leave resume out to start anew"
        ) from error
    if not isinstance(content, dict) or not content.keys() >= TRAINING_STATE:
        raise UserError(f"resume={path}: holds no training state; to start from its weights: model.unet.weights={path}")
    return int(content["global_step"])


class RunState(Callback):
    """Keeps in checkpoints what Lightning leaves out: the random generators of every rank and the configuration.

    config: the resolved configuration as YAML; written to `path` when the run has found its data, and to the
    checkpoint's "config". With another number of ranks than before, generators start from (step, rank).
    """

    def __init__(self, config: str, path: Path) -> None:
        self.config, self.path = config, path
        self.trained = False  # whether there was a step left to train
        self._restored: list[dict[str, Any]] | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            write_whole(self.path, self.config)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.trained = True
        go_on(trainer)
        if self._restored is None:
            return
        if len(self._restored) == trainer.world_size:
            set_random_state(self._restored[trainer.global_rank])
        else:
            entropy = np.random.SeedSequence((trainer.global_step, trainer.global_rank))
            lightning.seed_everything(int(entropy.generate_state(1)[0]), verbose=False)
        self._restored = None

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        keep(trainer, checkpoint)
        own = random_state()
        states = [own]
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(gathered, own)
            states = gathered
        checkpoint["random_states"], checkpoint["config"] = states, self.config

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._restored = checkpoint.get("random_states")


def random_state() -> dict[str, Any]:
    """The global generators of this process, in types that a file may hold without code: Python, NumPy, torch, CUDA."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """The reverse of `random_state`; a CUDA state is left out on a machine without CUDA."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def finish(trainer: lightning.Trainer, module: lightning.LightningModule, data: lightning.LightningDataModule) -> None:
    """What follows the last step, for a run that was stopped between its last step and its end.

    Lightning has nothing left to train then and leaves at once; the validation, the export and the plots are made here.
    """
    trainer.validate(module, data, verbose=False)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        callback.on_train_end(trainer, module)
