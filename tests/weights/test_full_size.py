"""Every network at full size, on the meta device: its key → shape table is the published one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.weight_files import load_strict
from latentsync.weights.syncnet import syncnet_config
from latentsync.weights.whisper import OpenAIWhisper


def shapes(network: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in network.state_dict().items()}


def table(shared: Path, name: str) -> dict[str, list[int]]:
    return json.loads((shared / "goldens" / "state_dicts" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "settings", "parameters"),
    [
        ("unet_stage1_state_dict", {"use_motion_module": False}, 849_962_244),
        ("unet_stage2_state_dict", {}, 1_267_099_844),
        ("unet_stage2_efficient_state_dict", {"motion_module_decoder_only": True}, 1_100_244_804),
    ],
)
def test_unet_has_the_published_keys_and_size(name: str, settings: dict, parameters: int, shared: Path) -> None:
    with torch.device("meta"):
        unet = UNet3DConditionModel(**settings)
    assert shapes(unet) == table(shared, name)
    assert sum(p.numel() for p in unet.parameters()) == parameters


@pytest.mark.parametrize("name", ["pixel_attn", "pixel", "latent"])
def test_syncnet_has_the_published_keys(name: str, shared: Path, key_table: Any) -> None:
    from latentsync.models.syncnet import StableSyncNet

    with torch.device("meta"):
        syncnet = StableSyncNet(**syncnet_config(key_table(f"stable_syncnet_16_{name}")))
    assert shapes(syncnet) == table(shared, f"stable_syncnet_16_{name}")


def test_whisper_tiny_table_fills_transformers_encoder(key_table: Any) -> None:
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
    state = key_table("whisper_tiny_keys")
    adapter, content = OpenAIWhisper(), {"dims": dims, "model_state_dict": state}
    encoder_state = adapter.from_published(content)
    with torch.device("meta"):
        encoder = adapter.network(adapter.config(content))
    load_strict(encoder, encoder_state, "whisper tiny", assign=True)
    assert len(encoder_state) == sum(key.startswith("encoder.") for key in state)


@pytest.mark.slow
def test_full_size_syncnet_runs_forward(key_table: Any) -> None:
    from latentsync.models.syncnet import StableSyncNet

    config = syncnet_config(key_table("stable_syncnet_16_pixel_attn"))
    with torch.device("meta"):
        syncnet = StableSyncNet(**config)
    syncnet = syncnet.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for key, value in syncnet.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5, generator=generator)
        else:
            value.fill_(1.0 if key.endswith("weight") else 0.0)
    frames = torch.rand(1, 48, 128, 256, generator=generator)
    with torch.inference_mode():
        vision, audio = syncnet(frames, torch.randn(1, 1, 80, 52, generator=generator))
    assert vision.shape == audio.shape == (1, 2048)
    assert torch.allclose(vision.norm(dim=1), torch.ones(1), atol=1e-4)
    assert torch.allclose(audio.norm(dim=1), torch.ones(1), atol=1e-4)
