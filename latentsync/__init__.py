"""LatentSync in Lightning: audio-driven lip sync with latent diffusion (arXiv 2412.09262).

    import latentsync as ls

    ls.LipSyncPipeline.from_pretrained("demo")("talk.mp4", "speech.wav", "out.mp4", seed=7)

Importing the package costs nothing: each of the names in `__all__` is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentsync.data.datamodule import ClipDataModule as ClipDataModule
    from latentsync.diffusion.sampler import Sampler as Sampler
    from latentsync.diffusion.schedule import NoiseSchedule as NoiseSchedule
    from latentsync.errors import UserError as UserError
    from latentsync.inference.options import LipSyncOptions as LipSyncOptions
    from latentsync.inference.pipeline import LipSyncPipeline as LipSyncPipeline
    from latentsync.losses.objective import Objective as Objective
    from latentsync.models.unet import UNet3DConditionModel as UNet3DConditionModel
    from latentsync.training.lipsync import LipSyncModule as LipSyncModule
    from latentsync.weights.bundle import load_bundle as load_bundle
    from latentsync.weights.bundle import load_unet as load_unet

__version__ = "0.1.0"

_HOMES = {
    "ClipDataModule": "latentsync.data.datamodule",
    "LipSyncModule": "latentsync.training.lipsync",
    "LipSyncOptions": "latentsync.inference.options",
    "LipSyncPipeline": "latentsync.inference.pipeline",
    "NoiseSchedule": "latentsync.diffusion.schedule",
    "Objective": "latentsync.losses.objective",
    "Sampler": "latentsync.diffusion.sampler",
    "UNet3DConditionModel": "latentsync.models.unet",
    "UserError": "latentsync.errors",
    "load_bundle": "latentsync.weights.bundle",
    "load_unet": "latentsync.weights.bundle",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latentsync' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
