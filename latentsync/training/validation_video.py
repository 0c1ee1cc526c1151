"""At each validation, generate one clip as inference would, write it as a video and score its sync."""

from pathlib import Path

import cv2
import lightning
import numpy as np
import torch
from einops import rearrange
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.conditioning import ClipLatents
from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.errors import UserError
from latentsync.losses.sync import SyncLoss
from latentsync.media.stills import write_picture
from latentsync.media.video_writer import VideoWriter
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.optimization import freeze
from latentsync.training.pictures import log_picture

MOMENTS = 4
MARGIN = 24  # pixels for the names of the rows


class ValidationVideo(Callback):
    """Writes target, masked, generated and reference of the first validation batch to folder/step_NNNNNNNN.mp4.

    Of clips that store latents alone the pictures are those latents, decoded. A PNG of the same name shows MOMENTS of
    it side by side, in the run's loggers too.
    syncnet: judges the generated clips: the mean cosine between their frames and the clip's mel is logged as
        val/sync_score, beside val/sync_score_true for the true frames. None: the objective's SyncNet, if it has one.
    num_inference_steps, guidance_scale, seed: of the sampler.
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

    @torch.no_grad()
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
        latents, sampled = self.generate(module, batch)
        rows = pictures(module, batch, latents, sampled)
        path = self.folder / f"step_{trainer.global_step:08d}.mp4"
        shown = grid(rows)
        self.write(shown, path)
        write_moments(shown, path.with_suffix(".png"))
        log_picture(trainer, "val/sample", path.with_suffix(".png"))
        syncnet = self.judge(module)
        if syncnet is None:
            return
        in_latents = syncnet.config["latent_space"]
        generated, true = (sampled, latents.target) if in_latents else (rows["generated"], rows["target"])
        for name, clips in (("val/sync_score", generated), ("val/sync_score_true", true)):
            score = syncnet.cosine(clips.transpose(1, 2) if in_latents else clips, batch.mel).mean()
            module.log(name, score, batch_size=len(batch), rank_zero_only=True)

    def judge(self, module: LipSyncModule) -> StableSyncNet | None:
        """The SyncNet that scores."""
        if self.syncnet is not None:
            return self.syncnet.to(module.device)
        losses = module.objective.losses.values()
        return next((loss.syncnet for loss in losses if isinstance(loss, SyncLoss)), None)

    @torch.no_grad()
    def generate(self, module: LipSyncModule, batch: ClipBatch) -> tuple[ClipLatents, Tensor]:
        """What is known of a batch, and the scaled latents (B, 4, F, h, w) that inference's sampler makes of it."""
        assert batch.audio_tokens is not None
        latents = module.conditioning.encode(batch, ClipRandom.of(batch.keys, self.seed, device=module.device))
        generator = torch.Generator(module.device).manual_seed(self.seed)
        shape, standardize = latents.target.shape, module.schedule.standardize_start_noise
        noise = initial_noise(shape, generator, standardize).to(latents.target)
        sampler = Sampler(module.unet, module.schedule.scheduler())
        return latents, sampler(noise, latents, batch.audio_tokens, self.num_inference_steps, self.guidance_scale)

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


def pictures(module: LipSyncModule, batch: ClipBatch, latents: ClipLatents, sampled: Tensor) -> dict[str, Tensor]:
    """The four rows by name, each frames (B, F, 3, H, W) in [-1, 1]."""
    decode, target, reference = module.autoencoder.decode, batch.target, batch.reference
    given = target is not None and reference is not None
    rows = {
        "target": target if given else decode(latents.target),
        "masked": module.conditioning.masked(target) if given else decode(latents.masked),  # type: ignore[arg-type]
        "generated": decode(sampled),
        "reference": reference if given else decode(latents.reference),
    }
    return {name: frames.float().clamp(-1, 1) for name, frames in rows.items()}  # type: ignore[union-attr]


def grid(rows: dict[str, Tensor]) -> np.ndarray:
    """(F, rows · H, MARGIN + B · W, 3) uint8: a row a name, written beside it, and a clip a column."""
    stacked = rearrange(torch.stack(list(rows.values())), "rows b f c h w -> f (rows h) (b w) c")
    shown = ((stacked + 1) * 127.5).round().byte().cpu().numpy()
    height = shown.shape[1] // len(rows)
    names = []
    for name in rows:  # written along the row's left side, from its lower end upwards
        strip = np.zeros((MARGIN, height, 3), np.uint8)
        cv2.putText(strip, name, (4, MARGIN - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
        names.append(np.rot90(strip))
    margin = np.broadcast_to(np.concatenate(names), (len(shown), len(rows) * height, MARGIN, 3))
    return np.concatenate([margin, shown], axis=2)
