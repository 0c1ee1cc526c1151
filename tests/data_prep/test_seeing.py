"""What is remembered of a video is, to the bit, what was found in it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.seeing import Looking, Remembering, Seeing, whole
from data_prep.shots import ShotFrame, ShotSplitter
from latentsync.face.landmarks import Face, GivenFaces, face_from_mesh
from latentsync.media.frames import SteadyFrame


def frames() -> Iterator[SteadyFrame]:
    """40 frames of one picture, 40 of another, and a slow change into a third."""
    pictures = np.random.default_rng(3).integers(0, 255, (3, 6, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    pictures = pictures.astype(np.uint8)
    blends = [(1 - share) * pictures[1] + share * pictures[2] for share in np.linspace(0, 1, 20)]
    shown = [pictures[0]] * 40 + [pictures[1]] * 40 + [blend.astype(np.uint8) for blend in blends] + [pictures[2]] * 40
    for index, image in enumerate(shown):
        yield SteadyFrame(index, image, index, index / 25)


def meshes(count: int) -> list[list[Face]]:
    """None to two faces a frame, of two sizes of mesh."""
    draw = np.random.default_rng(4)
    return [
        [face_from_mesh(draw.uniform(-20, 4000, (draw.choice([468, 478]), 2))) for _ in range(draw.integers(0, 3))]
        for _ in range(count)
    ]


def seen(seeing: Seeing) -> list[tuple[ShotFrame, list[Face]]]:
    """What passes, with its faces, frame by frame."""
    found = []
    for frame in frames():
        for shot_frame in list(seeing.push(frame)):
            found.append((shot_frame, seeing.find(shot_frame.frame.image, shot_frame.frame.index / 25)))
    for shot_frame in seeing.flush():
        found.append((shot_frame, seeing.find(shot_frame.frame.image, shot_frame.frame.index / 25)))
    seeing.close()
    return found


def test_shots_and_faces_are_remembered_as_they_were_found(tmp_path: Path) -> None:
    notes = tmp_path / "seen.gz"
    given = meshes(140)
    looked = seen(Looking(ShotSplitter(), GivenFaces(given), notes))
    assert whole(notes)
    remembered = seen(Remembering(notes))
    assert [frame.begin for frame, _ in looked if frame.begin] == ["start", "cut", "dissolve"]
    assert len(looked) < 140, "frames of the dissolve are left out"
    assert [(one.frame.index, one.shot, one.begin) for one, _ in looked] == [
        (one.frame.index, one.shot, one.begin) for one, _ in remembered
    ]
    for (_, before), (_, after), true in zip(looked, remembered, given):
        assert len(before) == len(after) == len(true)
        for one, other, exact in zip(before, after, true):
            assert np.array_equal(one.mesh, other.mesh)
            assert np.array_equal(one.landmarks3, other.landmarks3)
            assert one.box == other.box
            assert np.abs(one.mesh - exact.mesh).max() <= 1 / 512, "within half a step"


def test_notes_that_are_cut_off_or_damaged_are_not_used(tmp_path: Path) -> None:
    notes = tmp_path / "seen.gz"
    seen(Looking(ShotSplitter(), GivenFaces(meshes(140)), notes))
    data = bytearray(notes.read_bytes())
    assert not whole(tmp_path / "missing.gz")
    notes.write_bytes(data[: len(data) // 2])
    assert not whole(notes)
    data[len(data) // 2] ^= 255
    notes.write_bytes(data)
    assert not whole(notes)


def test_without_notes_faces_come_as_they_are() -> None:
    given = meshes(140)
    found = seen(Looking(ShotSplitter(), GivenFaces(given)))
    assert all(one is other for one, other in zip(found[5][1], given[5], strict=True))
