"""At each validation of SyncNet: how far apart are the confidences of pairs in sync and out of sync?"""

from pathlib import Path

import lightning
import matplotlib.figure
import numpy as np
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.training.pictures import log_picture
from latentsync.training.syncnet import SyncNetModule
from latentsync.work.files import written_whole


class SyncNetHistogram(lightning.Callback):
    """Writes `folder`/step_N.png, and shows it to loggers that take pictures.

    Two histograms of the cosine on held-out clips, of the windows in sync and of those out of sync; a SyncNet that is
    stuck shows one heap. Over several ranks the pairs of all of them are counted.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not isinstance(module, SyncNetModule):
            raise UserError("callbacks: syncnet_histogram needs the SyncNet module; leave it out")
        if trainer.sanity_checking or not module.val_cosines:
            return
        cosines = torch.cat(module.val_cosines, dim=1)  # (2, N)
        if trainer.world_size > 1:
            cosines = torch.cat(gather_unequal(module, cosines), dim=1)
        if not trainer.is_global_zero:
            return
        figure = histogram(cosines.cpu(), trainer.global_step)
        path = self.folder / f"step_{trainer.global_step:08d}.png"
        with written_whole(path) as part:
            figure.savefig(part, format="png", dpi=110)
        log_picture(trainer, "val/confidence", path)


def gather_unequal(module: lightning.LightningModule, cosines: Tensor) -> list[Tensor]:
    """Every rank's (2, N), whose N may differ: padded to the longest, gathered, cut."""
    lengths = module.all_gather(torch.tensor(cosines.shape[1], device=cosines.device))
    assert isinstance(lengths, Tensor)
    counts = [int(count) for count in lengths.flatten()]
    gathered = module.all_gather(torch.nn.functional.pad(cosines, (0, max(counts) - cosines.shape[1])))
    assert isinstance(gathered, Tensor)  # (ranks, 2, longest)
    return [part[:, :count] for part, count in zip(gathered, counts)]


def histogram(cosines: Tensor, step: int) -> "matplotlib.figure.Figure":
    """The figure of cosines (2, N): first row in sync, second row out of sync."""
    figure = matplotlib.figure.Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    bins = np.linspace(0, 1, 41).tolist()
    correct = 100 * float(((cosines > 0.5) == torch.tensor([[True], [False]])).float().mean())
    for row, label, color in zip(cosines.clamp(0, 1), ("in sync", "out of sync"), ("tab:green", "tab:red")):
        axes.hist(row.numpy(), bins=bins, alpha=0.6, label=label, color=color)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="cosine", ylabel="windows", xlim=(0, 1))
    axes.set_title(f"step {step}: {correct:.1f} % of {cosines.numel()} pairs right")
    axes.legend()
    return figure
