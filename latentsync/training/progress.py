"""How far a run is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar


def progress(seconds: float = 30.0) -> ProgressBar:
    """A bar if stderr is a terminal, else a line every `seconds`."""
    return TQDMProgressBar() if sys.stderr.isatty() else ProgressLines(seconds)


class ProgressLines(ProgressBar):
    """Prints step, loss and whatever else the module shows in its bar: first after one step, then every
    `seconds`, and at the end, when the last validation is behind it.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._next = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._enabled and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.seconds
            print(self.line(trainer, pl_module), flush=True)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._enabled:  # the last validation is behind us
            print(self.line(trainer, pl_module), flush=True)

    def line(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> str:
        """One line: "step 120 of 3600  loss 0.0731  frames_per_second 41.2"."""
        total = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
        shown = {name: value for name, value in self.get_metrics(trainer, module).items() if name != "v_num"}
        values = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
        ]
        return "  ".join([f"step {trainer.global_step}{total}", *values])
