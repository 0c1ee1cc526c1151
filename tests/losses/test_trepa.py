"""The TREPA loss: nothing for the true clip, more for one whose frames are out of order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loss_inputs import pixels
from torch import Tensor

from latentsync.errors import UserError
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.video_encoder import VideoEncoder


@pytest.fixture
def frames() -> Tensor:
    """(2, 16, 3, 32, 32), inside [-1, 1]."""
    return torch.rand((2, 16, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


@torch.inference_mode()
def test_it_is_the_mean_square_of_unit_features(video_encoder: VideoEncoder, frames: Tensor) -> None:
    loss, other = TrepaLoss(video_encoder), frames.flip(1)
    one, two = (video_encoder(clip / 2 + 0.5) for clip in (frames, other))
    cosine = torch.nn.functional.cosine_similarity(one, two)
    # |u − v|² = 2 − 2 cos for unit vectors, and the mean is over D values.
    torch.testing.assert_close(
        loss(pixels(other, frames)), (2 - 2 * cosine).mean() / one.shape[1], atol=1e-6, rtol=1e-3
    )


@torch.inference_mode()
def test_the_true_clip_costs_nothing_and_a_shuffled_one_more(video_encoder: VideoEncoder, frames: Tensor) -> None:
    loss = TrepaLoss(video_encoder)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert loss(pixels(frames, frames)) == 0
    assert loss(pixels(frames[:, order], frames)) > 1e-5


@torch.inference_mode()
def test_it_is_the_same_both_ways(video_encoder: VideoEncoder, frames: Tensor) -> None:
    loss = TrepaLoss(video_encoder)
    torch.testing.assert_close(loss(pixels(frames.flip(1), frames)), loss(pixels(frames, frames.flip(1))))


@pytest.mark.parametrize("side", [32, 48])
def test_gradient_reaches_every_decoded_frame_alone(
    side: int, video_encoder: VideoEncoder, assert_frozen: Callable[..., None]
) -> None:
    loss, generator = TrepaLoss(video_encoder), torch.Generator().manual_seed(0)
    frames, decoded = (torch.rand((2, 2, 16, 3, side, side), generator=generator) - 0.5).requires_grad_().unbind()
    decoded.retain_grad()
    frames.retain_grad()
    loss(pixels(decoded, frames)).backward()
    assert decoded.grad is not None
    assert (decoded.grad.abs().amax(dim=(2, 3, 4)) > 0).all()
    assert frames.grad is None
    assert_frozen(loss)


def test_under_autocast_features_are_compared_in_float32(video_encoder: VideoEncoder, frames: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert TrepaLoss(video_encoder)(pixels(frames.flip(1), frames)).dtype == torch.float32


def test_saved_encoder_gives_the_same_loss(video_encoder: VideoEncoder, frames: Tensor, tmp_path: Path) -> None:
    expected = TrepaLoss(video_encoder)(pixels(frames.flip(1), frames))
    video_encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(TrepaLoss.from_pretrained(tmp_path)(pixels(frames.flip(1), frames)), expected)


def test_another_number_of_frames_is_refused(video_encoder: VideoEncoder, frames: Tensor) -> None:
    with pytest.raises(UserError, match="looks at 16 frames, the clips have 8"):
        TrepaLoss(video_encoder)(pixels(frames[:, :8], frames[:, :8]))


def test_missing_folder_names_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*fetch videomae-v2-giant.*objective\.trepa=0"):
        TrepaLoss.from_pretrained(tmp_path / "nowhere")


@torch.inference_mode()
def test_embedded_encoder_tells_motion_out_of_order(embedded: Callable[[str], Path], heads: Any) -> None:
    loss = TrepaLoss.from_pretrained(embedded("video_encoder"))
    frames = heads.frames()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    true, faint, shuffled = (
        loss(pixels(clip, frames)).item() for clip in (frames, frames + 0.01 * noise, frames[:, order])
    )
    assert true == 0
    assert shuffled > 2 * faint > 0, (faint, shuffled)


@torch.inference_mode()
def test_embedded_encoder_gives_a_loss_of_a_size_to_learn_from(embedded: Callable[[str], Path], heads: Any) -> None:
    # Features that hardly depend on the clip make every loss vanish, however right its order.
    loss = TrepaLoss.from_pretrained(embedded("video_encoder"))
    frames = heads.frames()
    assert loss(pixels(frames.roll(1, dims=0), frames)) > 1e-3  # another person
    assert loss(pixels(frames[:, :1].expand_as(frames), frames)) > 1e-6  # a still picture


def test_checkpointing_gives_the_same_gradient(video_encoder: VideoEncoder, frames: Tensor) -> None:
    gradients = []
    for checkpointing in (False, True):
        loss, decoded = TrepaLoss(video_encoder), (0.9 * frames).requires_grad_()
        if checkpointing:
            loss.video_encoder.gradient_checkpointing_enable()
        loss(pixels(decoded, frames.flip(1))).backward()
        gradients.append(decoded.grad)
    assert gradients[0] is not None
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
