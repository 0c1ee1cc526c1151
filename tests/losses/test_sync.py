"""The sync loss: −log of the cosine, for the lips that SyncNet looks at, least for the sound that belongs to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_inputs import inputs
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.losses.loss import LossInputs
from latentsync.losses.sync import SyncLoss
from latentsync.models.syncnet import StableSyncNet


@pytest.fixture
def frames() -> Tensor:
    """(2, 16, 3, 64, 64) in [-1, 1], the side that the small SyncNet takes."""
    return torch.rand((2, 16, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def mel() -> Tensor:
    """(2, 1, 80, 52) in [-4, 4]."""
    return torch.rand((2, 1, 80, 52), generator=torch.Generator().manual_seed(1)) * 8 - 4


def see(frames: Tensor, mel: Tensor) -> LossInputs:
    return inputs(decoded=frames, frames=frames, mel=mel)


def test_frames_of_the_right_size_are_only_folded_and_cut(frames: Tensor, syncnet: StableSyncNet) -> None:
    folded = syncnet.fold(frames)
    assert folded.shape == (2, 48, 32, 64)
    for frame in (0, 7, 15):
        for channel in range(3):
            assert torch.equal(folded[:, 3 * frame + channel], frames[:, frame, channel, 32:])


@pytest.mark.parametrize("side", [32, 128])
def test_other_sizes_are_resized_before_the_cut(side: int, syncnet: StableSyncNet) -> None:
    ramp = torch.linspace(-1, 1, side)[:, None].expand(1, 16, 3, side, side)  # bright at the bottom
    folded = syncnet.fold(ramp)
    assert folded.shape == (1, 48, 32, 64)
    expected = F.interpolate(ramp[0], size=(64, 64), mode="bilinear", antialias=True)[0, 0, 32:, 5]
    torch.testing.assert_close(folded[0, 3, :-3, 5], expected[:-3], atol=0.02, rtol=0)


def test_latents_are_not_resized(latent_syncnet: StableSyncNet) -> None:
    latents = torch.randn((1, 16, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(latent_syncnet.fold(latents), latents.flatten(1, 2)[..., 8:, :])


@torch.inference_mode()
def test_it_is_minus_the_log_of_the_cosine(syncnet: StableSyncNet, frames: Tensor, mel: Tensor) -> None:
    loss = SyncLoss(syncnet)
    vision, audio = syncnet(syncnet.fold(frames), mel)
    cosine = (vision * audio).sum(dim=1)
    assert cosine.min() > 0
    torch.testing.assert_close(loss(see(frames, mel)), -cosine.log().mean())


def always_answer(syncnet: StableSyncNet, vision: float, audio: float) -> None:
    """Make embeddings all but constant: 1 makes the first half of the channels 1 and the others 0, −1 the reverse."""
    for network, value in ((syncnet.visual_encoder, vision), (syncnet.audio_encoder, audio)):
        half = len(network.norm_out.bias) // 2
        nn.init.constant_(network.norm_out.weight, 1e-6)
        nn.init.constant_(network.norm_out.bias[:half], value)
        nn.init.constant_(network.norm_out.bias[half:], 1.0 - 2.0 * (value > 0))


@pytest.mark.parametrize(("vision", "audio", "expected"), [(1.0, 1.0, 0.0), (1.0, -1.0, 100.0), (-1.0, -1.0, 0.0)])
def test_loss_and_gradient_are_finite_at_both_ends(
    vision: float, audio: float, expected: float, syncnet: StableSyncNet, frames: Tensor, mel: Tensor
) -> None:
    # Embeddings with no channel in common have cosine 0, whose logarithm binary cross-entropy cuts at −100.
    always_answer(syncnet, vision, audio)
    loss = SyncLoss(syncnet)
    frames.requires_grad_()
    value = loss(see(frames, mel))
    assert value.item() == pytest.approx(expected, abs=1e-4)
    value.backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()


def test_gradient_reaches_the_lower_half_of_every_frame(
    syncnet: StableSyncNet, frames: Tensor, mel: Tensor, assert_frozen: Callable[..., None]
) -> None:
    loss = SyncLoss(syncnet)
    frames.requires_grad_()
    loss(see(frames, mel)).backward()
    assert frames.grad is not None
    assert frames.grad[..., :32, :].abs().max() == 0
    assert (frames.grad[..., 32:, :].abs().amax(dim=(2, 3, 4)) > 0).all()
    assert_frozen(loss)


def test_gradient_reaches_latents(latent_syncnet: StableSyncNet, mel: Tensor) -> None:
    loss = SyncLoss(latent_syncnet)
    assert loss.needs == "latents"
    latents = torch.randn((2, 4, 16, 16, 16), generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss(inputs(clean_pred=latents, mel=mel)).backward()
    assert latents.grad is not None
    assert (latents.grad.abs().amax(dim=(1, 3, 4)) > 0).all()


def test_under_autocast_the_logarithm_is_float32(syncnet: StableSyncNet, frames: Tensor, mel: Tensor) -> None:
    loss = SyncLoss(syncnet)
    exact = loss(see(frames, mel))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(see(frames, mel))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, atol=0.05, rtol=0)


def test_another_number_of_frames_is_refused(syncnet: StableSyncNet, frames: Tensor) -> None:
    with pytest.raises(UserError, match="looks at 16 frames, the clips have 8"):
        syncnet.fold(frames[:, :8])
    with pytest.raises(UserError, match="SyncNet takes 16 frames, but num_frames=25"):
        SyncLoss(syncnet, num_frames=25)
    assert SyncLoss(syncnet, num_frames=16).needs == "clip"


def test_saved_syncnet_gives_the_same_loss(syncnet: StableSyncNet, frames: Tensor, mel: Tensor, tmp_path: Path) -> None:
    syncnet.save_pretrained(tmp_path)
    assert torch.equal(SyncLoss.from_pretrained(tmp_path)(see(frames, mel)), SyncLoss(syncnet)(see(frames, mel)))


def test_weights_that_lack_a_key_are_refused(syncnet: StableSyncNet, tmp_path: Path) -> None:
    syncnet.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["visual_encoder.conv_in.bias"]
    save_file(state, file)
    with pytest.raises(UserError, match=r"1 missing \(visual_encoder\.conv_in\.bias\)"):
        SyncLoss.from_pretrained(tmp_path)


def test_missing_folder_names_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*syncnet_demo.*fetch stable-syncnet.*objective\.sync=0"):
        SyncLoss.from_pretrained(tmp_path / "nowhere")


@torch.inference_mode()
def test_embedded_syncnet_prefers_the_sound_that_belongs_to_the_lips(
    embedded: Callable[[str], Path], heads: Any
) -> None:
    loss = SyncLoss.from_pretrained(embedded("syncnet"))
    frames = heads.frames(30)
    true = loss(see(frames, heads.mel(30))).item()
    shifted = {shift: loss(see(frames, heads.mel(30 + shift))).item() for shift in (-12, -8, 8, 12)}
    others = loss(see(frames, heads.mel(30).roll(1, dims=0))).item()
    assert true < min(*shifted.values(), others), (true, shifted, others)


def test_without_a_folder_the_untrained_network_is_the_published_one() -> None:
    with torch.device("meta"):
        syncnet = SyncLoss.untrained("nowhere", num_frames=16).syncnet
        vision, audio = syncnet(torch.zeros(1, 48, 128, 256), torch.zeros(1, 1, 80, 52))
    assert vision.shape == audio.shape == (1, 2048)
    assert sum(weight.numel() for weight in syncnet.parameters()) == 401_306_080
