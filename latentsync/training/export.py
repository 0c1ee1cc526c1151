"""Save a trained part as config.json and safetensors when training ends."""

from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from latentsync.training.ema import averaged_weights


class ExportPart(Callback):
    """At the end of training, `module.<part>.save_pretrained(folder)`: the averaged weights if there is an average.

    part: dotted attribute of the module, e.g. "unet" or "vae". folder: where config.json and the weights go.
    """

    def __init__(self, part: str, folder: str) -> None:
        self.part, self.folder = part, Path(folder)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        part = module
        for name in self.part.split("."):
            part = getattr(part, name)
        with averaged_weights(trainer, module):
            part.save_pretrained(self.folder)  # type: ignore[operator]
