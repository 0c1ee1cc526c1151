"""Shards are described as they are, and `verify` finds each kind of damage."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_heads import HereRunner
from tiny_clips import FRAMES, metadata, tiny_clip, wave, write_shards

from configs.compose import load_config
from data_prep.inspect import contact_sheet, contents, run, verify
from latentsync.data.sample import ClipSample
from latentsync.data.shards import ShardSet
from latentsync.media.audio import encode_wav


def clips() -> list[ClipSample]:
    """Six clips, two of them of one source, three with an offset, one with stored audio tokens."""
    made = [tiny_clip(f"clip{number}", metadata=metadata(source=f"{number}.mp4")) for number in range(6)]
    made[1].metadata["source"] = "0.mp4"
    for clip, offset in zip(made, (0, -1, 3)):
        clip.metadata |= {"offset": offset, "confidence": 2.0 + offset}
    made[5].audio_tokens = np.zeros((FRAMES, 4, 16), np.float16)
    return made


def test_statistics_are_those_of_the_metadata(tmp_path: Path) -> None:
    write_shards(tmp_path, clips())
    found = contents(ShardSet(tmp_path))
    assert found.sources == {"0.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4"}
    assert found.seconds == pytest.approx(6 * FRAMES / 25)
    lines = dict(line.split(None, 1) for line in found.lines())
    assert lines["clips"] == "6, 0.00 hours, from 5 sources"
    assert lines["resolution"] == "32 in 6"
    assert lines["frames"] == "12 to 12, median 12"
    assert lines["features"] == "audio_tokens.npy in 1"
    assert lines["offset"] == "-1 to 3, median 0 frames; 67% of 3 within ± 1"
    assert lines["confidence"] == "1 to 5, median 2"


def test_verify_names_every_kind_of_damage(tmp_path: Path) -> None:
    made = clips()
    made[0].video = made[0].video[: len(made[0].video) // 2]
    made[1].metadata["num_frames"] = FRAMES + 1
    made[2].metadata["resolution"] = 64
    made[3].audio = made[3].audio[:44]
    made[4].audio = encode_wav(wave(FRAMES)[: 8 * 640], 16000)
    write_shards(tmp_path, made)
    bad = verify(ShardSet(tmp_path), HereRunner())
    assert set(bad) == {f"clip{number}" for number in range(5)}
    assert bad["clip1"] == "12 frames, metadata says 13"
    assert bad["clip2"] == "pictures of 32 × 32, metadata says 64"
    assert bad["clip4"] == "sound 0.16 s shorter than the pictures"


def test_contact_sheet_shows_middle_frames_and_leaves_out_what_cannot_be_decoded(tmp_path: Path) -> None:
    made = clips()
    made[2].video = b"damaged"
    write_shards(tmp_path, made)
    sheet = contact_sheet(ShardSet(tmp_path), count=6, columns=3, width=32)
    assert sheet is not None
    assert sheet.shape == (2 * (32 + 14), 3 * 32, 3)
    middle = 40 + 10 * (FRAMES // 2)
    assert abs(int(sheet[16, 16, 0]) - middle) < 6
    assert (sheet[-46:, -32:] == 255).all(), "five pictures, one place left"


def test_exit_code_tells_whether_all_clips_are_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = clips()
    write_shards(tmp_path / "good", made)
    made[0].video = b"damaged"
    write_shards(tmp_path / "bad", made)
    codes = []
    for name in ("good", "bad"):
        arguments = [f"shards={tmp_path / name}", "verify=true", f"contact_sheet={tmp_path / 'sheet.png'}"]
        config = load_config("data_prep/inspect", arguments)
        config.runner = {"_target_": "raw_heads.HereRunner"}
        codes.append(run(config))
    assert codes == [0, 1]
    assert "bad clip 'clip0'" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_shards_may_be_the_first_argument_whatever_their_name(tmp_path: Path) -> None:
    folder = tmp_path / "my, 'odd' shards"
    write_shards(folder, clips())
    command = [sys.executable, "-m", "data_prep.inspect", str(folder), "contact_sheet=null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "6, 0.00 hours" in done.stdout
    assert done.stderr == ""
