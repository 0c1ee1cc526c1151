"""A small evaluation now and then while training, its numbers among the run's curves."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from latentsync.errors import UserError
from latentsync.training.ema import averaged_weights
from latentsync.training.lipsync import LipSyncModule

Score = Callable[[LipSyncModule, Path], Mapping[str, float]]


class Evaluation(Callback):
    """Every `every_n_steps` steps `score` gets the module, with averaged weights if there are any, and a folder of its
    own below `folder`; what it returns is logged as eval/NAME. Its `prepare(module)`, if it has one, is called after
    the first batch, so that what is missing is said before much is trained.

    On the first rank alone, while the others go on to the next step and wait there. Random generators are as they were
    afterwards. Raises UserError for an interval below 1.
    """

    def __init__(self, score: Score, folder: str, every_n_steps: int = 1000) -> None:
        if every_n_steps < 1:
            raise UserError(f"callbacks.evaluation.every_n_steps={every_n_steps}: give 1 or more")
        self.score, self.folder, self.every_n_steps = score, Path(folder), every_n_steps
        self._last, self._prepared = 0, False

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if not isinstance(module, LipSyncModule):
            raise UserError("callbacks: evaluation needs the lip-sync module")
        if not self._prepared and trainer.is_global_zero and hasattr(self.score, "prepare"):
            self.score.prepare(module)
        self._prepared, step = True, trainer.global_step
        if step == self._last or step % self.every_n_steps or step == 0 or not trainer.is_global_zero:
            return
        self._last = step
        with averaged_weights(trainer, module), evaluating(module), torch.random.fork_rng(), torch.no_grad():
            found = self.score(module, self.folder / f"step_{step:08d}")
        named = {f"eval/{name}": float(value) for name, value in found.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named, step=step)
        rank_zero_info(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in named.items()))


@contextlib.contextmanager
def evaluating(module: LipSyncModule) -> Iterator[None]:
    """Inside, the U-Net is in evaluation mode; afterwards every part of it is as it was, and the networks have the
    types and the memory layout that they are trained in, whatever an inference pipeline gave them."""
    before = {name: part.training for name, part in module.unet.named_modules()}
    layouts = {id(parameter): (parameter.dtype, memory_format(parameter)) for parameter in module.parameters()}
    module.unet.eval()
    try:
        yield
    finally:
        for name, part in module.unet.named_modules():
            part.training = before[name]
        for parameter in module.parameters():
            kind, layout = layouts[id(parameter)]
            parameter.data = parameter.data.to(kind, memory_format=layout)


def memory_format(tensor: Tensor) -> torch.memory_format:
    """Whether the channels of a convolution's weights lie last in memory."""
    last = tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
