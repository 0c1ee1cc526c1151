"""Speed of the network's part of inference: `python -m benchmarks.inference [windows] [device]`.

Three tables for the embedded model on synthetic heads: against a plain loop (one window at a time, everything computed
anew in each step), in alternating runs; schedulers × steps against 50 steps of DDIM, with the sync score of the
embedded SyncNet; and deep features reused over steps. Only ratios within a table mean something on a machine that does
other things, too.
"""

import copy
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import numpy as np
import torch

from latentsync.diffusion.scheduler_names import SCHEDULERS
from latentsync.inference.generator import WindowGenerator, WindowInput, posterior_generator
from latentsync.media.mel import log_mel, mel_window
from latentsync.models.syncnet import StableSyncNet
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_clip
from latentsync.weights.bundle import load_bundle

FRAMES, ROUNDS = 16, 3
Faces = list[list[np.ndarray]]


class Job:
    """Windows of held-out people, each with its own sound."""

    def __init__(self, count: int, device: torch.device) -> None:
        bundle = load_bundle("demo", device, torch.float32)
        networks = (bundle.unet, bundle.autoencoder, bundle.resolution, bundle.num_frames, device, torch.float32)
        self.ordinary = WindowGenerator(*copy.deepcopy(networks))
        for network in (self.ordinary.unet, self.ordinary.autoencoder):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.generate = WindowGenerator(*networks)
        self.clips = [draw_clip(HELD_OUT_IDENTITIES[i], FRAMES / 25, bundle.resolution, seed=i) for i in range(count)]
        encoder = bundle.audio_encoder.eval()
        with torch.no_grad():
            self.tokens = [encoder.frame_tokens(encoder.hidden_states(clip.wave), FRAMES) for clip in self.clips]
        mels = [mel_window(log_mel(clip.wave), 0, FRAMES) for clip in self.clips]
        self.mel = torch.from_numpy(np.stack(mels))[:, None].to(device)
        self.syncnet = StableSyncNet.from_pretrained("checkpoints/demo/syncnet").to(device).eval()

    def windows(self) -> list[WindowInput]:
        """Fresh generators, so that every run draws the same."""
        noise, device = self.generate.start_noise(5), self.generate.device
        return [
            WindowInput(list(clip.frames[:FRAMES]), tokens, noise, posterior_generator(5, number, device))
            for number, (clip, tokens) in enumerate(zip(self.clips, self.tokens))
        ]

    def plain(self, steps: int, guidance_scale: float) -> Faces:
        """One window at a time, nothing kept from step to step, weights laid out as they are loaded."""
        with mock.patch("latentsync.diffusion.sampler.audio_computed_once", return_value=nullcontext()):
            return [self.ordinary.generate([one], steps, guidance_scale)[0] for one in self.windows()]

    def batched(self, steps: int, guidance_scale: float) -> Faces:
        """All windows at once, the audio's keys and values kept, channels last."""
        return self.generate.generate(self.windows(), steps, guidance_scale)

    def score(self, faces: Faces) -> float:
        """Mean cosine of the embedded SyncNet."""
        frames = torch.from_numpy(np.stack([np.stack(window) for window in faces])).to(self.mel.device)
        return float(self.syncnet.cosine(frames.permute(0, 1, 4, 2, 3).float() / 127.5 - 1, self.mel).mean())


def psnr(one: Faces, other: Faces) -> float:
    """Decibels between two runs' faces."""
    error = np.mean((np.asarray(one, dtype=np.float64) - np.asarray(other)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def seconds(run: Callable[[], Faces], device: torch.device) -> tuple[float, Faces]:
    """Time of one run, and what it made."""
    began = time.perf_counter()
    faces = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began, faces


def against_the_plain_loop(job: Job, steps: int = 10) -> None:
    """Print the first table."""
    print("| guidance | plain loop | as inference does it | ratio | PSNR between them |\n" + "| --- " * 5 + "|")
    for guidance_scale in (1.0, 1.5):
        plain, batched = [], []
        for _ in range(ROUNDS):
            took, one = seconds(lambda g=guidance_scale: job.plain(steps, g), job.generate.device)  # type: ignore[misc]
            plain.append(took)
            took, other = seconds(lambda g=guidance_scale: job.batched(steps, g), job.generate.device)  # type: ignore[misc]
            batched.append(took)
        ratio = float(np.median(plain) / np.median(batched))
        print(f"| {guidance_scale} | 1 | {1 / ratio:.2f} | {ratio:.2f} × | {psnr(one, other):.0f} dB |", flush=True)


def schedulers(job: Job, all_steps: tuple[int, ...] = (4, 8, 20)) -> None:
    """Print the second table."""
    best = job.generate.generate(job.windows(), 50, 1.0)
    print(f"\n50 steps of ddim: sync score {job.score(best):.3f}\n")
    print("| scheduler | " + " | ".join(f"{steps} steps" for steps in all_steps) + " |\n" + "| --- " * 4 + "|")
    for name in SCHEDULERS:
        cells = []
        for steps in all_steps:
            faces = job.generate.generate(job.windows(), steps, 1.0, scheduler=name)
            cells.append(f"{psnr(faces, best):.1f} dB, {job.score(faces):.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def feature_reuse(job: Job, steps: int = 20) -> None:
    """Print the third table."""
    print(f"\n| feature_reuse, {steps} steps | time | PSNR to 1 | sync score |\n" + "| --- " * 4 + "|")
    base: Faces = []
    first = 0.0
    for every in (1, 2, 3, 5):
        times = []
        for _ in range(ROUNDS):
            took, faces = seconds(
                lambda n=every: job.generate.generate(job.windows(), steps, 1.0, feature_reuse=n),  # type: ignore[misc]
                job.generate.device,
            )
            times.append(took)
        if every == 1:
            base, first = faces, float(np.median(times))
        told = "" if every == 1 else f"{psnr(faces, base):.1f} dB"
        print(f"| {every} | {np.median(times) / first:.2f} | {told} | {job.score(faces):.3f} |", flush=True)


def main(count: int = 4, device_name: str = "cpu") -> None:
    """Print the tables."""
    device = torch.device(device_name)
    job = Job(count, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"embedded model, {count} windows of {FRAMES} frames at 128², {name}, torch {torch.__version__}\n")
    against_the_plain_loop(job)
    schedulers(job)
    feature_reuse(job)


if __name__ == "__main__":
    main(*(int(argument) if argument.isdigit() else argument for argument in sys.argv[1:3]))  # type: ignore[arg-type]
