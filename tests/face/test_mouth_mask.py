"""The mouth mask is the published one, pixel for pixel."""

import json
from pathlib import Path

import pytest
import torch

from latentsync.face.mouth_mask import mouth_mask


def test_every_pixel_equals_the_golden(goldens: Path) -> None:
    rows = json.loads((goldens / "manifest.json").read_text())["mouth_mask_256"]["rows"]
    expected = torch.ones(1, 256, 256)
    for row, spans in enumerate(rows):
        for first, last in spans:
            expected[0, row, first : last + 1] = 0
    assert torch.equal(mouth_mask(256), expected)


@pytest.mark.parametrize("resolution", [64, 128, 384, 512])
def test_other_sizes_cover_the_same_share(resolution: int) -> None:
    mask = mouth_mask(resolution)
    assert mask.shape == (1, resolution, resolution)
    assert mask.dtype == torch.float32
    assert 0 <= mask.min() < mask.max() <= 1
    assert (1 - mask).mean() == pytest.approx(0.407, abs=0.01)


def test_a_caller_cannot_spoil_the_mask() -> None:
    mouth_mask(256).zero_()
    assert mouth_mask(256).max() == 1


def test_a_size_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        mouth_mask(4)
