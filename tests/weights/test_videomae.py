"""VideoMAE v2's published keys in transformers' VideoMAE: the golden features, and strictness."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import VideoMAEModel

from latentsync.errors import UserError
from latentsync.weights.load import load_strict
from latentsync.weights.videomae import videomae_to_transformers


def test_features_equal_the_published_encoders(
    formula: ModuleType, manifest: dict[str, Any], golden_state: Any, goldens: Path
) -> None:
    config, state, norm = videomae_to_transformers({"module": golden_state("trepa")}, manifest["trepa"]["config"])
    network = VideoMAEModel(config).eval()
    load_strict(network, state, "videomae")
    frames = torch.from_numpy(formula.tensor("trepa.real", (2, 3, 16, 64, 64))).transpose(1, 2)
    large = nn.functional.interpolate(frames.flatten(0, 1), (224, 224), mode="bicubic")
    with torch.no_grad():
        hidden = network((large / 2 + 0.5).clamp(0, 1).unflatten(0, (2, 16))).last_hidden_state.mean(1)
        features = nn.functional.layer_norm(hidden, (48,), norm["weight"], norm["bias"], config.layer_norm_eps)
    expected = np.load(goldens / "trepa.npz")["features_real"]
    assert np.abs(features.numpy() - expected).max() <= 1e-3 * np.abs(expected).max()


def test_giant_table_fills_transformers_giant(key_table: Any) -> None:
    config, state, norm = videomae_to_transformers({"model": key_table("videomae_v2_giant_state_dict")})
    with torch.device("meta"):
        network = VideoMAEModel(config)
    load_strict(network, state, "videomae giant", assign=True)
    assert norm["weight"].shape == (1408,)


def test_unknown_keys_and_a_missing_norm_are_named(golden_state: Any, manifest: dict[str, Any]) -> None:
    config, state = manifest["trepa"]["config"], golden_state("trepa")
    with pytest.raises(UserError, match=r"blocks\.0\.gamma_1"):
        videomae_to_transformers({**state, "blocks.0.gamma_1": torch.zeros(48)}, config)
    with pytest.raises(UserError, match="fc_norm"):
        videomae_to_transformers({k: v for k, v in state.items() if not k.startswith("fc_norm")}, config)
