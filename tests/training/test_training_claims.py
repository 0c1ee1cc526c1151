"""What training stands on: gradients where they belong, a batch can be learned, a resumed run is the same run."""

import csv
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from tiny_clips import LoudnessTokens
from tiny_lipsync import FRAMES, SIDE, batch, draws, module, whole_objective
from torch import Tensor
from torch.utils.data import DataLoader

from data_prep.synthesize import synthesize
from latentsync.data.datamodule import ClipDataModule
from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel


@pytest.mark.parametrize("checkpointing", [False, True])
def test_whole_objective_reaches_every_trained_weight_and_no_frozen_one(checkpointing: bool) -> None:
    trained = ["motion_modules.", "attentions."]
    lip_sync = module(whole_objective, zero_outputs=False, trainable=trained, gradient_checkpointing=checkpointing)
    lip_sync.train()
    result = lip_sync.step(batch(), draws(batch()))
    result.total.backward()
    assert set(result.raw) == {"noise", "perceptual", "trepa", "sync", "clean_latents"}
    for name, parameter in lip_sync.named_parameters():
        if name.startswith("unet.") and any(pattern in name for pattern in trained):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


def test_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="motion_modulez"):
        module(trainable=["motion_modulez"])


@pytest.mark.parametrize("dropout", ["lots", None, True, -0.1, 1.0, float("nan")])
def test_audio_dropout_that_is_no_probability_names_its_key(dropout: object) -> None:
    with pytest.raises(UserError, match=rf"model\.audio_dropout={dropout} is not a probability below 1"):
        module(audio_dropout=dropout)


def test_steps_on_one_batch_lower_the_noise_loss() -> None:
    lip_sync, one = module(lr=3e-3), batch()
    optimizer = torch.optim.AdamW(lip_sync.unet.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = lip_sync.step(one, draws(one)).raw["noise"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses[-5:]) < min(losses[:3])  # by far: noise 1 is what knowing nothing costs


def test_dropped_audio_is_zero_for_whole_clips_at_the_asked_rate() -> None:
    clips = ClipRandom.of([str(number) for number in range(2000)], seed=0)
    tokens = clips.dropout(torch.ones(2000, 2, 3, 4), 0.3)
    kept = tokens.flatten(1)
    assert ((kept == 0).all(1) | (kept == 1).all(1)).all()
    assert 0.26 < (kept[:, 0] == 0).float().mean() < 0.34


class Losses(Callback):
    """Every step's loss, exactly."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, *_) -> None:
        self.seen.append(outputs["loss"].item())


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    return synthesize(folder, 7, resolution=SIDE, seconds=2.0, audio_encoder=LoudnessTokens(), progress=False)


def fit(folder: Path, shards: Path, steps: int, resume: Path | None = None) -> tuple[list[float], dict[str, Tensor]]:
    lip_sync, losses = module(audio_dropout=0.5, lr=1e-3), Losses()
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=3, save_top_k=-1, save_on_train_epoch_end=False)
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, callbacks=[losses, saver],
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0, use_distributed_sampler=False,
    )  # fmt: skip
    data = ClipDataModule(shards, num_frames=FRAMES, batch_size=2, num_workers=1, resolution=SIDE, seed=3)
    trainer.fit(lip_sync, data, ckpt_path=resume, weights_only=True)
    return losses.seen, lip_sync.unet.state_dict()


def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, shards: Path) -> None:
    whole, weights = fit(tmp_path / "whole", shards, 8)  # 7 clips in pairs: over the end of two epochs
    first, _ = fit(tmp_path / "parts", shards, 3)
    rest, resumed = fit(tmp_path / "parts", shards, 8, tmp_path / "parts" / "step=3.ckpt")
    assert first + rest == whole
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())


def test_checkpoint_holds_the_unet_alone_and_refuses_another(tmp_path: Path, shards: Path) -> None:
    fit(tmp_path, shards, 3)
    content = torch.load(tmp_path / "step=3.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in content["state_dict"]} == {"unet"}
    assert content["unet_config"]["cross_attention_dim"] == 16
    other = module()
    other.unet = UNet3DConditionModel(block_out_channels=(32, 32, 32, 64), layers_per_block=1, cross_attention_dim=16)
    with pytest.raises(UserError, match="does not fit"):
        other.on_load_checkpoint(content)


def test_stored_latents_give_what_pixels_give() -> None:
    lip_sync, one = module(), batch()
    keep = lip_sync.conditioning.mouth_mask
    moments = {
        name: torch.cat(lip_sync.autoencoder.moments(frames), dim=2).detach()
        for name, frames in (
            ("target_moments", one.target), ("masked_moments", one.target * keep), ("reference_moments", one.reference),
        )
    }  # fmt: skip
    stored = ClipBatch(one.keys, one.start_frames, one.reference_starts, one.mel, one.audio_tokens, **moments)
    ours, theirs = (lip_sync.conditioning.encode(which, draws(one)) for which in (one, stored))
    for name in ("target", "mask", "masked", "reference"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5), name


def test_loss_plot_is_drawn_from_the_csv_log(tmp_path: Path) -> None:
    from latentsync.training.loss_plot import plot_metrics, read_metrics

    with (tmp_path / "metrics.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "train/noise", "train/noise_weighted", "val/noise"])
        writer.writerows([[0, step, 1 / (step + 1), 1, "" if step % 5 else 0.5] for step in range(40)])
    series = read_metrics(tmp_path / "metrics.csv")
    assert set(series) == {"train/noise", "val/noise"}
    assert len(series["val/noise"]) == 8
    plot_metrics(series, tmp_path / "plots" / "losses.png")
    assert (tmp_path / "plots" / "losses.png").stat().st_size > 5000


def test_network_that_cannot_learn_is_refused_before_the_first_step() -> None:
    trainer = lightning.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=r"conv_in\.weight and conv_out\.weight are zero and frozen.*unet\.weights="):
        trainer.fit(module(trainable=["motion_modules.", "attentions."]), DataLoader([batch()], batch_size=None))
