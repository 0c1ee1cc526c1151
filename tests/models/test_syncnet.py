"""StableSyncNet: unit embeddings, a width that both sides share, and files that load again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.models.syncnet import StableSyncNet

AUDIO = {
    "in_channels": 1,
    "block_out_channels": [32, 32, 32, 32, 64],
    "downsample_factors": [[2, 1], 2, 2, 4, [5, 7]],
    "attn_blocks": [0, 0, 0, 1, 0],
    "dropout": 0.0,
}
VISUAL = {
    "in_channels": 48,
    "block_out_channels": [32, 32, 64],
    "downsample_factors": [[2, 4], 4, 4],
    "attn_blocks": [0, 1, 0],
    "dropout": 0.0,
}


def small_syncnet(audio: dict[str, Any] = AUDIO, visual: dict[str, Any] = VISUAL, **settings: Any) -> StableSyncNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StableSyncNet(audio, visual, resolution=64, **settings).eval()


@pytest.fixture(scope="module")
def syncnet() -> StableSyncNet:
    """Two blocks with attention among eight, random weights; do not change it."""
    return small_syncnet()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    """Lower halves of 16 frames (3, 48, 32, 64) and mel (3, 1, 80, 52)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand((3, 48, 32, 64), generator=generator) * 2 - 1, torch.randn((3, 1, 80, 52), generator=generator)


@torch.inference_mode()
def test_embeddings_are_unit_vectors_of_one_width(syncnet: StableSyncNet, inputs: tuple[Tensor, Tensor]) -> None:
    vision, audio = syncnet(*inputs)
    assert vision.shape == audio.shape
    assert vision.shape[0] == 3
    for embeds in (vision, audio):
        torch.testing.assert_close(embeds.norm(dim=1), torch.ones(3))
        assert embeds.min() >= 0  # so the cosine is within [0, 1]


@torch.inference_mode()
def test_clips_of_a_batch_do_not_meet(syncnet: StableSyncNet, inputs: tuple[Tensor, Tensor]) -> None:
    frames, mel = inputs
    together = syncnet(frames, mel)
    for index in range(len(frames)):
        alone = syncnet(frames[index : index + 1], mel[index : index + 1])
        for embeds, one in zip(together, alone):
            torch.testing.assert_close(one[0], embeds[index], atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_vision_and_audio_are_embedded_apart(syncnet: StableSyncNet, inputs: tuple[Tensor, Tensor]) -> None:
    frames, mel = inputs
    vision, audio = syncnet(frames, mel)
    other_vision, other_audio = syncnet(frames.flip(-1), mel)
    assert torch.equal(other_audio, audio)
    assert not torch.allclose(other_vision, vision, atol=1e-3)


def test_every_weight_is_reached_by_the_gradient(inputs: tuple[Tensor, Tensor]) -> None:
    syncnet = small_syncnet()
    vision, audio = syncnet(*inputs)
    (vision * audio).sum().backward()
    assert [name for name, parameter in syncnet.named_parameters() if parameter.grad is None] == []


def test_checkpointing_keeps_the_gradient_and_less_memory(inputs: tuple[Tensor, Tensor]) -> None:
    gradients, kept = [], []
    for checkpointing in (False, True):
        syncnet, frames = small_syncnet(), inputs[0].clone().requires_grad_()
        if checkpointing:
            syncnet.enable_gradient_checkpointing()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda value: sizes.append(value.numel()) or value, lambda v: v):  # noqa: B023
            vision, audio = syncnet(frames, inputs[1])
        (vision * audio).sum().backward()
        gradients.append(frames.grad)
        kept.append(sum(sizes))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < 0.5 * kept[0]


def test_saved_syncnet_loads_again(inputs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    syncnet = small_syncnet(latent_space=False, lower_half=True)
    syncnet.save_pretrained(tmp_path)
    loaded = StableSyncNet.from_pretrained(tmp_path)
    assert loaded.config["resolution"] == 64
    assert loaded.config["visual_encoder"] == VISUAL
    with torch.inference_mode():
        for embeds, again in zip(syncnet(*inputs), loaded(*inputs)):
            assert torch.equal(again, embeds)


@pytest.mark.parametrize("change", [{"extra": 1}, {"dropout": None}])
def test_misspelt_settings_are_named(change: dict[str, Any]) -> None:
    audio = {key: value for key, value in {**AUDIO, **change}.items() if value is not None}
    with pytest.raises(UserError, match=f"audio_encoder .*'{next(iter(change))}'"):
        small_syncnet(audio=audio)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(UserError, match="one length"):
        small_syncnet(visual={**VISUAL, "attn_blocks": [0, 1]})


def test_embeddings_of_different_width_are_refused(syncnet: StableSyncNet, inputs: tuple[Tensor, Tensor]) -> None:
    frames, mel = inputs
    with pytest.raises(UserError, match=r"frames .*64.* check resolution"):
        syncnet(torch.cat([frames, frames], dim=-1), mel)
