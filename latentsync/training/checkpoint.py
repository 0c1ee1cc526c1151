"""Checkpoints, whole or not there at all: every N steps, after the last one, and when the run is told to stop."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT

from latentsync.training.preemption import Preempted, StopSignals
from latentsync.work.files import remove_leftovers, written_whole


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, renames: no kill at any moment leaves half a checkpoint.

    (Lightning's own passes through the system's folder for temporary files and does not flush.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # type: ignore[override]
        with written_whole(path, lasting=True) as part:
            torch.save(checkpoint, part)


class RunCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which also saves after the last step and when the run is told to stop.

    On SIGTERM, SIGUSR1 or Ctrl-C, on whichever rank, the step in hand is finished, a checkpoint saved and `Preempted`
    raised on all ranks. Half an accumulated batch is never saved: the end of its step is waited for. In a validation
    the batch in hand is finished, and what is saved is the state after the training step before it.
    Arguments: ModelCheckpoint's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signals = StopSignals()
        self._steps_seen = 0
        self._between_steps = False
        self._loops: dict[str, Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._steps_seen = self._last_global_step_saved = trainer.global_step
        self._signals.install(trainer)
        if trainer.is_global_zero:
            remove_leftovers(str(self.dirpath))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step = trainer.global_step
        self._between_steps = step != self._steps_seen
        if not self._between_steps:
            return  # within an accumulated batch
        self._steps_seen = step
        signum = self._signals.agreed()
        if signum or step == trainer.max_steps:
            self._save_now(trainer)
        if signum:
            raise Preempted(signum, step)
        self._loops = trainer.fit_loop.state_dict()

    def on_validation_batch_end(self, trainer: lightning.Trainer, *unused: Any, **unused_by_name: Any) -> None:
        if self._between_steps and trainer.state.fn == TrainerFn.FITTING and (signum := self._signals.agreed()):
            raise Preempted(signum, trainer.global_step)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.validating and self._loops is not None:  # nothing but the loops has moved since the step
            checkpoint["loops"]["fit_loop"] = self._loops

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._signals.restore()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, Preempted):
            self._save_now(trainer)  # out of a validation; averaged weights have been put away by their own callback
        else:
            super().on_exception(trainer, pl_module, exception)
        self._signals.restore()

    def _save_now(self, trainer: lightning.Trainer) -> None:
        if self._last_global_step_saved != trainer.global_step:
            candidates = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, candidates)
            self._save_last_checkpoint(trainer, candidates)
