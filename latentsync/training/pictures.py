"""Show a picture of a run to the loggers that take pictures."""

from pathlib import Path

import lightning
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image


def log_picture(trainer: lightning.Trainer, name: str, path: Path) -> None:
    """The PNG at `path` under `name`, at the step in hand."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            picture = np.asarray(Image.open(path).convert("RGB"))
            logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")
