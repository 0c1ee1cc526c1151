"""Runs that are killed, told to stop, or cut off at their end: what is on the disk afterwards, and how they go on."""

import os
import re
import signal
import time
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from run_process import end, overrides, recorded, start, wait_for, write_tiny_shards
from tiny_module import TinyModule, tiny_data
from torch import Tensor

from latentsync.training.checkpoint import AtomicCheckpointIO, RunCheckpoint
from latentsync.training.ema import WeightEMA
from latentsync.training.preemption import Preempted, stopping_at_once
from latentsync.training.resume import RunState, newest_checkpoint, training_step

STEPS, KILLS = 60, 10
STARTED = re.compile(rb"starts anew|goes on from")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("shards"), 7)


def tensors(state: object, name: str = "") -> dict[str, Tensor]:
    """Every tensor in nested dictionaries and lists, by its path."""
    if isinstance(state, Tensor):
        return {name: state}
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {path: value for key, part in parts for path, value in tensors(part, f"{name}/{key}").items()}


def same_state(one: Path, other: Path) -> None:
    """Weights, optimizer, average, random generators and the loader's place are equal, bit for bit."""
    first, second = (torch.load(newest_checkpoint(run / "checkpoints"), weights_only=True) for run in (one, other))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "random_states"):
        ours, theirs = tensors(first[part]), tensors(second[part])
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items()), part
    averages = [tensors(content["callbacks"]["WeightEMA"]) for content in (first, second)]
    assert averages[0]
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())
    assert first["global_step"] == second["global_step"]
    loaders = [content["loops"]["fit_loop"]["state_dict"]["combined_loader"] for content in (first, second)]
    assert loaders[0] == loaders[1]


@pytest.mark.slow
def test_run_killed_ten_times_equals_the_uninterrupted_run(shards: Path, tmp_path: Path) -> None:
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "killed.log"
    uninterrupted = start(overrides(shards, whole, f"trainer.max_steps={STEPS}"), tmp_path / "whole.log")
    moments = np.random.default_rng()  # other moments at every run of the tests
    arguments = overrides(shards, killed, f"trainer.max_steps={STEPS}", "resume=auto")
    arguments += ["+callbacks.record._target_=run_process.RankRecord", f"+callbacks.record.folder={tmp_path}"]

    def half_written() -> set[Path]:
        return set(killed.glob("checkpoints/.*.ckpt.*.part"))

    steps_at_kill = []
    record = tmp_path / "rank0.jsonl"
    for path in (log, record):
        path.touch()
    for kill in range(KILLS):
        before, steps = log.stat().st_size, record.read_bytes().count(b"\n") + int(moments.integers(0, 4))
        left = half_written()
        process = start(arguments, log)
        if kill % 3 == 2:  # while a checkpoint is being written
            wait_for(lambda seen=left: half_written() - seen, process, log)
        else:  # at any time from the building of the model on
            wait_for(lambda seen=before: STARTED.search(log.read_bytes(), seen), process, log)
            # Counted in steps: in seconds, a fast machine would be through before the last kill.
            wait_for(lambda enough=steps: record.read_bytes().count(b"\n") >= enough, process, log)
            time.sleep(moments.uniform(0.0, 0.05))
        process.kill()
        process.join()
        newest = newest_checkpoint(killed / "checkpoints")
        steps_at_kill.append(0 if newest is None else training_step(newest))
    assert end(start(arguments, log), log) == 0, log.read_text()
    assert end(uninterrupted, tmp_path / "whole.log") == 0
    assert steps_at_kill == sorted(steps_at_kill)  # nothing that was saved is lost
    same_state(whole, killed)
    assert not list(killed.glob("checkpoints/.*"))  # nor is anything half-written left
    trained = [step for step, *_ in recorded(tmp_path)]
    assert set(trained) == set(range(1, STEPS + 1))
    assert len(trained) <= STEPS + 2 * KILLS  # at most the two steps since the last save were done again, each time


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 0), (signal.SIGINT, 130)])
@pytest.mark.slow
def test_signal_to_all_processes_of_a_run_saves_the_step_in_hand(
    signum: int, code: int, shards: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start(overrides(shards, tmp_path, "trainer.max_steps=1000"), log)
    wait_for(lambda: newest_checkpoint(tmp_path / "checkpoints"), process, log)
    os.killpg(process.pid, signum)  # the loader's worker gets it too, as from a scheduler or a terminal
    assert end(process, log) == code, log.read_text()
    step = training_step(newest_checkpoint(tmp_path / "checkpoints"))
    assert f"stopped by {signal.Signals(signum).name} after step {step}, which is saved" in log.read_text()
    assert "Traceback" not in log.read_text()


class SignalIn(lightning.Callback):
    """Sends this process a SIGTERM in the given hook, once `step` steps are done."""

    def __init__(self, hook: str, step: int) -> None:
        self.step, self.sent = step, False
        setattr(self, hook, self._send)

    def _send(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == self.step and not self.sent and trainer.received_sigterm is False:
            self.sent = True
            signal.raise_signal(signal.SIGTERM)


def fit(folder: Path, shards: Path, resume: Path | None = None, *more: lightning.Callback) -> None:
    torch.manual_seed(0)
    module = TinyModule()
    state = RunState("seed: 0\n", folder / "config.yaml")
    saver = RunCheckpoint(folder / "checkpoints", "{step}", every_n_train_steps=100, save_top_k=-1)
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=9, max_epochs=-1, logger=False, callbacks=[state, WeightEMA(0.9), saver, *more],
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, val_check_interval=3,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, plugins=[AtomicCheckpointIO()], accumulate_grad_batches=2,
    )  # fmt: skip
    trainer.fit(module, tiny_data(shards), ckpt_path=resume, weights_only=True)


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, shards)
    return folder


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_train_batch_start", 0), ("on_train_batch_start", 3), ("on_train_batch_start", 4),
        ("on_train_batch_end", 0), ("on_train_batch_end", 3), ("on_train_batch_end", 8),
        ("on_validation_batch_start", 1), ("on_validation_batch_end", 3), ("on_validation_batch_end", 5),
    ],
)  # fmt: skip
def test_run_stopped_in_any_hook_goes_on_as_if_it_had_not_been(
    hook: str, step: int, whole: Path, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(Preempted) as stop:
        fit(tmp_path / "parts", shards, None, SignalIn(hook, step))
    saved = newest_checkpoint(tmp_path / "parts" / "checkpoints")
    assert saved is not None
    assert training_step(saved) == stop.value.step >= step
    assert stop.value.exit_code == 0
    fit(tmp_path / "parts", shards, saved)
    same_state(whole, tmp_path / "parts")


def test_signal_before_training_ends_the_run_with_nothing_saved() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="with no step to save") as stop, stopping_at_once():
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.exit_code == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_failed_write_leaves_the_old_checkpoint_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "1.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(2)}, target)
    with pytest.raises(AttributeError):
        AtomicCheckpointIO().save_checkpoint({"a": lambda: None}, target)
    assert torch.load(target, weights_only=True)["a"].sum() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1.ckpt"]
