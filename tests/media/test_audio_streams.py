"""Of several sound tracks the default one is meant, or the one that is asked for by number or language."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from latentsync.errors import UserError
from latentsync.media import VideoWriter, load_audio
from latentsync.media.audio_streams import check_track

Tracks = list[tuple[str, Disposition]]
NONE = Disposition(0)


def write_tracks(path: Path, tracks: Tracks) -> Path:
    """A second of sound in each track; track n is a tone of 300 · (n + 1) Hz."""
    with av.open(str(path), "w") as target:
        streams = []
        for tag, flags in tracks:
            stream = target.add_stream("aac", rate=16000, layout="mono")
            stream.metadata["language"] = tag
            stream.disposition = flags
            streams.append(stream)
        for number, stream in enumerate(streams):
            tone = 0.4 * np.sin(2 * np.pi * 300 * (number + 1) * np.arange(16000) / 16000)
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            target.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def heard(path: Path, track: str | int | None = None) -> int:
    """The number of the track by its tone."""
    spectrum = np.abs(np.fft.rfft(load_audio(path, track=track)[:16000]))
    return round(float(np.argmax(spectrum)) / 300) - 1


@pytest.mark.parametrize(
    ("tracks", "meant"),
    [
        ([("fra", NONE), ("eng", Disposition.default)], 1),
        ([("fra", NONE), ("eng", NONE)], 0),
        ([("eng", Disposition.descriptions | Disposition.visual_impaired), ("eng", NONE)], 1),
        ([("eng", Disposition.comment), ("eng", Disposition.hearing_impaired), ("eng", NONE)], 2),
        ([("eng", Disposition.comment)], 0),
    ],
)
def test_the_default_track_is_the_flagged_one_else_the_first_for_everybody(
    tmp_path: Path, tracks: Tracks, meant: int
) -> None:
    assert heard(write_tracks(tmp_path / "a.mkv", tracks)) == meant


def test_a_track_is_chosen_by_number_or_language(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [("fra", NONE), ("eng", Disposition.default), ("ger", NONE)])
    for track, meant in ((0, 0), ("2", 2), ("fra", 0), ("fr", 0), ("FR-ca", 0), ("en", 1), ("de", 2), ("deu", 2)):
        assert heard(path, track) == meant, track


def test_a_track_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [("fra", NONE), ("eng", Disposition.default)])
    for track in (2, "spa", "f"):
        with pytest.raises(UserError, match=rf"audio_track={track}: no such track; it has 0 \(fra\); 1 \(eng, default"):
            load_audio(path, track=track)


@pytest.mark.parametrize("track", [-1, "", True, 1.5, "-1"])
def test_what_can_be_no_track_is_refused(track: object) -> None:
    with pytest.raises(UserError, match="audio_track="):
        check_track(track)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_video_keeps_the_language_of_its_sound(tmp_path: Path, suffix: str) -> None:
    source = write_tracks(tmp_path / "a.mkv", [("fra", NONE), ("eng", Disposition.default)])
    with VideoWriter(tmp_path / f"v.{suffix}", 32, 32, 25, audio_from=source, audio_seconds=1.0) as writer:
        for _ in range(25):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    with av.open(str(tmp_path / f"v.{suffix}")) as written:
        assert written.streams.audio[0].metadata["language"] == "eng"
    assert heard(tmp_path / f"v.{suffix}") == 1
