"""Claims about the bundled sample."""

import json

import numpy as np
import pytest

from data_prep.sample import make_sample
from infer import SAMPLE as REAL
from infer import choose_files
from latentsync.errors import UserError
from latentsync.inference.request import check_request
from latentsync.media.audio import load_audio
from latentsync.media.frames import read_frames
from latentsync.media.probe import probe_video
from latentsync.media.stills import read_image
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES

SAMPLE = REAL.parent  # drawn; the real one lies in it


def test_the_committed_sample_is_small_held_out_and_complete():
    truths = json.loads((SAMPLE / "talk.json").read_text())
    assert sum(path.stat().st_size for path in SAMPLE.glob("*.*")) <= 400_000
    people = {truths[name]["identity_seed"] for name in ("truth", "driving_truth")}
    assert len(people) == 2
    assert people <= set(HELD_OUT_IDENTITIES)
    info = probe_video(SAMPLE / "talk.mp4")
    assert (info.num_frames, info.has_audio) == (100, True)
    assert len(load_audio(SAMPLE / "speech.wav")) == 4 * 16000


def test_infer_without_arguments_takes_the_real_sample(tmp_path, monkeypatch):
    from configs.compose import load_config

    monkeypatch.chdir(tmp_path)
    files = choose_files(load_config("infer"))
    request = check_request(files.input, files.audio, files.output)
    assert (files.input, files.audio) == (REAL / "man_reads.mkv", REAL / "man_reads_another.mkv")
    assert 70 <= request.num_frames <= 76
    assert files.faces == "mediapipe"


def test_the_picture_is_the_clips_first_frame_and_its_landmarks_come_first(tmp_path):
    folder = make_sample(tmp_path / "sample", seconds=0.4, resolution=64, picture=True)
    assert {path.name for path in folder.iterdir()} == {"talk.mp4", "talk.json", "speech.wav", "face.png"}
    first = next(iter(read_frames(folder / "talk.mp4"))).image
    np.testing.assert_array_equal(read_image(folder / "face.png"), first)


def test_equal_seeds_give_equal_samples(tmp_path):
    one, two = (make_sample(tmp_path / name, seconds=0.4, resolution=64) for name in ("one", "two"))
    for name in ("talk.json", "speech.wav"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(
    ("argument", "message"),
    [({"seconds": 0.0}, "seconds=0.0"), ({"resolution": 60}, "resolution=60"), ({"identity": -1}, "identity=-1")],
)
def test_arguments_out_of_range_leave_nothing(tmp_path, argument, message):
    with pytest.raises(UserError, match=message):
        make_sample(tmp_path / "out", **argument)
    assert not (tmp_path / "out").exists()
