"""The streaming pipeline end to end, with small random networks: length, sound, seeds, faces, faults."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from PIL import Image

from latentsync.errors import UserError
from latentsync.face.landmarks import GivenFaces
from latentsync.inference import Fate, LipSyncPipeline
from latentsync.inference.pipeline import choose_device, choose_dtype
from latentsync.media import VideoWriter, encode_wav, load_audio, probe_video, read_frames, read_image

if TYPE_CHECKING:
    from tests.inference.conftest import Head

FAST = {"num_inference_steps": 2, "seed": 5}


@pytest.fixture
def lip_sync(networks: dict, head: Head) -> LipSyncPipeline:
    """A pipeline that knows where the head's face is."""
    return LipSyncPipeline(**networks, face_finder=GivenFaces(list(head.landmarks3)), resolution=head.resolution)


def images(path: Path) -> np.ndarray:
    """All frames of a video, (F, H, W, 3)."""
    return np.stack([frame.image for frame in read_frames(path)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of 8-bit images, in dB."""
    error = np.square(a.astype(float) - b.astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def longer(wave: np.ndarray, times: int) -> bytes:
    """The sound repeated, as a WAV."""
    return encode_wav(np.tile(wave, times), 16000)


def test_a_video_keeps_its_size_and_gets_the_audios_length(
    lip_sync: LipSyncPipeline, head: Head, tmp_path: Path
) -> None:
    seen: list[tuple[float, int]] = []
    report = lip_sync(head.video, head.audio, tmp_path / "out.mp4", progress=lambda *now: seen.append(now), **FAST)
    info = probe_video(report.output)
    assert (info.width, info.height) == head.size
    assert (info.fps, info.num_frames, info.has_audio) == (25, 35, True)
    assert (report.num_frames, report.num_windows, report.seed) == (35, 3, 5)
    assert report.fates == (Fate.GENERATED,) * 35
    sound = load_audio(report.output)
    assert len(sound) / 16000 == pytest.approx(1.4, abs=0.03)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (35, 35)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_only_the_mouth_region_changes(lip_sync: LipSyncPipeline, head: Head, tmp_path: Path) -> None:
    report = lip_sync(head.video, head.audio, tmp_path / "out.mp4", **FAST)
    out = images(report.output)
    brows = round(float(head.landmarks3[:, :2, 1].min()))
    nose = round(float(head.landmarks3[:, 2, 1].max()))
    assert psnr(out[:, :brows], head.frames[:, :brows]) > 35
    assert psnr(out[:, nose:], head.frames[:, nose:]) < 25


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(
    lip_sync: LipSyncPipeline, head: Head, tmp_path: Path
) -> None:
    outputs = []
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        lip_sync(head.video, head.audio, tmp_path / f"{name}.mp4", num_inference_steps=2, seed=seed)
        outputs.append(images(tmp_path / f"{name}.mp4"))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_the_sound_and_the_guidance_steer_the_mouth(lip_sync: LipSyncPipeline, head: Head, tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(encode_wav(head.wave[::-1].copy(), 16000))
    results = []
    for audio, guidance in [(head.audio, 1.0), (tmp_path / "other.wav", 1.0), (head.audio, 4.0)]:
        lip_sync(head.video, audio, tmp_path / "out.mp4", guidance_scale=guidance, **FAST)
        results.append(images(tmp_path / "out.mp4"))
    assert (results[0] != results[1]).any()
    assert (results[0] != results[2]).any()


def test_guidance_is_the_models_own_unless_it_is_named_and_the_report_tells(
    lip_sync: LipSyncPipeline, head: Head, tmp_path: Path
) -> None:
    lip_sync.guidance_scale = 4.0
    own = lip_sync(head.video, head.audio, tmp_path / "own.mp4", **FAST)
    named = lip_sync(head.video, head.audio, tmp_path / "named.mp4", guidance_scale=4.0, **FAST)
    other = lip_sync(head.video, head.audio, tmp_path / "other.mp4", guidance_scale=1.0, **FAST)
    assert (own.guidance_scale, named.guidance_scale, other.guidance_scale) == (4.0, 4.0, 1.0)
    assert "guidance 4" in str(own)
    np.testing.assert_array_equal(images(own.output), images(named.output))
    assert (images(own.output) != images(other.output)).any()


def test_an_overlap_of_a_whole_window_is_refused_before_anything_is_written(networks: dict, head: Head) -> None:
    lip_sync = LipSyncPipeline(**networks, face_finder=GivenFaces([]), resolution=head.resolution, num_frames=8)
    output = head.video.with_name("never.mp4")
    with pytest.raises(UserError, match=r"window_overlap=8: this model's windows have 8 frames; give 0 to 7"):
        lip_sync(head.video, head.audio, output, window_overlap=8, **FAST)
    assert not output.exists()


def test_frames_without_a_face_pass_through(networks: dict, head: Head, tmp_path: Path) -> None:
    hidden = {0, 1, *range(16, 24)}
    faces = [[] if number in hidden else points for number, points in enumerate(head.landmarks3)]
    lip_sync = LipSyncPipeline(**networks, face_finder=GivenFaces(faces), resolution=head.resolution)
    report = lip_sync(head.video, head.audio, tmp_path / "out.mp4", **FAST)
    assert {number for number, fate in enumerate(report.fates) if fate is Fate.NO_FACE} == hidden
    assert (report.num_windows, report.count(Fate.NO_FACE)) == (2, len(hidden))
    out = images(report.output)
    for number in range(35):
        assert (psnr(out[number], head.frames[number]) > 33) == (number in hidden), number


def test_without_any_face_there_is_one_line_and_no_file(networks: dict, head: Head, tmp_path: Path) -> None:
    Image.fromarray(head.frames[0]).save(tmp_path / "face.png")
    for source, where in [(head.video, "in any of its 35 frames"), (tmp_path / "face.png", "in the picture")]:
        lip_sync = LipSyncPipeline(**networks, face_finder=GivenFaces([[]] * 35), resolution=head.resolution)
        with pytest.raises(UserError, match=f"{source.name}': no face found {where}"):
            lip_sync(source, head.audio, tmp_path / "out.mp4", **FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


@pytest.mark.slow
def test_longer_audio_plays_the_video_back_and_forth(lip_sync: LipSyncPipeline, head: Head, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(longer(head.wave, 2))
    report = lip_sync(head.video, tmp_path / "long.wav", tmp_path / "out.mp4", num_inference_steps=1, seed=5)
    assert report.num_frames == 70
    out = images(report.output)
    brows = round(float(head.landmarks3[:, :2, 1].min()))
    assert psnr(out[35:, :brows], head.frames[::-1, :brows]) > 35


def test_shorter_audio_cuts_the_video(lip_sync: LipSyncPipeline, head: Head, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(encode_wav(head.wave[:8000], 16000))
    report = lip_sync(head.video, tmp_path / "short.wav", tmp_path / "out.mp4", **FAST)
    assert report.num_frames in (12, 13)
    assert probe_video(report.output).num_frames == report.num_frames


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".bmp", ".webp"])
def test_a_picture_of_any_kind_speaks(networks: dict, head: Head, tmp_path: Path, suffix: str) -> None:
    Image.fromarray(head.frames[0]).save(tmp_path / f"face{suffix}", quality=95)
    finder = GivenFaces(list(head.landmarks3[:1]))  # one frame is searched, however many are shown
    lip_sync = LipSyncPipeline(**networks, face_finder=finder, resolution=head.resolution)
    report = lip_sync(tmp_path / f"face{suffix}", head.audio, tmp_path / "out.mp4", num_inference_steps=1, seed=5)
    out = images(report.output)
    assert len(out) == 35
    brows = round(float(head.landmarks3[0, :2, 1].min()))
    assert psnr(out[:, :brows], read_image(tmp_path / f"face{suffix}")[None, :brows]) > 35


def test_the_stored_sound_keeps_its_rate_and_channels(lip_sync: LipSyncPipeline, head: Head, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "stereo.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="stereo")
        tone = (np.sin(np.arange(44100) / 30) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None], format="s16", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    report = lip_sync(head.video, tmp_path / "stereo.wav", tmp_path / "out.mp4", num_inference_steps=1, seed=5)
    assert report.num_frames == 25
    with av.open(str(report.output)) as container:
        audio, video = container.streams.audio[0], container.streams.video[0]
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 44100, 2)
        assert video.codec_context.name == "h264"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_stopping_in_the_middle_leaves_nothing(
    lip_sync: LipSyncPipeline, head: Head, tmp_path: Path, stop: type[BaseException]
) -> None:
    def interrupt(done: float, total: int) -> None:
        if done > 20:
            raise stop

    with pytest.raises(stop):
        lip_sync(head.video, head.audio, tmp_path / "out.mp4", progress=interrupt, **FAST)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_breaks_off_is_one_line_and_no_file(networks: dict, head: Head, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, *head.frames.shape[1:]), np.uint8)
    with VideoWriter(tmp_path / "whole.mp4", *head.size, 25) as writer:
        for frame in noise:
            writer.write(frame)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])  # the index lies in front: it opens
    (tmp_path / "long.wav").write_bytes(longer(head.wave, 2))
    finder = GivenFaces([head.landmarks3[0]] * 60)
    lip_sync = LipSyncPipeline(**networks, face_finder=finder, resolution=head.resolution)
    with pytest.raises(UserError, match=r"cut\.mp4"):
        lip_sync(tmp_path / "cut.mp4", tmp_path / "long.wav", tmp_path / "out.mp4", num_inference_steps=1)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_memory_does_not_grow_with_the_length(networks: dict, head: Head, tmp_path: Path) -> None:
    width, height, peaks = 320, 240, []
    points = np.array([[130.0, 90.0], [190.0, 90.0], [160.0, 120.0]])
    for seconds in (2, 8):
        frames = 25 * seconds
        with VideoWriter(tmp_path / "talk.mp4", width, height, 25) as writer:
            for number in range(frames):
                writer.write(np.full((height, width, 3), number % 200, np.uint8))
        (tmp_path / "speech.wav").write_bytes(encode_wav(np.zeros(16000 * seconds, np.float32), 16000))
        lip_sync = LipSyncPipeline(**networks, face_finder=GivenFaces([points] * frames), resolution=head.resolution)
        tracemalloc.start()
        lip_sync(tmp_path / "talk.mp4", tmp_path / "speech.wav", tmp_path / "out.mp4", num_inference_steps=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    held_frames = (peaks[1] - peaks[0]) / (width * height * 3)
    assert held_frames < 10  # 150 frames more were read and written


def test_auto_is_a_device_that_computes() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(UserError, match=f"device={device}: cannot be used"):
        choose_device(device)


def test_precisions_are_types_and_auto_is_half_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    for given, expected in {32: "float32", "16": "float16", "bf16": "bfloat16", "auto": "float32"}.items():
        assert choose_dtype(given, cpu) == getattr(torch, expected)
    assert choose_dtype(torch.bfloat16, cpu) == torch.bfloat16
    for capability, half in (((9, 0), True), ((8, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, answer=capability: answer)
        assert choose_dtype("auto", cuda) == (torch.float16 if half else torch.float32)
    with pytest.raises(UserError, match="precision=8 is unknown"):
        choose_dtype(8, cpu)
