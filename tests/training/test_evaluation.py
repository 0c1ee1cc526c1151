"""The evaluation in training comes when it should, with the averaged weights, and leaves no trace in the run."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tiny_lipsync import batch, module
from torch.utils.data import DataLoader

from latentsync.errors import UserError
from latentsync.training.evaluation import Evaluation
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


def test_synthetic_heads_are_scored_with_the_networks_in_training(tmp_path: Path) -> None:
    from hydra.utils import instantiate

    from configs.compose import load_config
    from eval.during_training import SyntheticHeads

    config = load_config("train", ["experiment=demo", "callbacks=[demo,evaluation]"])
    assert config.callbacks.evaluation.score.num_frames == 16
    score = SyntheticHeads("demo", num_identities=1, seconds=0.64, num_inference_steps=1)
    config.model.objective = {"_target_": "latentsync.losses.objective.Objective", "noise": 1.0}
    made = instantiate(config.model)
    found = score(made.eval(), tmp_path)
    assert set(found) == {"mouth_r", "own_mouth_r", "psnr_outside_mouth"}
    assert found["psnr_outside_mouth"] > 25
    assert (tmp_path / "results.json").is_file()
