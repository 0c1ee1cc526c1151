"""Inference and training as a plain script around diffusers does them: what `benchmarks.side_by_side` compares with.

The networks are the same and have the same weights. What differs is all around them: weights lie as they were loaded,
every step computes everything, whole pictures are converted, kept, compared and encoded, one thing after the other.
"""

from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn

from latentsync.data.sample import ClipBatch
from latentsync.face.alignment import FaceAligner
from latentsync.face.landmarks import FaceFinder
from latentsync.face.mouth_mask import mouth_mask
from latentsync.face.paste_back import paste_back
from latentsync.losses.loss import LossInputs
from latentsync.losses.objective import Objective

SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "v_prediction",  # as the embedded model
}  # fmt: skip


def encode(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Scaled latents (B, 4, F, h, w), drawn, of frames (B, F, 3, H, W)."""
    drawn = vae.encode(frames.flatten(0, 1)).latent_dist.sample() * vae.config["scaling_factor"]
    return drawn.unflatten(0, frames.shape[:2]).transpose(1, 2)


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Frames (B, F, 3, H, W) of scaled latents (B, 4, F, h, w)."""
    flat = latents.transpose(1, 2).flatten(0, 1) / vae.config["scaling_factor"]
    return vae.decode(flat).sample.unflatten(0, (len(latents), -1))


def small_mask(mask: Tensor, latents: Tensor) -> Tensor:
    """The mask (1, H, W) at the size of latents (B, 4, F, h, w), (B, 1, F, h, w)."""
    small = F.interpolate(mask[None], size=latents.shape[-2:])[:, :, None]
    return small.expand(len(latents), 1, latents.shape[2], -1, -1)


@torch.no_grad()
def sample(
    unet: nn.Module, known: tuple[Tensor, Tensor, Tensor], tokens: Tensor, noise: Tensor, steps: int, guidance: float
) -> Tensor:
    """Clean latents out of noise (B, 4, F, h, w); known: mask, masked and reference latents."""
    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(steps)
    latents = noise
    for timestep in scheduler.timesteps:
        stacked = torch.cat([latents, *known], dim=1)
        if guidance > 1:
            both = torch.cat([torch.zeros_like(tokens), tokens])
            uncond, cond = unet(torch.cat([stacked, stacked]), timestep, both).chunk(2)
            model_pred = uncond + guidance * (cond - uncond)
        else:
            model_pred = unet(stacked, timestep, tokens)
        latents = scheduler.step(model_pred, timestep, latents).prev_sample
    return latents


@torch.no_grad()
def window(
    unet: nn.Module, vae: AutoencoderKL, crops: list[np.ndarray], tokens: Tensor, noise: Tensor, steps: int
) -> list[np.ndarray]:
    """Faces that speak for one window of crops (R, R, 3) uint8, without guidance."""
    frames = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    mask = mouth_mask(frames.shape[-1])
    masked, reference = encode(vae, frames * mask), encode(vae, frames)
    latents = sample(unet, (small_mask(mask, reference), masked, reference), tokens[None], noise, steps, 1.0)
    blended = frames * mask + decode(vae, latents) * (1 - mask)
    images = ((blended[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return list(images.numpy())


def video(
    unet: nn.Module,
    vae: AutoencoderKL,
    tokens: Tensor,
    noise: Tensor,
    finder: FaceFinder,
    source: Path,
    output: Path,
    steps: int,
) -> None:
    """All frames into memory, a face in each, windows one by one, whole frames pasted and encoded; without sound.

    tokens: (F, L, D) of all frames.
    """
    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    side, size = noise.shape[-1] * 8, noise.shape[2]
    aligner = FaceAligner(side)
    faces = [aligner.align(frame, finder.find(frame, number / 25)[0].landmarks3) for number, frame in enumerate(frames)]
    spoken: list[np.ndarray] = []
    for first in range(0, len(frames), size):
        numbers = [min(number, len(frames) - 1) for number in range(first, first + size)]
        spoken += window(unet, vae, [faces[number].crop for number in numbers], tokens[numbers], noise, steps)
    pasted = [paste_back(frame, mouth, face.matrix) for frame, mouth, face in zip(frames, spoken, faces)]
    with av.open(str(output), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.codec_context.thread_count = 1
        for image in pasted:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def training_loss(unet: nn.Module, vae: AutoencoderKL, objective: Objective, batch: ClipBatch) -> Tensor:
    """The objective of one batch; its pixel losses, where it has them, by networks as the script would call them."""
    assert batch.target is not None
    assert batch.reference is not None
    mask = mouth_mask(batch.target.shape[-1])
    with torch.no_grad():
        clean, masked, reference = (encode(vae, f) for f in (batch.target, batch.target * mask, batch.reference))
    scheduler = DDIMScheduler(**SCHEDULE)
    noise, timesteps = torch.randn_like(clean), torch.randint(0, 1000, (len(clean),))
    noisy = scheduler.add_noise(clean, noise, timesteps)
    stacked = torch.cat([noisy, small_mask(mask, clean), masked, reference], dim=1)
    target = scheduler.get_velocity(clean, noise, timesteps)
    model_pred = unet(stacked, timesteps, batch.audio_tokens)
    loss = objective.weights["noise"] * F.mse_loss(model_pred, target)
    if len(objective.weights) == 1:
        return loss
    alpha = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1, 1)
    clean_pred = alpha.sqrt() * noisy - (1 - alpha).sqrt() * model_pred
    decoded = decode(vae, clean_pred)
    inputs = LossInputs(model_pred, target, clean_pred, clean, stacked[:, 4:5], batch.mel, batch.target, decoded)
    for name in objective.weights.keys() - {"noise"}:
        loss = loss + objective.weights[name] * objective.losses[name](inputs)
    return loss
