"""Copies shards, adding to each clip what training would compute at every step: audio tokens, mel, latents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from configs.compose import command
from latentsync.data.sample import BadSample, ClipSample
from latentsync.data.shard_writer import ShardWriter
from latentsync.data.shards import ShardSet, ShardSource
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.mel import log_mel

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder
    from latentsync.models.autoencoder import FrameAutoencoder


def precompute(
    input: ShardSource,
    output: str | Path,
    audio_encoder: str | None = None,
    autoencoder: str | None = None,
    mel: bool = True,
    clips_per_shard: int = 64,
    device: str = "cpu",
    precision: Literal["32", "bf16"] = "32",
    resume: bool = False,
) -> dict[str, int]:
    """Write the clips of `input` into the folder `output` with what is asked for; returns how many clips went where.

    audio_encoder, autoencoder: the networks: names that `fetch` knows, folders, a Whisper `.pt`, or a model ("demo"),
    whose own are taken; None leaves their part out (and keeps what a clip has already).
    Latents are the posterior moments of the target and of the masked target (`latentsync.data.sample`), so that every
    training step still draws its own sample. Clips that cannot be read are counted by reason and left out.
    """
    if audio_encoder is None and autoencoder is None and not mel:
        raise UserError("nothing to precompute: give audio_encoder=FOLDER, autoencoder=FOLDER or mel=true")
    if precision not in ("32", "bf16"):
        raise UserError(f"precision={precision}: give 32 or bf16")
    import torch  # here, and with it the networks: a mistake on the command line is answered at once

    from latentsync.weights.adapter import load_autoencoder
    from latentsync.weights.companions import portable
    from latentsync.weights.whisper import load_audio_encoder

    shards = ShardSet(input)
    encoder = None if audio_encoder is None else load_audio_encoder(audio_encoder).to(device).eval()
    vae = None if autoencoder is None else load_autoencoder(autoencoder).float().to(device).eval()
    loaded = {"audio_encoder": encoder, "autoencoder": vae}
    parts = {name: portable(network.origin) for name, network in loaded.items() if network is not None}
    origins = {name: asdict(part) for name, part in parts.items() if part is not None}
    counts = {"written": 0}
    with ShardWriter(output, clips_per_shard=clips_per_shard, prefix="precomputed", resume=resume) as writer:
        for index in tqdm(range(len(shards)), desc="precompute", unit="clip"):
            if shards.key(index) in writer.keys:
                continue
            try:
                sample = shards.read(index)
                add_audio(sample, encoder, mel)
                if vae is not None:
                    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
                        sample.latents = clip_moments(sample, vae)
                sample.metadata |= origins
            except BadSample as error:
                counts[str(error)] = counts.get(str(error), 0) + 1
                continue
            writer.write(sample)
            counts["written"] += 1
    return counts


def add_audio(sample: ClipSample, encoder: AudioEncoder | None, mel: bool) -> None:
    """Store the clip's audio tokens and mel in `sample`."""
    wave, _ = decode_audio(sample.audio)
    if mel:
        sample.mel = log_mel(wave)
    if encoder is not None:
        import torch

        with torch.no_grad():
            hidden = encoder.hidden_states(wave)
            tokens = encoder.frame_tokens(hidden, sample.metadata["num_frames"], sample.metadata["fps"])
        sample.audio_tokens = tokens.cpu().numpy()


def clip_moments(sample: ClipSample, vae: FrameAutoencoder, frames_per_batch: int = 16) -> np.ndarray:
    """Posterior moments (N, 2, 2C, h, w) of every frame and of its masked copy."""
    import torch

    from latentsync.diffusion.conditioning import Conditioning

    reader = ClipReader(sample.video)
    num_frames = sample.metadata["num_frames"]
    if len(reader) < num_frames:
        raise BadSample("video has fewer frames than its metadata says")
    device = next(vae.parameters()).device
    conditioning = Conditioning(vae, sample.metadata["resolution"]).to(device)
    parts = []
    for start in range(0, num_frames, frames_per_batch):
        images = reader.read(list(range(start, min(start + frames_per_batch, num_frames))))
        frames = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        both = torch.stack([frames, conditioning.masked(frames)], dim=1)  # (F, 2, 3, H, W)
        with torch.no_grad():
            parts.append(conditioning.moments(both).float().cpu().numpy())  # (F, 2, 2C, h, w)
    return np.concatenate(parts)


def run(config: DictConfig) -> None:
    """`python -m data_prep.precompute input=… output=…`"""
    counts = precompute(**{str(key): value for key, value in config.items()})
    print(", ".join(f"{count} {reason}" for reason, count in counts.items()) + f"; shards in {config.output}")


if __name__ == "__main__":
    command("data_prep/precompute", run)
