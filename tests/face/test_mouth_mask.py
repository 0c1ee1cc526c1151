"""The mouth mask is the published one, pixel for pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.face.mouth_mask import mouth_mask, mouth_share


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


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_pasted_mouths_end_softly_within_what_was_generated(resolution: int) -> None:
    share, keep = mouth_share(resolution), mouth_mask(resolution).numpy()[0]
    assert share.shape == (resolution, resolution)
    assert share.dtype == np.float32
    assert share.min() == 0
    assert share[int(0.7 * resolution), resolution // 2] == pytest.approx(1)  # the lips
    assert (share[keep > 0.5] < 0.02).all()
    steps = max(np.abs(np.diff(share, axis=axis)).max() for axis in (0, 1))
    assert steps < 0.5  # a hard border is a step of 1
