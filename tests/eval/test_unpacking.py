"""Clips of shards become videos of heads: of their sources, of the wider crop, or, where there is no other, tight."""

import json
from pathlib import Path

import numpy as np
import pytest
from raw_heads import HereRunner, draw_head, measuring, write_head

from data_prep.prepare import prepare
from data_prep.synthesize import synthesize
from eval.unpacking import ALIGNED, CONTEXT, SOURCES, clips_of, pictures_of, unpack, upright_size
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.face.face_file import FacesFromFile
from latentsync.face.head_box import head_box, syncnet_crop
from latentsync.media.audio import load_audio
from latentsync.media.frames import read_frames, read_frames_at
from latentsync.media.probe import probe_video

CLIPS = {"min_seconds": 1.0, "max_seconds": 2.0, "context": 128}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_head(folder / "sub" / "talk.mp4", draw_head(100_003, seconds=3.2))
    return folder


@pytest.fixture(scope="module")
def shards(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Two clips of one source, with their surroundings."""
    output = tmp_path_factory.mktemp("prepared")
    limits = {"offset_frames": (None, None)}
    prepare(raw, output, HereRunner(), measuring(clips=CLIPS), limits)
    return ShardSet(output / "shards")


def images(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in read_frames(path)])


def test_shards_keep_a_wider_crop_beside_the_face(shards: ShardSet, tmp_path: Path) -> None:
    clips = clips_of(shards, None)
    assert len(clips) == 2
    assert pictures_of(clips, None) == CONTEXT
    unpack(shards, clips, CONTEXT, None, tmp_path)
    for clip in clips:
        shown = images(tmp_path / f"{clip.key}.mp4")
        assert shown.shape == (len(clip.frames), 128, 128, 3)
        assert probe_video(tmp_path / f"{clip.key}.mp4").has_audio
        # The square is 1.2 times the SyncNet crop: its middle is that of the crop, 0.4 half boxes below the head's.
        assert (tmp_path / f"{clip.key}.wav").is_file()


def test_sync_crops_of_sources_have_no_padding_and_those_of_tight_faces_do(
    raw: Path, shards: ShardSet, tmp_path: Path
) -> None:
    clips = clips_of(shards, 1)
    padding = {}
    for pictures, sources in ((SOURCES, raw), (ALIGNED, None)):
        folder = tmp_path / pictures
        unpack(shards, clips, pictures, sources, folder)
        frame = images(folder / f"{clips[0].key}.mp4")[10]
        if pictures == SOURCES:
            (face,) = FacesFromFile(folder / f"{clips[0].key}.json").find(frame, 0.0)
            box = head_box(face)
        else:  # brows and nose as the alignment's template has them
            height, width = frame.shape[:2]
            span = 41 / 75 * width
            box = np.array([width / 2, height / 5 + 0.526 * span, 1.223 * span])
        padding[pictures] = float((syncnet_crop(frame, box, 224) == 110).all(axis=-1).mean())
    assert padding[SOURCES] < 0.12 < 0.35 < padding[ALIGNED]


def test_clips_cut_from_their_sources_are_the_same_frames_with_their_sound_and_landmarks(
    raw: Path, shards: ShardSet, tmp_path: Path
) -> None:
    clips = clips_of(shards, None)
    assert pictures_of(clips, raw) == SOURCES
    unpack(shards, clips, SOURCES, raw, tmp_path)
    source = [frame.image for frame in read_frames_at(raw / "sub" / "talk.mp4", 25)]
    points = np.array(json.loads((raw / "sub" / "talk.json").read_text())["landmarks3"])
    for clip in clips:
        left, top, right, bottom = clip.metadata["window"]
        shown = images(tmp_path / f"{clip.key}.mp4")
        assert len(shown) == len(clip.frames)
        assert shown.shape[1] % 16 == shown.shape[2] % 16 == 0
        assert shown.shape[1] >= min(bottom - top, source[0].shape[0] // 16 * 16)
        assert shown.shape[2] >= min(right - left, source[0].shape[1] // 16 * 16)
        own = np.array(json.loads((tmp_path / f"{clip.key}.json").read_text())["truth"]["landmarks3"])
        x, y = np.rint(points[clip.frames.start, 0] - own[0, 0]).astype(int)
        np.testing.assert_allclose(own + np.array([x, y]), points[clip.frames.start : clip.frames.stop], atol=0.01)
        for number in (0, len(shown) - 1):
            cut = source[clip.frames[number]][y : y + shown.shape[1], x : x + shown.shape[2]]
            assert np.abs(cut.astype(int) - shown[number]).mean() < 2
        assert len(load_audio(tmp_path / f"{clip.key}.mp4")) == pytest.approx(640 * len(shown), abs=1024)


def test_sources_that_are_gone_or_are_others_are_named(raw: Path, shards: ShardSet, tmp_path: Path) -> None:
    clips = clips_of(shards, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no 'sub/talk\.mp4', which clip"):
        unpack(shards, clips, SOURCES, tmp_path / "empty", tmp_path / "out")
    write_head(tmp_path / "short" / "sub" / "talk.mp4", draw_head(100_003, seconds=1.0))
    with pytest.raises(UserError, match="ends before clip"):
        unpack(shards, clips, SOURCES, tmp_path / "short", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.mp4"))
    clips[0].metadata["source"] = "../sub/talk.mp4"
    with pytest.raises(UserError, match=r"no '\.\./sub/talk.mp4'"):
        unpack(shards, clips[:1], SOURCES, raw / "sub", tmp_path / "out")


def test_clips_of_tight_shards_come_out_upright_with_their_landmarks(tmp_path: Path) -> None:
    synthesize(output=tmp_path / "shards", num_clips=1, seconds=1.0, resolution=64)
    shards = ShardSet(tmp_path / "shards")
    clips = clips_of(shards, None)
    assert pictures_of(clips, None) == ALIGNED
    unpack(shards, clips, ALIGNED, None, tmp_path / "sources")
    key = clips[0].key
    info = probe_video(tmp_path / "sources" / f"{key}.mp4")
    assert (info.height, info.width) == upright_size(64) == (128, 96)
    points = np.array(json.loads((tmp_path / "sources" / f"{key}.json").read_text())["truth"]["landmarks3"])
    assert points.shape == (25, 3, 2)
    # On the canvas that crops are squeezed from, the brows are 41 of 75 apart.
    assert np.ptp(points[:, :2, 0], axis=1).mean() == pytest.approx(41 / 75 * 96, rel=0.1)


def test_what_is_unpacked_already_stays(shards: ShardSet, tmp_path: Path) -> None:
    clips = clips_of(shards, 1)
    tmp_path.joinpath(f"{clips[0].key}.mp4").write_text("there")
    unpack(shards, clips, CONTEXT, None, tmp_path)
    assert tmp_path.joinpath(f"{clips[0].key}.mp4").read_text() == "there"
