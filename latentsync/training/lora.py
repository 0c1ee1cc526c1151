"""Adapt a trained U-Net to one speaker: LoRA on its attention, everything else frozen (Hu et al. 2021)."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from peft.tuners.lora import LoraModel
from torch import Tensor

from latentsync.errors import UserError
from latentsync.models.lora import MARK, add_adapter, lora_config, merged, save_adapter
from latentsync.models.unet import UNet3DConditionModel
from latentsync.training.ema import averaged_weights
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.model_folder import complete_folder


class LoraLipSyncModule(LipSyncModule):
    """The objective of `LipSyncModule`, trained through an adapter alone; its checkpoints hold the adapter alone.

    rank, alpha: the adapter's size and strength (its effect is scaled by alpha / rank). targets: ends of the names of
    the layers it is put beside. dropout: share of its input that is left out. Others: `LipSyncModule`'s; `trainable`
    stays None. The U-Net must come with weights (`model.unet.weights`), the same ones at every resume. Raises UserError
    for settings that make no adapter.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        *,
        rank: int = 16,
        alpha: float = 16.0,
        targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0"),
        dropout: float = 0.0,
        trainable: list[str] | None = None,
        **settings: Any,
    ) -> None:
        if trainable is not None:
            raise UserError(f"model.trainable={trainable}: with LoRA the adapter alone is trained; leave it null")
        tuner = add_adapter(unet, lora_config(rank, alpha, targets, dropout))
        super().__init__(unet, trainable=[MARK], **settings)
        self._tuner = [tuner]  # in a list, so that it is no submodule: it holds the same U-Net

    @property
    def tuner(self) -> LoraModel:
        """What knows the adapter's layers."""
        return self._tuner[0]

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The adapter alone."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        for name in [name for name in state if name.startswith(prefix) and MARK not in name]:
            del state[name]
        return state

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raise UserError if the checkpoint's adapter is not this configuration's."""
        found: dict[str, Tensor] = checkpoint["state_dict"]
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in found.items()}:
            raise UserError("checkpoint does not fit the configured adapter; go on with the run's own rank and targets")


class ExportLora(Callback):
    """At the end of training: the adapter into `folder`/adapter, and the U-Net with it merged in into `folder`/unet."""

    def __init__(self, folder: str, merge: bool = True) -> None:
        self.folder, self.merge = Path(folder), merge

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not isinstance(module, LoraLipSyncModule):
            raise UserError("callbacks: export_lora needs model=lora")
        if not trainer.is_global_zero:
            return
        with averaged_weights(trainer, module):
            save_adapter(module.unet, self.folder / "adapter")
            if self.merge:
                merged(module.tuner).save_pretrained(self.folder / "unet")
                complete_folder(self.folder / "unet", module.trained_with.told)
