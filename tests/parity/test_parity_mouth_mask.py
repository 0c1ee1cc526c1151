"""The mouth mask generates exactly the published columns of every row."""

import torch
from golden_folder import Golden

from latentsync.face.mouth_mask import mouth_mask

KIND = "mouth_mask"


def test_mask_generates_the_published_columns(golden: Golden) -> None:
    rows = golden.entry["rows"]
    expected = torch.ones(1, len(rows), len(rows))
    for row, spans in enumerate(rows):
        for first, last in spans:
            expected[0, row, first : last + 1] = 0
    # At 256 the mask is 0 or 1. Other sizes have pixels in between, which a list of columns may count either way.
    mask = mouth_mask(len(rows))
    readings = {"below one half": mask < 0.5, "all generated": mask == 0, "not all kept": mask < 1}
    wrong = {reading: int((generated != (expected == 0)).sum()) for reading, generated in readings.items()}
    assert (mask - expected).abs().mean() < 0.01
    assert 0 in wrong.values(), f"pixels that differ, by what counts as generated: {wrong}"
