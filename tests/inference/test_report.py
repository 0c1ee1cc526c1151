"""The report: one line for people, a fate for each frame."""

from pathlib import Path

from latentsync.inference.report import Fate, LipSyncReport


def test_the_line_tells_path_frames_seconds_and_seed() -> None:
    report = LipSyncReport(Path("out.mp4"), 50, 4, 7, (Fate.GENERATED,) * 50)
    assert str(report) == "out.mp4: 50 frames, 2.00 s, seed 7"


def test_frames_left_as_they_are_are_counted() -> None:
    report = LipSyncReport(Path("out.mp4"), 3, 1, 7, (Fate.NO_FACE, Fate.GENERATED, Fate.NO_FACE))
    assert report.count(Fate.NO_FACE) == 2
    assert "2 without a face left as they are" in str(report)
