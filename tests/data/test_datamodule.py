"""The data module in a real Lightning Trainer: a run stopped and resumed sees the batches of an uninterrupted one."""

import lightning
import pytest
import torch
from tiny_clips import SIZE, tiny_clip, write_shards

from latentsync.data.datamodule import ClipDataModule
from latentsync.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder / "train", [tiny_clip(f"c{i}") for i in range(9)], clips_per_shard=4)
    write_shards(folder / "val", [tiny_clip(f"v{i}") for i in range(3)])
    return folder


def data(folder, **changes) -> ClipDataModule:
    arguments = {
        "train_shards": str(folder / "train"),
        "val_shards": str(folder / "val"),
        "num_frames": 4,
        "batch_size": 2,
        "num_workers": 0,
        "resolution": SIZE,
        "audio_tokens": False,
        "pixels": False,
    }
    return ClipDataModule(**{**arguments, **changes})


class Recorder(lightning.LightningModule):
    """Learns nothing; keeps what each batch was."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple] = []
        self.validated: list[str] = []

    def training_step(self, batch, batch_idx):
        self.seen.append((tuple(batch.keys), tuple(batch.start_frames.tolist()), float(batch.mel.sum())))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validated += batch.keys

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, datamodule, steps, folder, resume=None, **arguments):
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **arguments,
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume)
    return trainer


@pytest.mark.parametrize(("num_workers", "stop"), [(0, 1), (0, 3), (0, 4), (0, 7), (2, 3), (2, 6)])
def test_resumed_run_sees_the_batches_of_an_uninterrupted_run(folder, tmp_path, num_workers, stop):
    whole = Recorder()
    fit(whole, data(folder), 11, tmp_path)  # 4 steps an epoch
    before = Recorder()
    trainer = fit(before, data(folder, num_workers=num_workers), stop, tmp_path)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    after = Recorder()
    fit(after, data(folder, num_workers=num_workers), 11, tmp_path, resume=tmp_path / "stopped.ckpt")
    assert len(whole.seen) == 11
    assert before.seen + after.seen == whole.seen


@pytest.mark.parametrize("when", [2, 4, 5])
def test_checkpoints_of_a_callback_resume_exactly(folder, tmp_path, when):
    whole = Recorder()
    fit(whole, data(folder), 10, tmp_path, callbacks=[Saver(tmp_path, when)])
    after = Recorder()
    fit(after, data(folder), 10, tmp_path, resume=tmp_path / f"{when}.ckpt")
    assert whole.seen[when:] == after.seen


class Saver(lightning.Callback):
    """Saves within the run, after a given step, as a checkpoint callback does."""

    def __init__(self, folder, when) -> None:
        self.folder, self.when = folder, when

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.when:
            trainer.save_checkpoint(self.folder / f"{self.when}.ckpt")


def test_validation_sees_all_clips_each_time_and_leaves_training_alone(folder, tmp_path):
    plain, validated = Recorder(), Recorder()
    fit(plain, data(folder, val_shards=None), 8, tmp_path, limit_val_batches=0)
    fit(validated, data(folder), 8, tmp_path, val_check_interval=2, num_sanity_val_steps=0)
    assert validated.seen == plain.seen
    assert validated.validated == ["v0", "v1", "v2"] * 4


def test_limited_epochs_go_through_all_clips_before_any_comes_again(folder, tmp_path):
    module = Recorder()
    fit(module, data(folder, batch_size=3), 3, tmp_path, limit_train_batches=1)
    assert len({key for keys, *_ in module.seen for key in keys}) == 9


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_frames": 0}, "num_frames=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"max_bad_share": 1.5}, "max_bad_share=1.5"),
    ],
)
def test_arguments_out_of_range_are_named(folder, change, named):
    with pytest.raises(UserError, match=named):
        data(folder, **change)


def test_missing_and_too_short_training_shards_are_user_errors(folder):
    with pytest.raises(UserError, match="train_shards: not given"):
        data(folder, train_shards=None).train_dataloader()
    with pytest.raises(UserError, match=r"no \.tar shard"):
        data(folder, train_shards=str(folder / "nowhere")).train_dataloader()
    with pytest.raises(UserError, match="9 × fewer than 48 frames"):
        data(folder, num_frames=16).train_dataloader()


def test_syncnets_shorter_minimum_is_kept_at_two_windows(folder):
    assert data(folder, num_frames=16).min_frames == 48
    assert data(folder, num_frames=16, min_frames=32).min_frames == 32
    assert data(folder, num_frames=16, min_frames=20).min_frames == 32


class RankRecorder(Recorder):
    """Writes what each rank has seen to a file."""

    def __init__(self, folder) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self) -> None:
        text = "\n".join(" ".join(keys) for keys, *_ in self.seen)
        (self.folder / f"rank{self.global_rank}.txt").write_text(text)


@pytest.mark.slow
def test_two_processes_share_an_epoch_and_take_the_batches_of_one(folder, tmp_path):
    whole = Recorder()
    fit(whole, data(folder, batch_size=4, val_shards=None), 2, tmp_path)
    parallel = {"strategy": "ddp_fork", "devices": 2}
    fit(RankRecorder(tmp_path), data(folder, num_workers=1), 2, tmp_path, **parallel)
    ranks = [[line.split() for line in (tmp_path / f"rank{rank}.txt").read_text().splitlines()] for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == [list(keys) for keys, *_ in whole.seen]


def test_modules_get_pixels_as_numbers_though_they_are_read_as_bytes(folder, tmp_path):
    class Looker(Recorder):
        def training_step(self, batch, batch_idx):
            assert batch.target.dtype == batch.reference.dtype == torch.float32
            assert -1 <= batch.target.min() < -0.1
            assert batch.reference.max() <= 1
            return super().training_step(batch, batch_idx)

    shown = data(folder, pixels=True, val_shards=None)
    assert next(iter(shown.train_dataloader())).target.dtype == torch.uint8
    looker = Looker()
    fit(looker, data(folder, pixels=True, val_shards=None), 2, tmp_path)
    assert len(looker.seen) == 2


def test_no_more_workers_than_clips_are_started_and_that_is_said_first(folder, caplog):
    clips = data(folder, num_workers=5)
    clips.prepare_data()
    assert caplog.messages == ["val shards: of num_workers=5, 3 read: there are 3 clips"]
    assert clips.val_dataloader().num_workers == 3
    assert clips.train_dataloader().num_workers == 5
    clips.teardown("fit")
