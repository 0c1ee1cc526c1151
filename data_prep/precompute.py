"""Copies shards, adding to each clip what training would compute at every step: audio tokens, mel, latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from configs.compose import command
from latentsync.data.remote_writer import shard_writer
from latentsync.data.sample import BadSample, ClipSample
from latentsync.data.shards import ShardSet, ShardSource
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.mel import log_mel
from latentsync.work.gpus import own_device
from latentsync.work.runner import Alive, HereRunner, Outcome, Runner, run_all

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
    runner: Runner | None = None,
) -> dict[str, int]:
    """Write the clips of `input` into the folder `output`, a path or an address, with what is asked for; returns how
    many clips went where.

    audio_encoder, autoencoder: the networks: names that `fetch` knows, folders, a Whisper `.pt`, or a model ("demo"),
    whose own are taken; None leaves their part out (and keeps what a clip has already).
    Latents are the posterior moments of the target and of the masked target (`latentsync.data.sample`), so that every
    training step still draws its own sample. Clips that cannot be read are counted by reason and left out.
    runner: who does the work, None: this process. The shards do not depend on it.
    """
    if audio_encoder is None and autoencoder is None and not mel:
        raise UserError("nothing to precompute: give audio_encoder=FOLDER, autoencoder=FOLDER or mel=true")
    if precision not in ("32", "bf16"):
        raise UserError(f"precision={precision}: give 32 or bf16")
    shards = ShardSet(input)
    work = Precompute(shards, audio_encoder, autoencoder, mel, device, precision)
    counts = {"written": 0}
    with shard_writer(output, clips_per_shard, "precomputed", resume) as writer:
        todo = [index for index in range(len(shards)) if shards.key(index) not in writer.keys]
        for sample in in_order(run_all(runner or HereRunner(), work, todo, "clips precomputed"), todo):
            if isinstance(sample, ClipSample):
                writer.write(sample)
            what = sample if isinstance(sample, str) else "written"
            counts[what] = counts.get(what, 0) + 1
    return counts


class Precompute:
    """`work` of a runner: a clip by its number, with what is asked for; or the reason why it cannot be used, in words.

    Arguments as of `precompute`; networks are loaded by the process that first needs them, on its own GPU.
    """

    def __init__(
        self,
        shards: ShardSet,
        audio_encoder: str | None,
        autoencoder: str | None,
        mel: bool,
        device: str,
        precision: str,
    ) -> None:
        self._shards, self._mel, self._device, self._bf16 = shards, mel, device, precision == "bf16"
        self._names = audio_encoder, autoencoder
        self._networks: Networks | None = None

    def __call__(self, index: int, alive: Alive) -> ClipSample | str:
        import torch  # here, and with it the networks: a mistake on the command line is answered at once

        if self._networks is None:
            self._networks = Networks.load(*self._names, own_device(self._device))
        networks = self._networks
        try:
            sample = self._shards.read(index)
            add_audio(sample, networks.audio_encoder, self._mel)
            alive(0.5)
            if networks.autoencoder is not None:
                with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._bf16):
                    sample.latents = clip_moments(sample, networks.autoencoder)
        except BadSample as error:
            return str(error)
        sample.metadata |= networks.origins
        return sample


@dataclass(frozen=True)
class Networks:
    """What clips are precomputed with; origins: for their metadata."""

    audio_encoder: AudioEncoder | None
    autoencoder: FrameAutoencoder | None
    origins: dict[str, dict[str, Any]]

    @staticmethod
    def load(audio_encoder: str | None, autoencoder: str | None, device: str) -> Networks:
        """By name. Raises UserError."""
        from latentsync.weights.adapter import load_autoencoder
        from latentsync.weights.companions import portable
        from latentsync.weights.whisper import load_audio_encoder

        encoder = None if audio_encoder is None else load_audio_encoder(audio_encoder).to(device).eval()
        vae = None if autoencoder is None else load_autoencoder(autoencoder).float().to(device).eval()
        loaded = {"audio_encoder": encoder, "autoencoder": vae}
        parts = {name: portable(network.origin) for name, network in loaded.items() if network is not None}
        return Networks(encoder, vae, {name: asdict(part) for name, part in parts.items() if part is not None})


def in_order(outcomes: Iterable[Outcome[int]], items: Sequence[int]) -> Iterator[Any]:
    """The results in the order of the items, whichever was done first: equal shards however the work was shared out.

    Raises UserError for an item that no worker could do.
    """
    waiting: dict[int, Any] = {}
    coming = iter(outcomes)
    for item in items:
        while item not in waiting:
            outcome = next(coming)
            if outcome.failure is not None:
                raise UserError(f"clip number {outcome.item}: {outcome.failure}; run again with resume=true")
            waiting[outcome.item] = outcome.result
        yield waiting.pop(item)


def add_audio(sample: ClipSample, encoder: AudioEncoder | None, mel: bool) -> None:
    """Store the clip's audio tokens and mel in `sample`. Raises BadSample for sound that cannot be decoded."""
    try:
        wave, _ = decode_audio(sample.audio)
    except UserError as error:  # a decoder's word; here the clip is not the user's
        raise BadSample("audio cannot be decoded") from error
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
    arguments = {str(key): value for key, value in config.items()}
    counts = precompute(**arguments | {"runner": instantiate(config.runner)})
    print(", ".join(f"{count} {reason}" for reason, count in counts.items()) + f"; shards in {config.output}")


if __name__ == "__main__":
    command("data_prep/precompute", run)
