"""Parts of the U-Net: the group norm over a clip. Whole networks are in test_unet.py, temporal layers apart."""

import pytest
import torch

from latentsync.models.unet_blocks import ClipGroupNorm


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
