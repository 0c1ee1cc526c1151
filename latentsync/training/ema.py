"""An exponential moving average of the trained weights: validated and exported in their place, resumed exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from latentsync.errors import UserError


class WeightEMA(Callback):
    """θ̄ ← d·θ̄ + (1 − d)·θ after every optimizer step, with d = min(decay, (1 + n) / (10 + n)) at the n-th of them.

    The warm-up of d (that of TensorFlow's ExponentialMovingAverage) lets the average forget where training started.
    Only trained parameters are averaged, in float32, on their own device. Lightning's WeightAveraging is not used: it
    copies the frozen networks too (with TREPA a billion parameters) and loses a module whose state leaves them out.

    decay: at least 0, below 1. A checkpoint holds the trained weights as its `state_dict`, the average beside them.
    Raises UserError: decay out of range; weights that are sharded over ranks; a checkpoint's average of other weights.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.ema.decay={decay}: give a number of at least 0 and below 1")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._put_away: dict[str, Tensor] = {}
        self._steps_seen = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trained = trained_parameters(pl_module)
        if any(isinstance(value, DTensor) or hasattr(value, "ds_id") for value in trained.values()):
            raise UserError("callbacks: ema needs whole weights on every rank; use trainer=ddp, or leave ema out")
        start: dict[str, Tensor] = self._of(pl_module) or dict(trained)
        self.average = {
            name: start[name].detach().to(value.device, torch.float32, copy=True) for name, value in trained.items()
        }
        self._steps_seen = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *unused: Any, **unused_by_name: Any
    ) -> None:
        if trainer.global_step == self._steps_seen:
            return  # within an accumulated batch
        self._steps_seen = trainer.global_step
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in trained_parameters(pl_module).items():
            self.average[name].lerp_(value.float(), 1 - decay)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.put_in(pl_module)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.put_back(pl_module)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self.put_back(pl_module)

    @torch.no_grad()
    def put_in(self, module: nn.Module) -> None:
        """Let the average take the place of the trained weights; nothing happens before training has started."""
        if self._put_away:
            return
        average = self._of(module)
        for name, value in trained_parameters(module).items() if average else ():
            self._put_away[name] = value.detach().clone()
            value.copy_(average[name])

    @torch.no_grad()
    def put_back(self, module: nn.Module) -> None:
        """Give the module its trained weights back, if they were put away."""
        for name, value in trained_parameters(module).items() if self._put_away else ():
            value.copy_(self._put_away[name])
        self._put_away = {}

    def _of(self, module: nn.Module) -> dict[str, Tensor]:
        trained = trained_parameters(module).keys()
        if self.average and self.average.keys() != trained:
            raise UserError(
                f"checkpoint: its average is of {len(self.average)} tensors, others than the {len(trained)} that are "
                "trained; resume with the model.trainable that the run was started with"
            )
        return self.average

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, on rank 0's word: all ranks have the same average."""
        return {"decay": self.decay, "updates": self.updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.average = state_dict["updates"], state_dict["average"]


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the optimizer moves, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


@contextmanager
def averaged_weights(trainer: lightning.Trainer, module: nn.Module) -> Iterator[None]:
    """Inside, the module has the averaged weights if the run keeps an average, else its own."""
    averages = [callback for callback in trainer.callbacks if isinstance(callback, WeightEMA)]  # type: ignore[attr-defined]
    for average in averages:
        average.put_in(module)
    try:
        yield
    finally:
        for average in averages:
            average.put_back(module)
