"""A lip-sync module out of a checkpoint alone: its parts are rebuilt from what the checkpoint names."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.losses.objective import Objective
from latentsync.weights.adapter import load_autoencoder
from latentsync.weights.bundle import companion, companions_of, read_unet
from latentsync.weights.unet import Fit

if TYPE_CHECKING:
    from latentsync.training.lipsync import LipSyncModule

    Module = TypeVar("Module", bound=LipSyncModule)


def rebuilt(cls: "type[Module]", path: str | Path, **given: Any) -> "Module":
    """A module of class `cls` with the checkpoint's U-Net, autoencoder, schedule and resolution.

    given: constructor arguments that replace them, or that no checkpoint tells (objective: the noise alone; optimizer:
    AdamW at 1e-5). Raises UserError when the file is no lip-sync checkpoint or a part is not to be found.
    """
    what = f"checkpoint '{path}'"
    found = read_unet(Path(path), what)
    told, fit = companions_of(Path(path), found), Fit.of(found.config())
    if "autoencoder" not in given:
        source = companion(Path(path), "autoencoder", told.autoencoder, None, fit, what)
        given["autoencoder"] = load_autoencoder(source)
    settings = {
        "unet": found.adapter.load(found),
        "objective": Objective(),
        "schedule": NoiseSchedule(**(told.schedule or {})),
        "optimizer": partial(torch.optim.AdamW, lr=1e-5),
        "resolution": told.resolution or fit.resolution or 256,
    }
    module = cls(**{**settings, **given})
    module.trained_with.restore(told.as_dict())
    return module
