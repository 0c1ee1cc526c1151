"""This project beside a plain script with the same networks: `python -m benchmarks.side_by_side [rounds] [case …]`.

The U-Net, the sampling loop, training steps and a whole video, with the embedded model, against `benchmarks.plain`.
Both run in one process, in turn, in pairs of changing order; processor seconds are measured, so that other work on the
machine weighs less, and of each pair the ratio. Prints a table and writes `benchmarks/side_by_side.json`. With `check`
as the last argument nothing is written: exit code 1 if a case costs over 15 % more than the file says (`make bench`).
"""

import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from benchmarks import plain
from benchmarks.memory import make
from benchmarks.stand_in import FixedFace
from configs.compose import load_config
from data_prep.synthesize import synthesize
from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.sampler import Sampler
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.media.audio import load_audio
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.bundle import Bundle, load_bundle
from latentsync.work.files import write_whole

RESULTS = Path(__file__).with_suffix(".json")
SLACK = 1.15
FRAMES, SIDE, STEPS = 16, 128, 4
Run = Callable[[], Any]
Pair = tuple[Run, Run]


class Networks:
    """The embedded ones as the project lays them out, and as they were loaded."""

    def __init__(self) -> None:
        self.bundle: Bundle = load_bundle("demo", torch.device("cpu"), torch.float32)
        self.unet = copy.deepcopy(self.bundle.unet).eval()
        self.vae = copy.deepcopy(self.bundle.autoencoder.vae).eval()
        self.schedule = NoiseSchedule(**self.bundle.schedule or {})
        self.pipeline = LipSyncPipeline(
            self.bundle.unet,
            self.bundle.autoencoder,
            self.bundle.audio_encoder,
            FixedFace(),
            SIDE,
            FRAMES,
            schedule=self.schedule,
        )
        generator = torch.Generator().manual_seed(0)
        self.noise, self.masked, self.reference = (
            torch.randn(1, 4, FRAMES, SIDE // 8, SIDE // 8, generator=generator) for _ in range(3)
        )
        self.mask = torch.ones_like(self.noise[:, :1])
        width = self.unet.config["cross_attention_dim"]
        self.tokens = torch.randn(1, FRAMES, 50, width, generator=generator)


def unet(networks: Networks) -> Pair:
    """One forward pass."""
    sample = torch.cat([networks.noise, networks.mask, networks.masked, networks.reference], dim=1)

    def of(network: Any) -> Run:
        return torch.no_grad()(lambda: network(sample, 500, networks.tokens))

    return of(networks.pipeline.generate.unet), of(networks.unet)


def loop(networks: Networks, guidance: float) -> Pair:
    """STEPS steps of DDIM."""
    known = (networks.mask, networks.masked, networks.reference)
    given = (networks.noise, KnownLatents(*known), networks.tokens, STEPS, guidance)
    sampler = Sampler(networks.pipeline.generate.unet, networks.schedule.scheduler())
    theirs = (networks.unet, known, networks.tokens, networks.noise, STEPS, guidance)
    return (lambda: sampler(*given)), (lambda: plain.sample(*theirs))


def training(folder: Path, objective: str) -> Pair:
    """Forward, backward and AdamW on 2 clips."""
    changes = (f"objective@model.objective={objective}", f"data.train_shards={folder}", "data.val_shards=null")
    settings = ("experiment=demo", *changes, "data.batch_size=2", "data.num_workers=0", "seed=1")
    config = load_config("train", settings)
    data = instantiate(config.data, _convert_="all")
    loaded = next(iter(data.train_dataloader()))
    batch: ClipBatch = data.transfer_batch_to_device(loaded, torch.device("cpu"), 0)
    module: LipSyncModule = instantiate(config.model, _convert_="all").train()
    twin: Any = copy.deepcopy(module.unet)
    vae: Any = copy.deepcopy(module.autoencoder.vae)

    def step(loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer) -> Run:
        def run() -> None:
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    made: Any = module.configure_optimizers()
    ours = step(lambda: module.step(batch, ClipRandom.of(batch.keys, 0)).total, made["optimizer"])
    parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    theirs = torch.optim.AdamW(parameters, lr=1e-5)
    return ours, step(lambda: plain.training_loss(twin, vae, module.objective, batch), theirs)


def whole_video(networks: Networks, folder: Path) -> Pair:
    """Two seconds of 1080p from file to file, STEPS steps a window; finding the face costs nothing on either side."""
    source, sound = make(folder, 2)
    encoder = networks.pipeline.audio_encoder

    def theirs() -> None:
        with torch.no_grad():
            tokens = encoder.frame_tokens(encoder.hidden_states(load_audio(sound)), 50)
        parts = (networks.unet, networks.vae, tokens, networks.noise, FixedFace())
        plain.video(*parts, source, folder / "plain.mp4", STEPS)

    def ours() -> None:
        networks.pipeline(source, sound, folder / "ours.mp4", seed=1, num_inference_steps=STEPS)

    return ours, theirs


def cases(folder: Path) -> dict[str, Callable[[], Pair]]:
    """What makes each of them when it is its turn."""
    networks = cache(Networks)

    def trained(objective: str) -> Pair:
        clips = folder / "clips"
        if not clips.is_dir():
            synthesize(clips, 2, seconds=3.0, audio_encoder=networks().bundle.audio_encoder, progress=False)
        return training(clips, objective)

    return {
        "U-Net": lambda: unet(networks()),
        "sampling loop, guidance 1": lambda: loop(networks(), 1.0),
        "sampling loop, guidance 1.5": lambda: loop(networks(), 1.5),
        "video of 1080p, file to file": lambda: whole_video(networks(), folder),
        "training step, stage 1": lambda: trained("stage1"),
        "training step, whole objective": lambda: trained("demo"),
    }


def compared(pair: Pair, rounds: int) -> dict[str, Any]:
    """Processor seconds of both, the ratio of each pair, after one run of each for warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            began = time.process_time()
            pair[side]()
            if number:
                seconds[side].append(time.process_time() - began)
    ratios = sorted(ours / theirs for ours, theirs in zip(*seconds))
    return {
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "seconds": round(statistics.median(seconds[0]), 3),
        "plain_seconds": round(statistics.median(seconds[1]), 3),
    }


def main(rounds: int, check: bool, wanted: list[str]) -> int:
    """Print the table; write or check the file. wanted: parts of cases' names, none: all. Returns the exit code."""
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    print(f"embedded model, 16 frames at 128², {rounds} pairs, CPU, 1 thread, torch {torch.__version__}\n")
    print("| | ratio | of the pairs | processor seconds | plain |\n" + "| --- " * 5 + "|")
    found, worse = {}, []
    with tempfile.TemporaryDirectory() as name:
        for case, pair in cases(Path(name)).items():
            if wanted and not any(word in case for word in wanted):
                continue
            row = found[case] = compared(pair(), rounds)
            low, high = row["range"]
            times = f"{row['seconds']} | {row['plain_seconds']}"
            print(f"| {case} | {row['ratio']:.2f} | {low:.2f} to {high:.2f} | {times} |", flush=True)
            if check and case in known and row["ratio"] > SLACK * known[case]["ratio"]:
                worse.append(f"{case}: {row['ratio']:.2f} × the plain script, {known[case]['ratio']:.2f} before")
    if not check:
        write_whole(RESULTS, json.dumps(known | found, indent=1) + "\n")
    for line in worse:
        print(f"slower: {line}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [int(word) for word in words if word.isdigit()]
    names = [word for word in words if not word.isdigit() and word != "check"]
    sys.exit(main(numbers[0] if numbers else 5, "check" in words, names))
