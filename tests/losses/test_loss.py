"""What CONTRIBUTING says of adding a loss: one file and one entry, executed here as they are printed there."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hydra.utils import instantiate
from loss_inputs import pixels

from configs.compose import load_config
from latentsync.losses.objective import Objective

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The printed loss and its entry in their places; overrides that choose it."""
    text = CONTRIBUTING.read_text()
    code, entry = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("python", "yaml"))
    module = ModuleType("latentsync.losses.flicker")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "flicker.yaml").write_text(entry)
    without_files = [f"model.objective.{name}=0" for name in ("perceptual", "trepa", "sync")]
    return [
        f"hydra.searchpath=[file://{tmp_path}]",
        "experiment=stage2",
        "objective@model.objective=flicker",
        *without_files,
    ]


def objective(overrides: list[str]) -> Objective:
    return instantiate(load_config("train", overrides).model.objective, _convert_="all")


def test_printed_loss_is_built_from_its_entry_shown_whole_clips_and_weighed(added: list[str]) -> None:
    ours = objective(added)
    frames = torch.zeros(2, 4, 3, 8, 8)
    flickering = frames.clone()
    flickering[:, 1::2] = 0.3  # each of the three differences is ±0.3
    result = ours(pixels(flickering, frames), lambda latents: flickering)
    assert ours.needs == "clip"
    assert float(result.raw["flicker"]) == pytest.approx(0.3)
    assert float(result.weighted["flicker"]) == pytest.approx(0.15)
    assert result.raw.keys() == {"noise", "flicker"}


def test_weight_of_the_printed_loss_is_a_key_like_the_others(added: list[str]) -> None:
    off = objective([*added, "model.objective.flicker=0"])
    assert list(off.losses) == ["noise"]
    assert "flicker" in off.names
    assert objective([*added, "model.objective.flicker=2"]).weights["flicker"] == 2
