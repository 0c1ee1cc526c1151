"""How fast a run is: frames a second, the share of time spent waiting for data, and the peak of memory."""

import resource
import sys
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback


class Throughput(Callback):
    """Logs, over the steps since it last did, with the trainer's `log_every_n_steps`:

    train/frames_per_second: training frames of all ranks a second; train/data_wait: share of the time, 0 to 1, between
    the end of a batch and the arrival of the next one; train/peak_memory_gb: of this rank's device since the start, on
    the CPU of the process. Validation and the writing of checkpoints do not count.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._waited = self._worked = 0.0
        self._since: float | None = None  # the end of the last batch, unless something else came after it
        self._began = 0.0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._began = time.perf_counter()
        if self._since is not None:
            self._waited += self._began - self._since

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._worked += time.perf_counter() - self._began
        self._frames += frames_of(batch)
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log(trainer, pl_module)
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._since = None

    def on_save_checkpoint(self, *unused: Any) -> None:
        self._since = None

    def _log(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        seconds = self._waited + self._worked
        module.log("train/frames_per_second", self._frames * trainer.world_size / seconds, prog_bar=True)
        module.log("train/data_wait", self._waited / seconds, prog_bar=True)
        module.log("train/peak_memory_gb", peak_memory(module.device) / 1e9)
        self._frames, self._waited, self._worked = 0, 0.0, 0.0


def frames_of(batch: Any) -> int:
    """Target frames in a batch of clips: clips times frames."""
    for name in ("target", "target_moments", "audio_tokens"):
        value = getattr(batch, name, None)
        if value is not None:
            return value.shape[0] * value.shape[1]
    return len(batch)


def peak_memory(device: torch.device) -> int:
    """The most bytes allocated on the device so far; on the CPU, the most resident ones of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
