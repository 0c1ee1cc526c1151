"""Training runs in processes of their own, to be killed or joined: forked from a server that has the imports done."""

import json
import multiprocessing
import os
import socket
import time
from pathlib import Path

import numpy as np
from lightning.pytorch.callbacks import Callback
from tiny_clips import FRAMES, tiny_clip, write_shards

REPOSITORY = Path(__file__).resolve().parents[2]


def overrides(shards: Path, run_dir: Path, *more: str) -> list[str]:
    """The smallest real run: `experiment=demo` on the noise loss, windows of two frames of 64 × 64.

    A worker, shuffling and the average of the weights are on.
    """
    return [
        "experiment=demo", "objective@model.objective=stage1", f"run_dir={run_dir}", "resolution=64", "num_frames=2",
        f"data.train_shards={shards}", "data.val_shards=null", "data.num_workers=1", "callbacks=[checkpoint,ema]",
        "model.unet.weights=null", "model.trainable=[all]",
        "model.unet.block_out_channels=[32,32,32,32]", "model.unet.cross_attention_dim=16",
        "model.audio_dropout=0.5", "model.optimizer.lr=1e-3", "trainer.enable_progress_bar=false",
        "trainer.limit_val_batches=0", "callbacks.checkpoint.every_n_train_steps=2", *more,
    ]  # fmt: skip


def write_tiny_shards(folder: Path, count: int, damaged: tuple[int, ...] = ()) -> Path:
    """Shards of four clips c00, c01, …, the last one smaller; the videos of `damaged` cannot be decoded."""
    tokens = np.random.default_rng(0).normal(size=(count, FRAMES, 4, 16)).astype(np.float16)
    clips = [tiny_clip(f"c{index:02d}", size=64, audio_tokens=tokens[index]) for index in range(count)]
    for index in damaged:
        clips[index].video = b"damaged"
    write_shards(folder, clips)
    return folder


class RankRecord(Callback):
    """Writes to folder/rankN.jsonl, after every batch: step, loss, the clips' keys."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        with (self.folder / f"rank{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps([trainer.global_step, outputs["loss"].item(), batch.keys]) + "\n")


def recorded(folder: Path, rank: int = 0) -> list[tuple[int, float, list[str]]]:
    """What `RankRecord` wrote."""
    return [tuple(json.loads(line)) for line in (folder / f"rank{rank}.jsonl").read_text().splitlines()]


def start(arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> multiprocessing.Process:
    """Start what `train.py` runs, with `arguments` and output to `log`, in a process group of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["run_process_imports"])
    # Python 3.11's server ignores the sys.path that it is sent.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(REPOSITORY), str(Path(__file__).parent), *([before] if before else [])]
    )
    try:
        process = context.Process(target=_train, args=(arguments, str(log), environment or {}))
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def start_ranks(world: int, arguments: list[str], folder: Path, trainer: str = "ddp") -> list[multiprocessing.Process]:
    """One process a rank, in the environment that torchrun gives its workers; output to folder/rankN.log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "test", "GROUP_WORLD_SIZE": 1, "GLOO_SOCKET_IFNAME": "lo"}
    arguments = [*arguments, f"trainer={trainer}", "trainer.accelerator=cpu", f"trainer.devices={world}"]
    ranks = range(world)
    environments = [{key: str(value) for key, value in (shared | {"RANK": n, "LOCAL_RANK": n}).items()} for n in ranks]
    return [start(arguments, folder / f"rank{rank}.log", environments[rank]) for rank in ranks]


def end(process: multiprocessing.Process, log: Path, seconds: float = 120) -> int:
    """Wait for the process and return its exit code; one that hangs is killed and fails the test with its output."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"still running after {seconds} s:\n{log.read_text()}")
    assert process.exitcode is not None
    return process.exitcode


def wait_for(found, process: multiprocessing.Process, log: Path, seconds: float = 120) -> None:
    """Wait until `found()` is true. Fails if the process ends before."""
    deadline = time.monotonic() + seconds
    while not found():
        if not process.is_alive() or time.monotonic() > deadline:
            raise AssertionError(f"it never came:\n{log.read_text()}")
        time.sleep(0.001)


def _train(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    import torch

    import train
    from configs.compose import load_config

    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as in a run from the shell
    os.setpgid(0, 0)
    os.chdir(REPOSITORY)
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    torch.set_num_threads(1)
    train.run(load_config("train", arguments))
