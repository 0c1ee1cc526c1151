"""The evaluation in training comes when it should, with the averaged weights, and leaves no trace in the run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tiny_lipsync import batch, module
from torch.utils.data import DataLoader

from latentsync.errors import UserError
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.training.evaluation import Evaluation, evaluating
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.loss_plot import read_metrics


class Looker:
    """A score that disturbs what it can, and notes what it sees."""

    def __init__(self) -> None:
        self.folders: list[str] = []

    def __call__(self, module: LipSyncModule, folder: Path) -> dict[str, float]:
        assert not module.unet.training
        assert not torch.is_grad_enabled()
        torch.rand(1000)
        self.folders.append(folder.name)
        return {"number": float(len(self.folders))}


class Clips(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        if index >= 6:
            raise IndexError
        return batch(seed=index)


def fitted(folder: Path, *callbacks: lightning.Callback) -> tuple[dict, dict]:
    torch.manual_seed(0)
    logger = CSVLogger(folder, name="logs")
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, callbacks=list(callbacks), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, accumulate_grad_batches=2,
    )  # fmt: skip
    trained = module(zero_outputs=False, trainable=["attn2."])
    trainer.fit(trained, DataLoader(Clips(), batch_size=None))
    assert trained.unet.training
    return read_metrics(Path(logger.log_dir) / "metrics.csv"), trained.state_dict()


def test_it_comes_once_a_step_and_changes_nothing_in_the_run(tmp_path: Path) -> None:
    looker = Looker()
    logged, state = fitted(tmp_path / "with", Evaluation(looker, str(tmp_path / "eval"), every_n_steps=2))
    plain, other = fitted(tmp_path / "without")
    assert looker.folders == ["step_00000002"]
    assert [value for _, value in logged["eval/number"]] == [1.0]
    assert logged["train/loss"] == plain["train/loss"]
    assert all(torch.equal(value, other[name]) for name, value in state.items())


def test_interval_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="every_n_steps=0"):
        Evaluation(Looker(), "x", every_n_steps=0)


def test_networks_have_the_types_and_layout_of_training_again(tmp_path: Path) -> None:
    trained = module()
    trained.autoencoder.to(torch.bfloat16)
    kernel = trained.unet.conv_in.weight
    with evaluating(trained):
        trained.autoencoder.float()
        trained.unet.to(memory_format=torch.channels_last)
        assert not kernel.is_contiguous()
    assert trained.unet.conv_in.weight is kernel
    assert kernel.is_contiguous()
    assert {parameter.dtype for parameter in trained.autoencoder.parameters()} == {torch.bfloat16}


def demo_module() -> LipSyncModule:
    """As `experiment=demo` makes it, with the noise loss alone; its start noise is standardized."""
    from hydra.utils import instantiate

    from configs.compose import load_config

    config = load_config("train", ["experiment=demo", "callbacks=[demo,evaluation]"])
    assert config.callbacks.evaluation.score.audio_encoder is None
    config.model.objective = {"_target_": "latentsync.losses.objective.Objective", "noise": 1.0}
    return instantiate(config.model).eval()


def test_synthetic_heads_are_scored_with_all_that_is_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval import during_training
    from latentsync.weights.whisper import load_audio_encoder

    pipelines: list[LipSyncPipeline] = []
    measure = during_training.measure

    def watched(pipeline: LipSyncPipeline, *rest: Any, **options: Any) -> Any:
        pipelines.append(pipeline)
        return measure(pipeline, *rest, **options)

    monkeypatch.setattr(during_training, "measure", watched)
    made, score = demo_module(), during_training.SyntheticHeads(num_identities=1, seconds=0.64, num_inference_steps=1)
    with pytest.raises(UserError, match=r"score\.audio_encoder: the shards do not say which encoder"):
        score.prepare(made)
    origin = load_audio_encoder("demo").origin
    made.trained_with.hears(replace(batch(), made_with={"audio_encoder": origin}))
    found = score(made, tmp_path)
    assert set(found) == {"mouth_r", "own_mouth_r", "psnr_outside_mouth"}
    assert found["psnr_outside_mouth"] > 25
    assert (tmp_path / "results.json").is_file()
    (pipeline,) = pipelines
    assert pipeline.audio_encoder.origin == origin
    assert (pipeline.num_frames, pipeline.resolution) == (16, 128)
    noise = pipeline.generate.start_noise(3)[0, :, 0]  # (4, h, w)
    assert noise.mean(dim=(1, 2)).abs().max() < 1e-5
    assert (noise.std(dim=(1, 2)) - 1).abs().max() < 1e-4


def test_another_audio_encoder_is_used_knowingly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from eval.during_training import SyntheticHeads
    from latentsync.models.audio_encoder import AudioEncoder

    heads = {"encoder_attention_heads": 2, "encoder_layers": 1, "encoder_ffn_dim": 16}
    AudioEncoder.from_config(d_model=16, **heads).save_pretrained(tmp_path / "ears")
    told = {"audio_encoder": {"source": "whisper-tiny.en", "fingerprint": "0" * 16}}
    trained = module()
    trained.trained_with.hears(replace(batch(), made_with=told))
    SyntheticHeads(str(tmp_path / "ears")).prepare(trained)
    assert "is another one" in caplog.text
