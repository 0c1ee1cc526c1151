"""Two real processes (gloo, as torchrun starts them): in step, no sample twice, resumed on one or two."""

from pathlib import Path

import pytest
import torch
from run_process import end, overrides, recorded, start, start_ranks, wait_for, write_tiny_shards

from latentsync.training.resume import newest_checkpoint

pytestmark = pytest.mark.slow

RECORD = "+callbacks.record._target_=run_process.RankRecord"


def arguments(shards: Path, folder: Path, *more: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    return overrides(shards, folder, RECORD, f"+callbacks.record.folder={folder}", *more)


def run_ranks(shards: Path, folder: Path, *more: str, trainer: str = "ddp") -> None:
    folder.mkdir(exist_ok=True)
    for rank, process in enumerate(start_ranks(2, arguments(shards, folder, *more), folder, trainer)):
        log = folder / f"rank{rank}.log"
        assert end(process, log) == 0, log.read_text()


def run_alone(shards: Path, folder: Path, *more: str) -> None:
    assert end(start(arguments(shards, folder, *more), folder / "log"), folder / "log") == 0, (
        folder / "log"
    ).read_text()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips in shards of 4, 4 and 1."""
    return write_tiny_shards(tmp_path_factory.mktemp("shards"), 9)


def test_two_ranks_train_as_one_process_with_the_whole_batch_does(shards: Path, tmp_path: Path) -> None:
    exact = "trainer.precision=32-true"
    run_ranks(shards, tmp_path / "two", "trainer.max_steps=4", exact)  # an epoch: shards of 4, 4 and 1 for two ranks
    run_alone(shards, tmp_path / "one", "trainer.max_steps=4", "data.batch_size=2", exact)
    ranks = [recorded(tmp_path / "two", rank) for rank in range(2)]
    for (step, loss, keys), first, second in zip(recorded(tmp_path / "one"), *ranks, strict=True):
        assert first[0] == second[0] == step
        assert first[2] + second[2] == keys
        # AdamW's first updates are as large for a gradient of rounding error as for a real one.
        assert (first[1] + second[1]) / 2 == pytest.approx(loss, abs=1e-5 if step == 1 else 5e-3)
    seen = [key for rank in ranks for _, _, keys in rank for key in keys]
    assert len(seen) == len(set(seen)) == 8
    content = torch.load(newest_checkpoint(tmp_path / "two" / "checkpoints"), weights_only=True)
    assert len(content["random_states"]) == 2
    assert "max_steps: 4" in content["config"]


def test_epoch_goes_on_when_the_number_of_ranks_changes(shards: Path, tmp_path: Path) -> None:
    run_ranks(shards, tmp_path, "trainer.max_steps=2")
    run_alone(shards, tmp_path, "trainer.max_steps=7", "resume=auto")  # rank0's record goes on
    seen = [key for rank in range(2) for _, _, keys in recorded(tmp_path, rank) for key in keys]
    assert sorted(seen) == [f"c{index:02d}" for index in range(9)]


def test_bad_clips_of_one_rank_do_not_stall_the_other(tmp_path: Path) -> None:
    damaged = write_tiny_shards(tmp_path / "shards", 9, damaged=(1, 6))
    run_ranks(damaged, tmp_path / "run", "trainer.max_steps=4", "data.max_bad_share=0.5")
    ranks = [recorded(tmp_path / "run", rank) for rank in range(2)]
    assert [len(rank) for rank in ranks] == [4, 4]
    assert not {"c01", "c06"} & {key for rank in ranks for _, _, keys in rank for key in keys}


def test_one_ranks_signal_stops_both_after_the_same_step(shards: Path, tmp_path: Path) -> None:
    processes = start_ranks(2, arguments(shards, tmp_path, "trainer.max_steps=1000"), tmp_path)
    logs = [tmp_path / f"rank{rank}.log" for rank in range(2)]
    wait_for(lambda: newest_checkpoint(tmp_path / "checkpoints"), processes[0], logs[0])
    processes[1].terminate()
    assert [end(process, log) for process, log in zip(processes, logs)] == [0, 0], logs[0].read_text()
    last = [recorded(tmp_path, rank)[-1][0] for rank in range(2)]
    content = torch.load(newest_checkpoint(tmp_path / "checkpoints"), weights_only=True)
    assert last == [content["global_step"]] * 2


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{step:08d}.ckpt", weights_only=True)["state_dict"]


def test_sharded_training_gives_the_weights_of_unsharded_training_and_resumes(shards: Path, tmp_path: Path) -> None:
    plain, sharded, exact = tmp_path / "ddp", tmp_path / "fsdp", ["trainer.precision=32-true", "callbacks=checkpoint"]
    run_ranks(shards, plain, "trainer.max_steps=4", *exact)
    run_ranks(shards, sharded, "trainer.max_steps=2", *exact, trainer="fsdp")
    run_ranks(shards, sharded, "trainer.max_steps=4", "resume=auto", *exact, trainer="fsdp")
    early, ours, theirs = weights(plain, 2), weights(plain, 4), weights(sharded, 4)
    assert ours.keys() == theirs.keys()
    assert {name.split(".")[0] for name in theirs} == {"unet"}  # whole tensors of the U-Net alone, in one file
    apart = max(float((value - theirs[name]).abs().max()) for name, value in ours.items())
    moved = max(float((value - early[name]).abs().max()) for name, value in ours.items())
    assert apart < 1e-5 < moved
    for rank in range(2):
        for one, other in zip(recorded(plain, rank), recorded(sharded, rank), strict=True):
            assert one[2] == other[2]
            assert one[1] == pytest.approx(other[1], abs=1e-5)
