"""The video encoder: one feature vector a clip, of frames of any size, and files that load again."""

from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VideoMAEForPreTraining

from latentsync.errors import UserError
from latentsync.models.video_encoder import (
    NORM_FILE,
    VideoEncoder,
    prepare_frames,
    pretrained_encoder,
    videomae_for_pretraining,
)

NUM_FRAMES, SIDE, WIDTH = 4, 16, 24


HIDDEN = torch.arange(8).remainder(2).bool().expand(3, 8)
"""Every second of the 2 tubes × 4 patches of three clips."""


def small_masked_autoencoder() -> VideoMAEForPreTraining:
    """Two layers on 4 frames of 16 × 16, random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return videomae_for_pretraining(
            image_size=SIDE,
            patch_size=8,
            num_frames=NUM_FRAMES,
            tubelet_size=2,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
        )


@pytest.fixture(scope="module")
def encoder() -> VideoEncoder:
    """What is left of the small masked autoencoder."""
    return pretrained_encoder(small_masked_autoencoder()).eval()


@pytest.fixture
def frames() -> Tensor:
    """Three clips (3, 4, 3, 16, 16) in [0, 1]."""
    return torch.rand((3, NUM_FRAMES, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_features_are_the_normed_mean_of_the_tokens(encoder: VideoEncoder, frames: Tensor) -> None:
    features = encoder(frames)
    assert features.shape == (3, WIDTH)
    tokens = encoder.videomae(frames).last_hidden_state.mean(dim=1)
    standardised = (tokens - tokens.mean(1, keepdim=True)) / tokens.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(features, standardised, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_clips_of_a_batch_do_not_meet(encoder: VideoEncoder, frames: Tensor) -> None:
    features = encoder(frames)
    for index in range(len(frames)):
        torch.testing.assert_close(encoder(frames[index : index + 1])[0], features[index], atol=1e-4, rtol=1e-3)


def test_frames_of_the_right_size_are_only_clamped(frames: Tensor) -> None:
    assert torch.equal(prepare_frames(frames, SIDE), frames)
    assert torch.equal(prepare_frames(2 * frames - 0.5, SIDE), (2 * frames - 0.5).clamp(0, 1))


@pytest.mark.parametrize("size", [(8, 8), (40, 40), (32, 20)])
def test_other_sizes_are_resized_within_the_range(size: tuple[int, int]) -> None:
    ramp = torch.linspace(0, 1, size[1]).expand(1, 2, 3, *size)
    prepared = prepare_frames(ramp, SIDE)
    assert prepared.shape == (1, 2, 3, SIDE, SIDE)
    assert prepared.min() >= 0
    assert prepared.max() <= 1
    centres = ((torch.arange(SIDE) + 0.5) * size[1] / SIDE - 0.5) / (size[1] - 1)  # where each column lies on the ramp
    inner = slice(3, SIDE - 3)
    # PyTorch's bicubic kernel (a = −0.75) is not exact on ramps.
    torch.testing.assert_close(prepared[0, 1, 2, 5, inner], centres[inner], atol=1e-2, rtol=0)


@pytest.mark.parametrize("side", [SIDE, 24])
def test_gradient_reaches_every_frame(side: int, encoder: VideoEncoder) -> None:
    frames = torch.rand((1, NUM_FRAMES, 3, side, side), generator=torch.Generator().manual_seed(1), requires_grad=True)
    encoder(frames)[:, : WIDTH // 2].sum().backward()
    assert frames.grad is not None
    assert (frames.grad.abs().amax(dim=(0, 2, 3, 4)) > 0).all()


def test_another_number_of_frames_is_refused(encoder: VideoEncoder, frames: Tensor) -> None:
    with pytest.raises(UserError, match="looks at 4 frames, the clips have 3"):
        encoder(frames[:, :3])


@torch.inference_mode()
def test_the_pre_training_target_is_the_standardised_patch_of_the_frames_given(frames: Tensor) -> None:
    # transformers takes its input for normalised by ImageNet's mean and deviation, and undoes that; standardised
    # patches do not change by it, so frames in [0, 1] can be given as they are.
    network = small_masked_autoencoder().eval()
    output = network(frames, bool_masked_pos=HIDDEN)
    patches = rearrange(frames, "b (t f) c (h p) (w q) -> b (t h w) (f p q) c", t=2, h=2, w=2)
    spread = patches.var(dim=2, keepdim=True).sqrt()
    target = ((patches - patches.mean(dim=2, keepdim=True)) / spread).flatten(2)[HIDDEN].view(3, 4, -1)
    torch.testing.assert_close(output.loss, (output.logits - target).square().mean(), atol=1e-4, rtol=1e-3)


def test_pre_training_and_its_encoder_share_their_weights() -> None:
    network = small_masked_autoencoder()
    shared = {id(parameter) for parameter in network.parameters()}
    assert all(id(parameter) in shared for parameter in pretrained_encoder(network).videomae.parameters())


@torch.inference_mode()
def test_saved_encoder_loads_again(encoder: VideoEncoder, frames: Tensor, tmp_path: Path) -> None:
    with torch.no_grad():
        encoder.final_norm.weight.fill_(0.5)  # so that a norm that is forgotten shows
    try:
        encoder.save_pretrained(tmp_path)
        expected = encoder(frames)
    finally:
        encoder.final_norm.weight.fill_(1)
    loaded = VideoEncoder.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(frames), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_fit_are_refused(fault: str, encoder: VideoEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    state, key = load_file(tmp_path / "model.safetensors"), "encoder.layer.1.output.dense.bias"
    if fault == "unexpected":
        state["other.bias"] = torch.zeros(3)
    elif fault == "missing":
        del state[key]
    else:
        state[key] = torch.zeros(3)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"1 {fault} \(.*{'other' if fault == 'unexpected' else key}"):
        VideoEncoder.from_pretrained(tmp_path)


def test_damaged_weights_are_refused(encoder: VideoEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:999])
    with pytest.raises(UserError, match="weights missing or damaged"):
        VideoEncoder.from_pretrained(tmp_path)


def test_a_frozen_encoder_recomputes_too(encoder: VideoEncoder, frames: Tensor, tmp_path: Path) -> None:
    # transformers alone recomputes layers in training mode only, so a frozen network would keep everything.
    encoder.save_pretrained(tmp_path)
    gradients, kept = [], []
    for checkpointing in (False, True):
        frozen, given = VideoEncoder.from_pretrained(tmp_path).requires_grad_(False), frames.clone().requires_grad_()
        if checkpointing:
            frozen.gradient_checkpointing_enable()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda value: sizes.append(value.numel()) or value, lambda v: v):  # noqa: B023
            features = frozen(given)
        assert not any(module.training for module in frozen.modules())
        features[:, : WIDTH // 2].sum().backward()
        gradients.append(given.grad)
        kept.append(sum(sizes))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < 0.7 * kept[0]


def test_folder_without_the_final_norm_names_the_remedy(encoder: VideoEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    (tmp_path / NORM_FILE).unlink()
    with pytest.raises(UserError, match=r"no video encoder in .*fetch videomae-v2-giant"):
        VideoEncoder.from_pretrained(tmp_path)
