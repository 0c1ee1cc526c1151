"""Time of a training step and the share of each part: `python -m benchmarks.training_step [steps] [device]`.

The embedded model on synthetic clips: stage 1 on pixels and on stored latents, stage 2 with the whole objective. The
parts of one step are timed around their calls (on a GPU after waiting for it), which adds a little to each.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from configs.compose import load_config
from data_prep.precompute import precompute
from data_prep.synthesize import synthesize
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.training.lipsync import LipSyncModule

DEMO = "checkpoints/demo"
CASES = {
    "stage 1, pixels": ["objective@model.objective=stage1", "data.batch_size=2"],
    "stage 1, stored latents": [
        "objective@model.objective=stage1", "data.batch_size=2", "data.pixels=false", "data.latents=true",
    ],
    "stage 2, whole objective": ["data.batch_size=2"],
}  # fmt: skip


class Stopwatch:
    """Seconds by part."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict(float)

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = self.now()
        yield
        self.seconds[name] += self.now() - began

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of a method of an object."""
        call: Callable = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        object.__setattr__(owner, attribute, timed)


def run(overrides: list[str], shards: Path, steps: int, device: torch.device) -> dict[str, float]:
    """Mean seconds of a step by part, after two steps of warm-up; "step" is all of it but the wait for data."""
    config = load_config("train", ["experiment=demo", *overrides, f"data.train_shards={shards}", "seed=1"])
    module: LipSyncModule = instantiate(config.model, _convert_="all").to(device).train()
    data = instantiate(config.data, _convert_="all")
    optimizer = module.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload]
    watch = Stopwatch(device)
    watch.wrap(module.conditioning, "encode", "VAE encode")
    watch.wrap(module.autoencoder, "decode", "VAE decode")
    watch.wrap(module.unet, "forward", "U-Net forward")
    for name, loss in module.objective.losses.items():
        watch.wrap(loss, "forward", f"{name} loss")
    batches = iter(data.train_dataloader())
    for number in range(steps + 2):
        if number == 2:
            watch.seconds.clear()
        with watch.part("data wait"):
            batch = next(batches, None)
            if batch is None:
                batches = iter(data.train_dataloader())
                batch = next(batches)
        batch = data.transfer_batch_to_device(batch, device, 0)
        with watch.part("step"):
            loss = module.step(batch, ClipRandom.of(batch.keys, number, device=device)).total
            with watch.part("backward"):
                loss.backward()
            with watch.part("optimizer"):
                optimizer.step()
                optimizer.zero_grad()
    data.teardown("fit")
    return {name: value / steps for name, value in watch.seconds.items()}


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown: a row a part, a column a case; shares of the step."""
    parts = sorted({part for case in results.values() for part in case} - {"step", "data wait"})
    lines = ["| | " + " | ".join(results) + " |", "| --- |" + " --- |" * len(results)]
    step = [case["step"] for case in results.values()]
    lines.append("| **step, relative** | " + " | ".join(f"**{value / step[0]:.2f}**" for value in step) + " |")
    for part in parts:
        shares = [f"{100 * case[part] / case['step']:.0f} %" if part in case else "" for case in results.values()]
        lines.append(f"| {part} | " + " | ".join(shares) + " |")
    waits = [f"{100 * case['data wait'] / (case['step'] + case['data wait']):.0f} %" for case in results.values()]
    lines.append("| data wait, of the whole | " + " | ".join(waits) + " |")
    return "\n".join(lines)


def main(steps: int = 6, device_name: str = "cpu") -> None:
    """Print the table."""
    device = torch.device(device_name)
    with tempfile.TemporaryDirectory() as folder:
        raw, clips = Path(folder) / "raw", Path(folder) / "clips"
        synthesize(raw, 8, seconds=3.0, progress=False)
        precompute(raw, clips, audio_encoder=f"{DEMO}/audio_encoder", autoencoder=f"{DEMO}/vae")
        results = {name: run(overrides, clips, steps, device) for name, overrides in CASES.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"embedded model, 2 clips of 16 frames at 128², {steps} steps, {name}, torch {torch.__version__}\n")
    print(table(results))


if __name__ == "__main__":
    main(*(int(argument) if argument.isdigit() else argument for argument in sys.argv[1:3]))  # type: ignore[arg-type]
