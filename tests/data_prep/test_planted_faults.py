"""Planted faults get the right fate, and planted offsets are found to a frame."""

from pathlib import Path

import pytest
from planted_faults import judged, picture_cases, sound_cases
from raw_heads import HereRunner

pytestmark = pytest.mark.slow


def test_offsets_frame_rates_sounds_and_cuts_are_found(tmp_path: Path, thorough: bool) -> None:
    verdicts = judged(sound_cases(range(-12, 13) if thorough else (-12, -4, 3, 10)), tmp_path, HereRunner(), sound=True)
    assert [(verdict.case.name, verdict.fates, verdict.offsets) for verdict in verdicts if not verdict.right] == []


def test_faces_pictures_and_files_get_their_fate(tmp_path: Path) -> None:
    verdicts = judged(picture_cases(), tmp_path, HereRunner(), sound=False)
    assert [(verdict.case.name, verdict.fates) for verdict in verdicts if not verdict.right] == []
