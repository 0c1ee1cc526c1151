"""The progress of a run in a log: a line now and then, and none when it is switched off."""

import lightning
import pytest
from tiny_lipsync import batch, module
from torch.utils.data import DataLoader

from latentsync.training.progress import ProgressLines, progress


def fit(callback: ProgressLines) -> None:
    trainer = lightning.Trainer(
        max_steps=3, accelerator="cpu", logger=False, callbacks=[callback], enable_checkpointing=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    clips = DataLoader([batch(seed=i) for i in range(3)], batch_size=None)
    trainer.fit(module(zero_outputs=False, trainable=["attn2."]), clips, DataLoader([batch(seed=9)], batch_size=None))


def test_first_and_last_step_are_told_and_steps_between_only_after_a_while(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=1000))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split("  ")[0] for line in lines] == ["step 1 of 3", "step 3 of 3"]
    assert all("train/loss 0." in line or "train/loss 1." in line for line in lines)
    assert ["val/loss" in line for line in lines] == [False, True]  # the validation after the last step


def test_every_step_is_told_without_a_wait_and_none_when_disabled(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=0))
    assert capsys.readouterr().out.count("step ") == 4  # and the end
    silent = ProgressLines(seconds=0)
    silent.disable()
    fit(silent)
    assert "step " not in capsys.readouterr().out


def test_log_gets_lines() -> None:
    assert isinstance(progress(), ProgressLines)  # pytest's stderr is no terminal
