"""The doctor's verdicts on planted faults: each fault is named by the check that is there for it."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
from tiny_clips import tiny_clip, write_shards

from latentsync.data.datamodule import ClipDataModule
from latentsync.data.sample import ClipSample
from latentsync.errors import UserError
from latentsync.media.audio import encode_wav, load_audio
from latentsync.media.frames import read_frames
from latentsync.media.video_writer import encode_clip
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.doctor.clips import (
    ClipCoupling,
    Peak,
    check_mouth,
    check_offset,
    check_silence,
    measure,
)
from latentsync.training.doctor.examine import examine
from latentsync.training.doctor.network import Pairs, check_embeddings, check_one_batch
from latentsync.training.doctor.pairs import check_batch, check_negatives
from tests.training.test_syncnet import clips as noise_batch
from tests.training.test_syncnet import module

FRAMES, SIDE = 40, 64


def talking(
    key: str, late: int = 0, upside_down: bool = False, silent: bool = False, frozen: bool = False
) -> ClipSample:
    """A grey face over a moving background, whose dark mouth opens as the noise gets loud, `late` frames after it."""
    generator = np.random.default_rng(int(key))
    level = np.convolve(generator.uniform(0, 1, FRAMES + 40), np.ones(3) / 3, "same")[20 : FRAMES + 20]
    opening = np.zeros(FRAMES) if frozen else np.roll(level, late)
    frames = np.full((FRAMES, SIDE, SIDE, 3), 150, np.uint8)
    for index, height in enumerate(opening):
        frames[index, 42 : 42 + round(14 * height), 22:42] = 30
        frames[index, :6, :, :] = 60 + generator.integers(0, 100)  # flickers, but not with the sound
    if upside_down:
        frames = frames[:, ::-1]
    gain = np.repeat(0.0 if silent else level**2, 640)
    wave = (gain * generator.uniform(-1, 1, len(gain)) if not silent else np.zeros(FRAMES * 640)).astype(np.float32)
    return tiny_clip(key, FRAMES, SIDE, video=encode_clip(np.ascontiguousarray(frames)), audio=encode_wav(wave, 16000))


def measured(**fault: object) -> list[ClipCoupling]:
    return measure(talking(str(key), **fault) for key in range(6))


def test_healthy_clips_pass_all_checks() -> None:
    clips = measured()
    assert [check(clips).verdict for check in (check_silence, check_offset, check_mouth)] == ["ok"] * 3
    assert {Peak.of(clip.r_squared).offset for clip in clips} <= {-1, 0, 1}


@pytest.mark.parametrize("late", [-7, 4])
def test_shifted_sound_is_found_with_its_offset(late: int) -> None:
    finding = check_offset(measured(late=late))
    assert finding.verdict == "bad"
    assert finding.values["offset_frames"] == pytest.approx(late, abs=1)
    assert f"{abs(finding.values['offset_frames'])} frames {'after' if late > 0 else 'before'}" in finding.message


def test_pictures_of_another_sound_have_no_offset() -> None:
    clips = [talking(str(key)) for key in range(12)]
    swapped = [tiny_clip(a.key, FRAMES, SIDE, video=a.video, audio=b.audio) for a, b in zip(clips, clips[1:] + clips)]
    finding = check_offset(measure(swapped))
    assert finding.verdict == "too weak"
    assert finding.values["r_squared"] < finding.values["r_squared_needed"]
    assert f"{finding.values['r_squared_needed']:.2g} needed" in finding.message


def test_clips_that_differ_from_the_others_are_named() -> None:
    clips = [*(talking(str(key)) for key in (0, 1, 2, 3, 5)), *(talking(str(key), late=8) for key in (4, 6, 7))]
    finding = check_offset(measure(clips))
    assert finding.verdict == "suspicious"
    assert set(finding.values["clips_with_another_offset"]) == {"4", "6", "7"}
    assert "(4, 6, 7)" in finding.message
    mute = check_silence(measure([talking("0", silent=True), *clips[:4]]))
    assert mute.values["silent_clips"] == ["0"]
    assert mute.message.endswith("(0)")


def test_real_speech_in_sync_passes_and_other_clips_sound_is_too_weak(shared: Path) -> None:
    folder = shared / "data" / "grid" / "s1"
    clips = [spoken(path) for path in sorted(folder.glob("*.mkv"))[::25][:20]]
    found = measure(clips)
    findings = [check(found) for check in (check_silence, check_offset, check_mouth)]
    assert [finding.verdict for finding in findings] == ["ok"] * 3, findings
    swapped = [
        tiny_clip(a.key, a.metadata["num_frames"], 128, video=a.video, audio=b.audio)
        for a, b in zip(clips, clips[3:] + clips[:3])
    ]
    assert check_offset(measure(swapped)).verdict == "too weak"


def spoken(path: Path) -> ClipSample:
    """A clip of GRID's speaker s1, whose face is always at the same place, as a shard would hold it."""
    frames = np.stack([cv2.resize(frame.image[98:277, 90:269], (128, 128)) for frame in read_frames(path)])
    wave = load_audio(path)[: 640 * len(frames)]
    return tiny_clip(path.stem, len(frames), 128, video=encode_clip(frames), audio=encode_wav(wave, 16000))


