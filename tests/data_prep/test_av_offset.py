"""Offsets: a shift of the sound is found, with its sign, and is gone after the correction."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_heads import draw_head

from data_prep.av_offset import MAX_SHIFT, best_shift, measure_offset
from data_prep.candidate import Candidate, FaceFrame, FaceLook
from data_prep.resample import SourceSound
from data_prep.stable_syncnet_scorer import StableSyncNetScorer
from latentsync.errors import UserError
from latentsync.face import Face
from latentsync.media import encode_wav
from latentsync.synthetic.clip import draw_clip
from tests.conftest import REPOSITORY

LOOK = FaceLook((128, 128), None, (0, 0, 0), None)


@pytest.fixture(scope="module")
def scorer() -> Iterator[StableSyncNetScorer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small pictures: more threads than free cores make it ten times slower
    yield StableSyncNetScorer(REPOSITORY / "checkpoints" / "demo" / "syncnet")
    torch.set_num_threads(threads)


@pytest.mark.parametrize("shift", [-15, -4, 0, 9])
def test_best_shift_of_a_matrix_with_one_bright_diagonal(shift: int) -> None:
    starts = np.arange(0, 60, 3)
    cosines = np.full((len(starts), 60), 0.2)
    for row, start in enumerate(starts):
        if 0 <= start + shift < 60:
            cosines[row, start + shift] = 0.9
    score = best_shift(cosines, starts)
    assert score.offset == -shift, "sound that comes later is early by the negative"
    assert score.confidence == pytest.approx(0.7)
    assert MAX_SHIFT == 15


@pytest.mark.parametrize("delay", [-12, 0, 5, 12])
def test_shift_of_a_synthetic_heads_sound_is_found_to_one_frame_and_corrected(
    scorer: StableSyncNetScorer, tmp_path: Path, delay: int
) -> None:
    clip = draw_clip(identity_seed=100_050, seconds=3.0, resolution=128, seed=1)
    (tmp_path / "late.wav").write_bytes(encode_wav(np.roll(clip.wave, delay * 640), 16000))
    sound = SourceSound(tmp_path / "late.wav", tmp_path / "sound.raw", lambda share: None)
    face = Face(clip.landmarks3[0], (0, 0, 128, 128))
    frames = [FaceFrame(i, i, i / 25, face, True, LOOK, crop, 1.0, 0.0) for i, crop in enumerate(clip.frames)]
    row = measure_offset(Candidate(0, 0, frames), sound, scorer)
    assert abs(row["offset_frames"] + delay) <= 1, "late sound is early by the negative"
    assert row["offset_confidence"] > 0.2
    assert abs(row["offset_after"]) <= 1


def test_speech_of_somebody_else_gets_less_confidence(scorer: StableSyncNetScorer) -> None:
    own = draw_clip(identity_seed=100_050, seconds=3.0, resolution=128, seed=1)
    other = draw_clip(identity_seed=100_051, seconds=3.0, resolution=128, seed=2)
    assert scorer.score(own.frames, own.wave).confidence > scorer.score(own.frames, other.wave).confidence + 0.05


def test_too_few_frames_and_missing_weights_are_refused(scorer: StableSyncNetScorer, tmp_path: Path) -> None:
    head = draw_head(100_003, seconds=1.0)
    with pytest.raises(UserError, match="32 are needed"):
        scorer.score(head.frames, head.wave)
    with pytest.raises(UserError, match="fetch stable-syncnet"):
        StableSyncNetScorer(tmp_path / "none")
