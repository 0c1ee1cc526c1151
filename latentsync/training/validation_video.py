"""At each validation, generate one clip as inference would, write it as a video and score its sync."""

from pathlib import Path

import lightning
import numpy as np
import torch
from einops import rearrange
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.errors import UserError
from latentsync.media.stills import write_picture
from latentsync.media.video_writer import VideoWriter
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.optimization import freeze
from latentsync.training.pictures import log_picture

MOMENTS = 4


class ValidationVideo(Callback):
    """Writes target | masked | generated | reference of the first validation batch to folder/step_NNNNNNNN.mp4.

    A PNG of the same name shows MOMENTS of it side by side, in the run's loggers too.
    syncnet: if given, the mean cosine between the generated frames and the clip's mel is logged as val/sync_score,
    beside val/sync_score_true for the true frames. num_inference_steps, guidance_scale, seed: of the sampler.
    """

    def __init__(
        self,
        folder: str,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        seed: int = 0,
        syncnet: StableSyncNet | None = None,
    ) -> None:
        self.folder, self.seed = Path(folder), seed
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.syncnet = None if syncnet is None else freeze(syncnet)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: object,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if not isinstance(module, LipSyncModule):
            raise UserError("callbacks: validation_video needs the lip-sync module; use callbacks=training_only")
        if batch.target is None:
            return  # shards read for their latents alone hold no picture to compare with
        generated = self.generate(module, batch)
        path = self.folder / f"step_{trainer.global_step:08d}.mp4"
        shown = self.frames(module, batch, generated)
        self.write(shown, path)
        write_moments(shown, path.with_suffix(".png"))
        log_picture(trainer, "val/sample", path.with_suffix(".png"))
        if self.syncnet is not None:
            syncnet = self.syncnet.to(module.device)
            for name, frames in (("val/sync_score", generated), ("val/sync_score_true", batch.target)):
                module.log(
                    name, sync_score(syncnet, frames, batch.mel), batch_size=len(batch.keys), rank_zero_only=True
                )

    @torch.no_grad()
    def generate(self, module: LipSyncModule, batch: ClipBatch) -> Tensor:
        """Generated frames (B, F, 3, H, W) in [-1, 1] for a batch, by the sampler that inference uses."""
        assert batch.audio_tokens is not None
        latents = module.conditioning.encode(batch, ClipRandom.of(batch.keys, self.seed, device=module.device))
        generator = torch.Generator(module.device).manual_seed(self.seed)
        noise = initial_noise(latents.target.shape, generator).to(latents.target)
        sampler = Sampler(module.unet, module.schedule.scheduler())
        sampled = sampler(noise, latents, batch.audio_tokens, self.num_inference_steps, self.guidance_scale)
        return module.autoencoder.decode(sampled).clamp(-1, 1)

    def frames(self, module: LipSyncModule, batch: ClipBatch, generated: Tensor) -> np.ndarray:
        """(F, 4 · H, B · W, 3) uint8: the batch's clips side by side in four rows, one clip a column."""
        assert batch.target is not None
        assert batch.reference is not None
        rows = [batch.target, module.conditioning.masked(batch.target), generated, batch.reference]
        grid = rearrange(torch.stack(rows), "rows b f c h w -> f (rows h) (b w) c")
        return ((grid.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()

    def write(self, frames: np.ndarray, path: Path) -> None:
        """The video of what `frames` gives."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(path, frames.shape[2], frames.shape[1], fps=25) as writer:
            for frame in frames:
                writer.write(frame)


def write_moments(frames: np.ndarray, path: Path) -> None:
    """MOMENTS frames out of (F, H, W, 3) uint8 side by side as one PNG."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int))
    sheet = np.concatenate([frames[number] for number in chosen], axis=1)
    write_picture(path, sheet)


@torch.no_grad()
def sync_score(syncnet: StableSyncNet, frames: Tensor, mel: Tensor) -> Tensor:
    """Mean cosine in [0, 1] between frames (B, 16, 3, H, W) in [-1, 1] and mel (B, 1, 80, 52)."""
    return syncnet.cosine(frames, mel).mean()