def test_silent_clips_upside_down_faces_and_frozen_lips_are_told_apart() -> None:
    assert check_silence(measured(silent=True)).verdict == "bad"
    upside_down = measured(upside_down=True)
    assert check_mouth(upside_down).verdict == "bad"
    assert check_silence(upside_down).verdict == check_offset(upside_down).verdict == "ok"
    frozen = check_mouth(measured(frozen=True))
    assert frozen.verdict == "too weak"


@pytest.mark.parametrize(
    ("lengths", "distance", "other_clips", "verdict", "word"),
    [
        ([200] * 8, None, 0.0, "ok", "0 % overlap"),
        ([200] * 8, 5, 0.0, "ok", "0 % begin less than 5"),
        ([22] * 8, 1, 0.0, "suspicious", "reference_distance=5"),
        ([22] * 8, 5, 0.0, "suspicious", "the clips are short"),
        ([22] * 8, 5, 1.0, "ok", "100 % are replaced"),
        ([18] * 8, 5, 0.0, "bad", "no clip is long enough"),
    ],
)
def test_negatives(lengths: list[int], distance: int | None, other_clips: float, verdict: str, word: str) -> None:
    finding = check_negatives(np.array(lengths), 16, distance, other_clips)
    assert finding.verdict == verdict
    assert word in finding.message


def test_pairs_of_a_step_count_accumulation_and_ranks() -> None:
    assert check_batch(16, 8, 2).verdict == "ok"
    assert check_batch(16, 8, 1).verdict == "suspicious"


def pairs(count: int = 2) -> Pairs:
    batch = noise_batch(count)
    return Pairs(batch.target, batch.reference, batch.mel)


def with_network(change: Callable[[StableSyncNet], None]) -> lightning.LightningModule:
    ours = module()
    with torch.no_grad():
        change(ours.syncnet)
    return ours


def test_constant_and_broken_networks_are_named() -> None:
    def constant(syncnet: StableSyncNet) -> None:
        for parameter in syncnet.visual_encoder.parameters():
            parameter.zero_()
        *_, last = syncnet.visual_encoder.parameters()
        last.fill_(1.0)

    def broken(syncnet: StableSyncNet) -> None:
        next(syncnet.audio_encoder.parameters()).fill_(float("nan"))

    assert check_embeddings(module(), pairs()).verdict == "ok"
    collapsed = check_embeddings(with_network(constant), pairs())
    assert (collapsed.verdict, "same for every clip" in collapsed.message) == ("bad", True)
    not_finite = check_embeddings(with_network(broken), pairs())
    assert (not_finite.verdict, "not finite" in not_finite.message) == ("bad", True)


def test_one_batch_is_learnt_by_a_copy_alone() -> None:
    ours = module()
    before = {name: value.clone() for name, value in ours.syncnet.state_dict().items()}
    finding, curves = check_one_batch(ours, pairs())
    assert finding.verdict == "ok", finding
    [losses] = curves.values()
    assert losses[-1] < 0.35 < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in ours.syncnet.state_dict().items())


def test_a_rate_too_low_and_frames_all_alike_are_told() -> None:
    slow = module()
    slow.make_optimizer = lambda parameters: torch.optim.Adam(parameters, lr=3e-5)
    finding, curves = check_one_batch(slow, pairs(), steps=30)
    assert (finding.verdict, len(curves)) == ("suspicious", 2)
    assert "raise it" in finding.message
    same = pairs().positive
    alike, _ = check_one_batch(module(), Pairs(same, same, pairs().mel), steps=10)
    assert alike.verdict == "bad"


def trainer() -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, accumulate_grad_batches=4,
    )  # fmt: skip


def test_examination_tells_every_check_and_leaves_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_shards(tmp_path / "shards", [talking(str(key), late=6) for key in range(6)])
    data = ClipDataModule(
        tmp_path / "shards", batch_size=3, num_workers=0, resolution=SIDE, min_frames=32, audio_tokens=False
    )
    findings = examine(module(), data, trainer(), tmp_path / "run", steps=2)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [finding.verdict for finding in findings]
    verdicts = {finding.check: finding.verdict for finding in findings}
    assert verdicts["offset"] == "bad"
    assert list(verdicts) == ["silence", "offset", "mouth", "negatives", "batch", "embeddings", "one batch"]
    stored = json.loads((tmp_path / "run" / "doctor.json").read_text())
    assert [found["message"] for found in stored] == [finding.message for finding in findings]
    assert (tmp_path / "run" / "doctor.png").read_bytes().startswith(b"\x89PNG")


def test_only_a_syncnet_is_examined(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="doctor=true examines the training of a SyncNet"):
        examine(lightning.LightningModule(), ClipDataModule(tmp_path), trainer(), tmp_path)
