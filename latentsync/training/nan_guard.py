"""What happens when the loss is not a number: the batch is kept, the term is named, the run stops or goes on."""

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.losses.objective import ObjectiveResult
from latentsync.work.files import written_whole

log = logging.getLogger(__name__)


class NanGuard:
    """Looks at each training step's loss before its backward pass, on all ranks together.

    folder: where the batch goes, as step_NNNNNNNN_rank_R.pt; `torch.load(path, weights_only=True)` gives a dictionary
    of the batch's fields and "losses". action: "stop" ends the run with one line; "skip" leaves out the step on every
    rank, with a warning; "auto" skips under precision 16-mixed, where an overflow now and then belongs to the search
    for the loss's scale, and stops under any other. max_skipped: so many skipped steps in a row end the run, too.
    Raises UserError for another action.
    """

    def __init__(self, folder: str, action: Literal["auto", "stop", "skip"] = "auto", max_skipped: int = 20) -> None:
        if action not in ("auto", "stop", "skip"):
            raise UserError(f"model.nan_guard.action={action}: give auto, stop or skip")
        self.folder, self.action, self.max_skipped = Path(folder), action, max_skipped
        self._skipped = 0

    def passes(self, module: lightning.LightningModule, batch: ClipBatch, result: ObjectiveResult) -> bool:
        """Whether the step may go on. Raises UserError if it may not and the action is to stop."""
        finite = bool(result.total.isfinite())
        strategy = module.trainer.strategy
        if not finite:
            path = self.keep(batch, result, module.global_step, module.global_rank)
            message = f"step {module.global_step}: {describe(result)}; the batch is kept in '{path}'"
        if strategy.reduce_boolean_decision(finite, all=True):
            self._skipped = 0
            return True
        if finite:
            message = f"step {module.global_step}: the loss is not finite on another rank"
        self._skipped += 1
        if self.action == "stop" or (self.action == "auto" and module.trainer.precision != "16-mixed"):
            raise UserError(f"{message}; to go on over such batches, set model.nan_guard.action=skip")
        if self._skipped > self.max_skipped:
            raise UserError(
                f"{message}; {self.max_skipped} steps in a row were skipped: the weights are likely damaged"
            )
        log.warning("%s; the step is skipped", message)
        return False

    def keep(self, batch: ClipBatch, result: ObjectiveResult, step: int, rank: int) -> Path:
        """Write the batch and its losses; returns where."""
        path = self.folder / f"step_{step:08d}_rank_{rank}.pt"
        content: dict[str, Any] = {part.name: _on_cpu(getattr(batch, part.name)) for part in fields(batch)}
        content["losses"] = {name: float(value.detach()) for name, value in result.raw.items()}
        with written_whole(path) as part:
            torch.save(content, part)
        return path


def describe(result: ObjectiveResult) -> str:
    """Which terms are not finite, with their values."""
    bad = [f"{name}={float(value.detach()):g}" for name, value in result.raw.items() if not value.isfinite()]
    return f"loss term {', '.join(bad)} is not finite" if bad else "the sum of the loss terms is not finite"


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return {name: _on_cpu(entry) for name, entry in value.items()} if isinstance(value, dict) else value
