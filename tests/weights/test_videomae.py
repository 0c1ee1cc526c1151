"""VideoMAE v2's published keys in transformers' VideoMAE: the golden features, and strictness."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.weight_files import load_strict
from latentsync.weights.videomae import GIANT, VideoMAEAdapter, load_video_encoder

ADAPTER = VideoMAEAdapter()


def test_features_equal_the_published_encoders(
    formula: ModuleType, manifest: dict[str, Any], golden_state: Any, goldens: Path, tmp_path: Path
) -> None:
    torch.save({"module": golden_state("trepa")}, tmp_path / "videomae.pth")
    encoder = load_video_encoder(tmp_path / "videomae.pth", manifest["trepa"]["config"])
    frames = torch.from_numpy(formula.tensor("trepa.real", (2, 3, 16, 64, 64))).transpose(1, 2)
    with torch.no_grad():
        features = encoder(frames / 2 + 0.5)
    expected = np.load(goldens / "trepa.npz")["features_real"]
    assert np.abs(features.numpy() - expected).max() <= 1e-3 * np.abs(expected).max()


def test_giant_table_fills_transformers_giant(key_table: Any) -> None:
    state = ADAPTER.from_published({"model": key_table("videomae_v2_giant_state_dict")})
    with torch.device("meta"):
        network = ADAPTER.network(GIANT)
    load_strict(network, state, "videomae giant", assign=True)


def test_unknown_keys_and_a_missing_norm_are_named(golden_state: Any) -> None:
    state = golden_state("trepa")
    with pytest.raises(UserError, match=r"blocks\.0\.gamma_1"):
        ADAPTER.from_published({**state, "blocks.0.gamma_1": torch.zeros(48)})
    with pytest.raises(UserError, match="fc_norm"):
        ADAPTER.from_published({k: v for k, v in state.items() if not k.startswith("fc_norm")})
