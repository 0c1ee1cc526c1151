"""Loader against a straightforward reader of the same clips: `python -m benchmarks.loader [num_clips] [resolution]`.

`python -m benchmarks.loader scale` measures how millions of clips are opened (`loader_scale`).

The straightforward reader does what most published loaders do for every sample: decode the whole clip, compute the
mel from the waveform, then cut the windows. Ours decodes the two windows and reads the stored mel. One worker process
each, alternating, in one run; only their ratio means something on a machine that does other things, too.
"""

import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import loader_scale
from data_prep.precompute import precompute
from data_prep.synthesize import synthesize
from latentsync.data.loader import ClipLoader
from latentsync.data.shards import ShardSet
from latentsync.data.windows import ClipWindows, clip_generator, draw_window
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.mel import log_mel, mel_window

FRAMES, BATCH, ROUNDS = 16, 4, 3


class Straightforward(Dataset):
    """Target and reference windows and the target's mel, out of everything the clip has."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.shards.read(index)
        frames = ClipReader(sample.video).read(range(sample.metadata["num_frames"]))
        mel = log_mel(decode_audio(sample.audio)[0])
        target, reference = draw_window(len(frames), FRAMES, clip_generator(0, 0, sample.key))
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        window = torch.from_numpy(np.ascontiguousarray(mel_window(mel, target, FRAMES)))
        return pixels[target : target + FRAMES], pixels[reference : reference + FRAMES], window


def samples_per_second(batches: Iterator, count: int) -> float:
    """After two batches of warm-up."""
    for _ in islice(batches, 2):
        pass
    began = time.perf_counter()
    seen = sum(1 for _ in islice(batches, count))
    return BATCH * seen / (time.perf_counter() - began)


def endless(loader: DataLoader) -> Iterator:
    """Epoch after epoch."""
    while True:
        yield from loader


def measure(num_clips: int, resolution: int, seconds: float) -> dict[str, float]:
    """Samples a second of both, the mean over ROUNDS."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "raw", num_clips, resolution=resolution, seconds=seconds, progress=False)
        precompute(Path(folder) / "raw", Path(folder) / "clips")
        shards = ShardSet(Path(folder) / "clips")
        ours = ClipLoader(shards, ClipWindows(resolution, FRAMES, audio_tokens=False), BATCH, num_workers=1)
        plain = DataLoader(
            Straightforward(shards), BATCH, num_workers=1, shuffle=True, persistent_workers=True, drop_last=True
        )
        streams = {"this loader": iter_epochs(ours), "straightforward": endless(plain)}
        found: dict[str, list[float]] = {name: [] for name in streams}
        for _ in range(ROUNDS):
            for name, stream in streams.items():
                found[name].append(samples_per_second(stream, 2 * num_clips // BATCH))
        ours.close()
    return {name: float(np.mean(rates)) for name, rates in found.items()}


def iter_epochs(loader: ClipLoader) -> Iterator:
    """Epoch after epoch."""
    while True:
        yield from loader


def main(num_clips: int = 32, resolution: int = 256, seconds: float = 8.0) -> None:
    """Print a Markdown table."""
    rates = measure(num_clips, resolution, seconds)
    print(f"{num_clips} clips of {seconds:g} s at {resolution}², windows of {FRAMES} frames, one worker; "
          f"{platform.machine()}, torch {torch.__version__}\n")  # fmt: skip
    print("| reader | samples a second | ratio |\n| --- | --- | --- |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {rate / rates['straightforward']:.1f} × |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["scale"]:
        loader_scale.main(*(int(argument) for argument in sys.argv[2:4]))
    else:
        main(*(int(argument) for argument in sys.argv[1:3]))
