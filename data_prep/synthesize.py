"""Makes shards of synthetic talking heads, through the same writer as real data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from configs.compose import command
from latentsync import __version__
from latentsync.data.sample import ClipSample
from latentsync.data.shard_writer import ShardWriter
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio, encode_wav
from latentsync.media.mel import log_mel
from latentsync.media.rates import FPS
from latentsync.media.video_writer import encode_clip
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, TRAIN_IDENTITIES, SyntheticClip, draw_clip

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder

_SPLITS = {"train": TRAIN_IDENTITIES, "held_out": HELD_OUT_IDENTITIES}


def synthesize(
    output: str | Path,
    num_clips: int,
    seed: int = 0,
    resolution: int = 128,
    seconds: float = 4.0,
    split: Literal["train", "held_out"] = "train",
    num_identities: int | None = None,
    audio_encoder: AudioEncoder | None = None,
    clips_per_shard: int = 64,
    crf: int = 14,
    num_workers: int = 1,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Write `num_clips` synthetic clips of `seconds` each into shards in the folder `output`, and return that folder.

    split: whose faces and voices, "train" or "held_out"; no person is in both. num_identities: how many of them
    (default: as many as there are clips, up to the whole split). seed: equal arguments give equal shards, for any
    `num_workers` (processes). audio_encoder: when given, its tokens are stored with each clip. crf: H.264 quality, less
    is better. resume: go on in a folder that holds some of the clips.
    Raises UserError for an argument out of range or a folder in use.
    """
    _check(num_clips, resolution, seconds, split, num_identities, num_workers)
    people = _SPLITS[split]
    people = people[: min(num_identities or num_clips, len(people))]
    with ShardWriter(output, clips_per_shard=clips_per_shard, prefix=split, resume=resume) as writer:
        jobs = [
            (key, people[index % len(people)], _clip_seed(seed, index), seconds, resolution, crf)
            for index, key in ((index, f"{split}-{seed}-{index:06d}") for index in range(num_clips))
            if key not in writer.keys
        ]
        bar = tqdm(_run(jobs, num_workers), total=len(jobs), desc="synthetic clips", unit="clip", disable=not progress)
        for sample in bar:
            if audio_encoder is not None:
                sample.audio_tokens = audio_tokens(sample, audio_encoder)
            writer.write(sample)
    return Path(output)


def to_sample(key: str, clip: SyntheticClip, crf: int = 14) -> ClipSample:
    """An aligned clip as it lies in a shard, with its truth in the metadata."""
    num_frames, resolution = len(clip.frames), clip.frames.shape[1]
    audio = encode_wav(clip.wave, clip.sample_rate)
    return ClipSample(
        key=key,
        video=encode_clip(clip.frames, fps=clip.fps, crf=crf),
        audio=audio,
        metadata={
            "source": f"synthetic:{clip.person.seed}/{clip.seed}",
            "start": 0.0,
            "end": num_frames / clip.fps,
            "fps": clip.fps,
            "resolution": resolution,
            "num_frames": num_frames,
            "software_version": __version__,
            "truth": clip.truth(),
        },
        # Of the stored 16-bit sound, so that a loader that computes the mel itself gets the same one.
        mel=log_mel(decode_audio(audio)[0]),
    )


def audio_tokens(sample: ClipSample, audio_encoder: AudioEncoder) -> np.ndarray:
    """The audio tokens of every frame, (F, L, D) float32, as the loader would compute them from the sample's sound."""
    import torch

    with torch.no_grad():
        hidden = audio_encoder.hidden_states(decode_audio(sample.audio)[0])
        tokens = audio_encoder.frame_tokens(hidden, sample.metadata["num_frames"], sample.metadata["fps"])
    return tokens.float().cpu().numpy()


_Job = tuple[str, int, int, float, int, int]


def _make(job: _Job) -> ClipSample:
    key, identity, seed, seconds, resolution, crf = job
    return to_sample(key, draw_clip(identity, seconds, resolution, seed), crf)


def _run(jobs: list[_Job], num_workers: int) -> Iterator[ClipSample]:
    """Results in the order of `jobs`, at most a few clips ahead of whoever takes them."""
    if num_workers == 1:
        yield from map(_make, jobs)
        return
    waiting = iter(jobs)
    # Spawned, not forked: the parent may hold torch's threads.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_make, job) for job in islice(waiting, 2 * num_workers)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(_make, job) for job in islice(waiting, 1)]


def _clip_seed(seed: int, index: int) -> int:
    """A seed of its own for every clip of every run."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _check(
    num_clips: int, resolution: int, seconds: float, split: str, num_identities: int | None, num_workers: int
) -> None:
    if split not in _SPLITS:
        raise UserError(f"split={split!r}: choose one of {', '.join(_SPLITS)}")
    if num_clips < 1:
        raise UserError(f"num_clips={num_clips}: give at least 1")
    if resolution < 32 or resolution % 8:
        raise UserError(f"resolution={resolution}: give a multiple of 8, at least 32")
    if not 1 / FPS <= seconds <= 600:
        raise UserError(f"seconds={seconds}: give 0.04 to 600")
    if num_identities is not None and not 1 <= num_identities <= len(_SPLITS[split]):
        raise UserError(f"num_identities={num_identities}: split {split!r} has 1 to {len(_SPLITS[split])}")
    if num_workers < 1:
        raise UserError(f"num_workers={num_workers}: give at least 1")


def run(config: DictConfig) -> None:
    """`python -m data_prep.synthesize output=…`"""
    folder = synthesize(**{str(key): value for key, value in config.items()})
    print(f"{config.num_clips} synthetic clips in {folder}")


if __name__ == "__main__":
    command("data_prep/synthesize", run)
