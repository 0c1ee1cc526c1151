"""Parts of the U-Net: group norm over a clip, and the temporal layers."""

import math

import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.temporal import MotionModule, MotionSettings
from latentsync.models.unet_blocks import ClipGroupNorm

SETTINGS = MotionSettings(num_heads=2, norm_num_groups=4, zero_initialize=False)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_frames", [1, 3])
def test_clip_group_norm_is_group_norm_of_the_clip_as_a_volume(num_frames: int) -> None:
    norm = ClipGroupNorm(4, 8)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    clips = noise(2, 8, num_frames, 5, 6) * 3 + 1  # (B, C, F, h, w)
    expected = torch.nn.functional.group_norm(clips, 4, norm.weight, norm.bias, norm.eps)
    ours = norm(clips.transpose(1, 2).flatten(0, 1), num_frames)
    torch.testing.assert_close(ours, expected.transpose(1, 2).flatten(0, 1))


def test_positions_are_sines_and_cosines_of_the_frame_number() -> None:
    table = MotionModule(8, SETTINGS).state_dict()[
        "temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    ]
    assert table.shape == (1, 24, 8)
    for frame in (0, 5, 23):
        for pair in range(4):
            angle = frame / 10000 ** (2 * pair / 8)
            expected = torch.tensor([math.sin(angle), math.cos(angle)])
            torch.testing.assert_close(table[0, frame, 2 * pair : 2 * pair + 2], expected)


@torch.inference_mode()
def test_temporal_layer_looks_along_time_and_not_at_other_clips() -> None:
    layer = MotionModule(8, SETTINGS).eval()
    frames = noise(6, 8, 4, 4)  # two clips of three frames
    changed = frames.clone()
    changed[1] += noise(8, 4, 4)
    difference = (layer(changed, 3) - layer(frames, 3)).abs().amax(dim=(1, 2, 3))
    assert (difference[:3] > 1e-4).all()
    assert not difference[3:].any()


@torch.inference_mode()
def test_without_positions_any_number_of_frames_goes_and_order_does_not_matter() -> None:
    layer = MotionModule(8, MotionSettings(num_heads=2, norm_num_groups=4, max_frames=None, zero_initialize=False))
    assert not any(key.endswith(".pe") for key in layer.state_dict())
    frames = noise(30, 8, 2, 2)
    torch.testing.assert_close(layer(frames.flip(0), 30).flip(0), layer(frames, 30), atol=1e-5, rtol=1e-4)


def test_more_frames_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"num_frames=25.*hold positions for 24"):
        MotionModule(8, SETTINGS)(noise(25, 8, 2, 2), 25)
