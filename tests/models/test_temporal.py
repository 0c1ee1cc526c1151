"""The temporal layers: nothing at first, each pixel by itself, positions of the published form."""

import numpy as np
import pytest
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.models.temporal import MotionModule, MotionSettings, TemporalSelfAttention

CHANNELS = 16
SETTINGS = MotionSettings(num_heads=4, norm_num_groups=8, max_frames=6, zero_initialize=False)


def clip(num_frames: int = 4, seed: int = 0) -> Tensor:
    """Two clips as (B·F, C, h, w)."""
    return torch.randn((2 * num_frames, CHANNELS, 3, 2), generator=torch.Generator().manual_seed(seed))


def layer(**changes: object) -> MotionModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MotionModule(CHANNELS, MotionSettings(**{**vars(SETTINGS), **changes})).eval()  # type: ignore[arg-type]


def test_new_layer_changes_nothing() -> None:
    assert torch.equal(layer(zero_initialize=True)(clip(), 4), clip())
    assert not torch.equal(layer()(clip(), 4), clip())


def test_attention_stays_at_its_pixel_and_within_its_clip() -> None:
    # The norm at the entrance is over a frame; with it made constant, only attention can carry anything elsewhere.
    module = layer()
    module.temporal_transformer.norm = torch.nn.Identity()  # type: ignore[assignment]
    changed = clip()
    changed[0, :, 1, 1] += 1  # first clip, frame 0, one pixel
    difference = (module(changed, 4) - module(clip(), 4)).abs().amax(dim=1)  # (B·F, h, w)
    assert (difference[:4, 1, 1] > 0).all()
    difference[:4, 1, 1] = 0
    assert difference.max() == 0


def test_positions_are_the_published_sinusoids() -> None:
    table = TemporalSelfAttention(CHANNELS, SETTINGS).state_dict()["pos_encoder.pe"]
    position = np.arange(6)[:, None]
    rate = np.exp(np.arange(0, CHANNELS, 2) * (-np.log(10000.0) / CHANNELS))
    expected = np.stack([np.sin(position * rate), np.cos(position * rate)], axis=-1).reshape(1, 6, CHANNELS)
    assert np.abs(table.numpy() - expected).max() < 1e-6


@torch.inference_mode()
def test_without_positions_any_number_of_frames_goes_and_order_does_not_matter() -> None:
    module, frames = layer(max_frames=None), clip(num_frames=15)  # one clip of 30
    assert not any(key.endswith(".pe") for key in module.state_dict())
    torch.testing.assert_close(module(frames.flip(0), 30).flip(0), module(frames, 30), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attentions", [1, 2, 3])
def test_number_of_attentions_and_blocks_is_the_settings(attentions: int) -> None:
    transformer = layer(num_attentions=attentions, num_blocks=2).temporal_transformer
    assert [len(block.attention_blocks) for block in transformer.transformer_blocks] == [attentions] * 2  # type: ignore[arg-type]


def test_more_frames_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"num_frames=7.*temporal_position_encoding_max_len"):
        layer()(clip(num_frames=7), 7)
