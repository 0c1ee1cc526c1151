"""Clips: tracks are cut without losing a frame, and a clip's sound is moved by its offset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.candidate import Candidate, FaceFrame, FaceLook
from data_prep.clips import ClipSettings, TrackCutter, frames_with_sound, read_clip, write_clip
from data_prep.resample import SourceSound
from latentsync.data.sample import to_members
from latentsync.errors import UserError
from latentsync.face import Face
from latentsync.face.head_box import head_box, surroundings
from latentsync.media import ClipReader, decode_audio, encode_wav

SETTINGS = ClipSettings(min_seconds=0.4, max_seconds=0.8)  # 10 to 20 frames
FACE = Face(np.array([[10.0, 10], [20, 10], [15, 18]]), (0, 0, 30, 40))


def frame(index: int) -> FaceFrame:
    crop = np.full((32, 32, 3), 20 + 2 * index, np.uint8)
    look = FaceLook((64, 64), None, (0, 0, 0), (100, 100, 0, 1))
    return FaceFrame(index, index, index / 25, FACE, True, look, crop, 1.0, 0.0)


def cut(length: int) -> list[list[int]]:
    cutter = TrackCutter(0, 0, SETTINGS)
    pieces: list[Candidate] = []
    for index in range(length):
        pieces += cutter.add(frame(index))
        assert len(cutter._frames) < 30, "never more than max + min in memory"
    return [[one.index for one in piece.frames] for piece in pieces + cutter.end()]


def test_every_track_is_cut_into_clips_of_the_right_length_without_losing_a_frame() -> None:
    for length in range(1, 95):
        pieces = cut(length)
        assert [index for piece in pieces for index in piece] == (list(range(length)) if length >= 10 else [])
        assert all(10 <= len(piece) <= 20 for piece in pieces)


def sound_of_clicks(folder: Path, num_frames: int) -> SourceSound:
    """A click in the middle of every frame, of height frame / 100."""
    wave = np.zeros(num_frames * 640, np.float32)
    wave[320::640] = np.arange(num_frames) / 100
    (folder / "clicks.wav").write_bytes(encode_wav(wave, 16000))
    return SourceSound(folder / "clicks.wav", folder / "sound.raw", lambda share: None)


@pytest.mark.parametrize("offset", [-3, 0, 4])
def test_sound_is_moved_by_the_offset_and_frames_without_any_are_cut_off(tmp_path: Path, offset: int) -> None:
    sound = sound_of_clicks(tmp_path, 15)
    candidate = Candidate(2, 5, [frame(index) for index in range(15)])
    row = {"source": "a/talk.mp4", "offset_frames": float(offset), "offset_after": 0.0, "offset_confidence": 0.5}
    measured = write_clip(tmp_path, "key", candidate, sound, row, SETTINGS)
    first, stop = frames_with_sound(candidate, sound, offset)
    assert stop - first == measured["clips_frames"] == 15 - abs(offset)
    sample = read_clip(tmp_path, "key", measured["metadata"])
    to_members(sample)  # within the contract of a shard
    wave, _ = decode_audio(sample.audio)
    heard = np.round(wave.reshape(-1, 640)[:, 320] * 100).astype(int)
    shown = (ClipReader(sample.video).read(range(stop - first)).mean(axis=(1, 2, 3)) - 20) / 2
    assert np.abs(shown - np.arange(first, stop)).max() < 1
    # Sound early by `offset` frames belongs to the frame that comes so much later.
    assert heard.tolist() == [index - offset for index in range(first, stop)]
    assert sample.metadata["offset"] == 0
    assert sample.metadata["source_offset"] == offset
    assert sample.metadata["start"] == first / 25


def test_surroundings_are_kept_beside_the_face_and_their_place_in_the_source_is_known(tmp_path: Path) -> None:
    sound = sound_of_clicks(tmp_path, 12)
    frames = [replace(frame(n), context=np.full((64, 64, 3), 100 + 5 * n, np.uint8)) for n in range(12)]
    # A head that wanders to the right, out of a picture of 200 × 100.
    look = replace(frames[0].look, picture=(200, 100))
    places = [Face(FACE.landmarks3 * 2 + np.array([60 + 5 * n, 20]), FACE.box) for n in range(12)]
    frames = [replace(one, look=look, face=face) for one, face in zip(frames, places)]
    row = {"source": "talk.mp4", "offset_frames": 2.0, "offset_after": 0.0, "offset_confidence": 0.5}
    measured = write_clip(tmp_path, "key", Candidate(0, 0, frames), sound, row, SETTINGS)
    sample = read_clip(tmp_path, "key", measured["metadata"])
    shown = ClipReader(sample.context).read(range(10)).mean(axis=(1, 2, 3))
    assert np.rint((shown - 100) / 5).tolist() == list(range(2, 12)), "cut where the clip is cut"
    assert measured["clips_bytes"] == len(sample.video) + len(sample.audio) + len(sample.context)
    first, last = (surroundings(head_box(f.face)) for f in (frames[2], frames[-1]))
    left, top, right, bottom = sample.metadata["window"]
    assert (left, right) == (int(np.floor(first[0])), min(200, int(np.ceil(last[0] + last[2]))))
    assert (top, bottom) == (max(0, int(np.floor(first[1]))), min(100, int(np.ceil(first[1] + first[2]))))


def test_sound_beyond_either_end_is_silence(tmp_path: Path) -> None:
    sound = sound_of_clicks(tmp_path, 3)
    assert sound.num_frames == 3
    assert np.round(sound.between(-2, 5)[320::640] * 100).tolist() == [0, 0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    "given", [{"min_seconds": 5, "max_seconds": 9}, {"crf": 60}, {"gop": 0}, {"context": 100}, {"min_seconds": 0}]
)
def test_settings_that_cannot_be_cut_by_are_refused(given: dict) -> None:
    with pytest.raises(UserError, match=r"measure\.clips"):
        ClipSettings(**given)
