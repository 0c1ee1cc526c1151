"""`train.py` from configuration to run folder: what a run leaves, exact resuming, answers to mistakes."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from tiny_clips import LoudnessTokens

import train
from configs.compose import load_config
from data_prep.synthesize import synthesize
from latentsync.errors import UserError
from latentsync.media.probe import probe_video
from latentsync.training.validation_video import MARGIN
from latentsync.weights.initial import build_unet

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train_shards")
    return synthesize(folder, 5, resolution=64, seconds=2.0, audio_encoder=LoudnessTokens(), progress=False)


@pytest.fixture(autouse=True)
def in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations name the embedded networks relative to the repository."""
    monkeypatch.chdir(REPOSITORY)


def overrides(shards: Path, run_dir: Path, *more: str) -> list[str]:
    """`experiment=demo` with a U-Net as small as can be, on the noise loss, at 64 × 64."""
    return [
        "experiment=demo", "objective@model.objective=stage1", f"run_dir={run_dir}", "resolution=64",
        f"data.train_shards={shards}", f"data.val_shards={shards}",
        "model.unet.weights=null", "model.trainable=[all]",
        "model.unet.block_out_channels=[32,32,32,32]", "model.unet.cross_attention_dim=16",
        "model.audio_dropout=0.5", "model.optimizer.lr=1e-3",
        "trainer.val_check_interval=4", "trainer.enable_progress_bar=false",
        "callbacks.checkpoint.every_n_train_steps=2",
        "callbacks.validation_video.syncnet=null", "callbacks.validation_video.num_inference_steps=2", *more,
    ]  # fmt: skip


def run(shards: Path, run_dir: Path, *more: str) -> Path:
    train.run(load_config("train", overrides(shards, run_dir, *more)))
    return run_dir


def losses(run_dir: Path) -> list[str]:
    """The logged losses of every training step as written; all the starts of a run are one history."""
    (path,) = run_dir.glob("logs/version_*/metrics.csv")
    with path.open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


@pytest.fixture(scope="module")
def whole_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        return run(shards, tmp_path_factory.mktemp("whole"), "trainer.max_steps=8")


def test_run_folder_holds_what_the_configuration_says(whole_run: Path) -> None:
    for name in ("config.yaml", "losses.png", "checkpoints/last.ckpt", "checkpoints/00000008.ckpt"):
        assert (whole_run / name).is_file(), name
    for step in (4, 8):
        video = probe_video(whole_run / "validation" / f"step_{step:08d}.mp4")
        assert (video.width, video.height, video.num_frames) == (64 + MARGIN, 4 * 64, 16)
    assert not list(whole_run.rglob(".*"))  # nothing temporary is left


def test_exported_unet_loads_back_with_the_weights_of_the_last_checkpoint(whole_run: Path) -> None:
    sizes = {"block_out_channels": [32] * 4, "layers_per_block": 1, "cross_attention_dim": 16, "attention_head_dim": 4}
    temporal = {"use_motion_module": True, "motion_module_kwargs": {"num_attention_heads": 4}}
    unet = build_unet(weights=str(whole_run / "export"), resolution=64, **sizes, **temporal)
    last = torch.load(whole_run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert len(last) == len(unet.state_dict())
    assert all(torch.equal(value, last[f"unet.{name}"]) for name, value in unet.state_dict().items())


def test_run_resumed_from_last_equals_the_uninterrupted_run(shards: Path, whole_run: Path, tmp_path: Path) -> None:
    run(shards, tmp_path, "trainer.max_steps=4")
    run(shards, tmp_path, "trainer.max_steps=8", "resume=last")
    assert len(losses(whole_run)) == 8
    assert losses(tmp_path) == losses(whole_run)
    whole, parts = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (whole_run, tmp_path)
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_checkpoint_of_another_unet_is_refused(shards: Path, whole_run: Path, tmp_path: Path) -> None:
    checkpoint = whole_run / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="checkpoint does not fit the configured U-Net") as error:
        run(shards, tmp_path, f"resume={checkpoint}", "model.unet.cross_attention_dim=32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "said"), [("text", "not a ch"), ("cut off", "cut off"), ("weights", "no training state")]
)
def test_file_that_a_run_cannot_go_on_from_is_named(
    kind: str, said: str, shards: Path, whole_run: Path, tmp_path: Path
) -> None:
    path, last = tmp_path / "given.ckpt", whole_run / "checkpoints" / "last.ckpt"
    if kind == "text":
        path.write_text("This is no checkpoint.\n" * 50)
    elif kind == "cut off":
        path.write_bytes(last.read_bytes()[:100_000])
    else:
        torch.save({"state_dict": torch.load(last, weights_only=True)["state_dict"]}, path)
    with pytest.raises(UserError, match=f"given.ckpt: .*{said}") as error:
        run(shards, tmp_path / "run", f"resume={path}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*no \.tar shard") as error:
        run(tmp_path / "nowhere", tmp_path / "run")
    assert "\n" not in str(error.value)


def test_damaged_shard_is_named(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    (damaged,) = (tmp_path / "shards").glob("*.tar")
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(UserError, match=f"{damaged.name}.*unreadable or cut off") as error:
        run(tmp_path / "shards", tmp_path / "run")
    assert "\n" not in str(error.value)


def test_clips_with_too_few_frames_are_counted(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"5 of 5 clips cannot be used .*fewer than 60 frames") as error:
        run(shards, tmp_path, "num_frames=20")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.batch_size=0", "batch_size=0"),
        ("model.audio_dropout=2", "audio_dropout"),
        ("model.trainable=[foo]", "'foo'"),
    ],
)
def test_value_out_of_range_is_named_before_a_step_is_run(
    override: str, said: str, shards: Path, tmp_path: Path
) -> None:
    from configs.compose import _instantiation_mistake  # what `command` turns Hydra's wrapping into

    with pytest.raises((UserError, InstantiationException)) as caught:
        run(shards, tmp_path / "run", override)
    error = caught.value
    error = _instantiation_mistake(error) if isinstance(error, InstantiationException) else error
    assert said in str(error)
    assert "\n" not in str(error)
    assert not (tmp_path / "run").exists()
