"""Save a trained part as config.json and safetensors when training ends."""

from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from latentsync.errors import UserError
from latentsync.models.weight_files import readable
from latentsync.training.ema import averaged_weights
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.model_folder import PARTS, complete_folder


class ExportPart(Callback):
    """At the end of training, `module.<part>.save_pretrained(folder)`: the averaged weights if there is an average.

    part: dotted attribute of the module, e.g. "unet" or "vae". folder: where config.json and the weights go. With a
    lip-sync U-Net go the parts that it was trained with: parts="ours": by name where `fetch` knows them, else inside;
    "all": all inside (see `weights.model_folder`).
    """

    def __init__(self, part: str, folder: str, parts: str = "ours") -> None:
        if parts not in PARTS:
            raise UserError(f"callbacks.export.parts={parts}: give one of {', '.join(PARTS)}")
        self.part, self.folder, self.parts = part, Path(folder), parts

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        part = module
        for name in self.part.split("."):
            part = getattr(part, name)
        with averaged_weights(trainer, module):
            part.save_pretrained(self.folder)  # type: ignore[operator]
        readable(self.folder)
        if isinstance(module, LipSyncModule) and part is module.unet:
            facts = {"steps trained": trainer.global_step}
            print(complete_folder(self.folder, module.trained_with.told, parts=self.parts, facts=facts))
