"""A model brings its parts along: checkpoints and exports name them, and whatever loads these uses exactly those."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch
from tiny_lipsync import SIDE, batch, tiny_autoencoder, tiny_unet
from torch.utils.data import DataLoader

import latentsync
from latentsync.data.sample import ClipBatch, ClipWindow, made_with
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.training.export import ExportPart
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.bundle import load_bundle
from latentsync.weights.convert import export
from latentsync.weights.initial import build_unet


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vae/ and ears/: an autoencoder and an audio encoder that are nobody else's."""
    folder = tmp_path_factory.mktemp("parts")
    tiny_autoencoder().vae.save_pretrained(folder / "vae")
    heads = {"encoder_attention_heads": 2, "encoder_layers": 1, "encoder_ffn_dim": 16}
    AudioEncoder.from_config(d_model=16, **heads).save_pretrained(folder / "ears")
    return folder


def heard(parts: Path, seed: int = 1) -> ClipBatch:
    return replace(batch(seed=seed), made_with={"audio_encoder": AudioEncoder.from_pretrained(parts / "ears").origin})


@pytest.fixture(scope="module")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.ckpt and export/ of a run of one step, with another schedule than the published one."""
    folder = tmp_path_factory.mktemp("run")
    module = LipSyncModule(
        tiny_unet(False), FrameAutoencoder.from_pretrained(parts / "vae"), Objective(),
        NoiseSchedule(beta_end=0.02, standardize_start_noise=True, prediction_type="v_prediction"),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3), resolution=SIDE,
    )  # fmt: skip
    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[ExportPart("unet", str(folder / "export"))],
    )  # fmt: skip
    trainer.fit(module, DataLoader([heard(parts)], batch_size=None))
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder


def test_checkpoint_and_export_are_used_with_the_parts_they_were_trained_with(run: Path, parts: Path) -> None:
    vae = FrameAutoencoder.from_pretrained(parts / "vae").vae.state_dict()
    ears = AudioEncoder.from_pretrained(parts / "ears").encoder.state_dict()
    for weights in (run / "last.ckpt", run / "export"):
        bundle = load_bundle(weights)
        assert all(torch.equal(value, vae[key]) for key, value in bundle.autoencoder.vae.state_dict().items())
        assert all(torch.equal(value, ears[key]) for key, value in bundle.audio_encoder.encoder.state_dict().items())
        assert (bundle.resolution, bundle.num_frames) == (SIDE, 16)
        assert bundle.schedule == {
            "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.02,
            "standardize_start_noise": True, "prediction_type": "v_prediction",
        }  # fmt: skip


def test_weights_of_velocities_are_not_trained_or_used_as_if_they_predicted_noise(
    run: Path, parts: Path, tmp_path: Path
) -> None:
    """Exports and checkpoints say what they predict; an export's configuration says it even without `model.json`."""
    for weights in (run / "last.ckpt", run / "export"):
        own = {name: value for name, value in tiny_unet().config.items() if name != "resolution"}
        unet = build_unet(weights, **{name: value for name, value in own.items() if not name.startswith("_")})
        autoencoder = FrameAutoencoder.from_pretrained(parts / "vae")
        with pytest.raises(UserError, match=r"trained for v_prediction; set model\.schedule\.prediction_type=v_pred"):
            LipSyncModule(unet, autoencoder, Objective(), NoiseSchedule(), torch.optim.AdamW, resolution=SIDE)
    bare = tmp_path / "bare"
    shutil.copytree(run / "export", bare)
    (bare / "model.json").unlink()
    bundle = load_bundle(bare, autoencoder=parts / "vae", audio_encoder=parts / "ears", resolution=SIDE)
    assert bundle.schedule == {"prediction_type": "v_prediction"}


def test_exported_folder_is_complete_without_the_run_and_has_a_card(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "model"
    export(run / "last.ckpt", moved)
    told = json.loads((moved / "model.json").read_text())
    assert (told["autoencoder"]["source"], told["audio_encoder"]["source"]) == ("vae", "audio_encoder")
    assert (moved / "vae" / "config.json").is_file()
    card = (moved / "README.md").read_text()
    for words in (f"{SIDE} px", told["audio_encoder"]["fingerprint"], "| steps trained | 1 |", "pipeline_tag"):
        assert words in card
    assert load_bundle(moved).audio_encoder.hidden_size == 16


def test_notebooks_rebuild_the_module_and_the_unet_from_the_checkpoint_alone(run: Path, parts: Path) -> None:
    module = LipSyncModule.load_from_checkpoint(run / "last.ckpt")
    stored = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, stored[f"unet.{key}"]) for key, value in module.unet.state_dict().items())
    assert module.schedule.beta_end == 0.02
    assert module.trained_with.told.num_frames == 16
    assert module.trained_with.told.audio_encoder is not None
    unet = latentsync.load_unet(run / "last.ckpt")
    assert all(torch.equal(value, stored[f"unet.{key}"]) for key, value in unet.state_dict().items())


def test_tokens_of_another_encoder_are_refused_within_a_batch_in_a_run_and_after_a_resume(
    run: Path, parts: Path
) -> None:
    mine, other = heard(parts), {"audio_encoder": {"source": "whisper-tiny", "fingerprint": "0" * 16}}
    module = LipSyncModule.load_from_checkpoint(run / "last.ckpt")
    module.trained_with.hears(mine)
    module.trained_with.hears(batch())  # of older shards, which do not tell
    with pytest.raises(UserError, match=r"audio tokens of two networks.*whisper-tiny"):
        module.trained_with.hears(replace(batch(), made_with=other))
    windows = [ClipWindow("a", 0, 9, torch.zeros(1), made_with=told) for told in (mine.made_with, other, {})]
    assert made_with([windows[0], windows[2]]) == mine.made_with
    with pytest.raises(UserError, match="precompute all of them with one"):
        made_with(windows)


def test_checkpoint_that_tells_nothing_says_which_keys_to_give(
    run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    content = torch.load(run / "last.ckpt", weights_only=True)
    del content["model"]
    content["unet_config"]["resolution"] = SIDE
    torch.save(content, tmp_path / "old.ckpt")
    load_bundle(tmp_path / "old.ckpt", autoencoder=parts / "vae", audio_encoder=parts / "ears")
    assert not caplog.text
    with caplog.at_level("WARNING"), pytest.raises(UserError, match="fetch sd-vae-ft-mse"):
        load_bundle(tmp_path / "old.ckpt")
    assert "audio_encoder= and autoencoder=" in caplog.text
