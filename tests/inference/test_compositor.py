"""Two clocks, pixels and people, with a painter in place of the network: what the engine itself does to a video."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.stand_in import FixedFace, Painter, stand_in_pipeline
from latentsync.errors import UserError
from latentsync.face.alignment import FaceAligner
from latentsync.face.landmarks import Face, GivenFaces
from latentsync.face.mouth_mask import mouth_mask
from latentsync.inference import Fate
from latentsync.inference.generator import WindowInput
from latentsync.media import PictureReader, VideoLook, VideoWriter, encode_wav, load_audio, read_frames, still_picture
from latentsync.media.picture import plane_arrays

WIDTH, HEIGHT = 192, 144


def scene(number: int) -> np.ndarray:
    """A smooth picture that moves by 3 pixels a frame."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack(
        [110 + 50 * np.sin((x + 3 * number) / 19), 120 + 40 * np.cos((y + number) / 17), 0 * x + 100], -1
    ).astype(np.uint8)


def write_video(path: Path, times: list[Fraction], time_base: Fraction, **look: object) -> Path:
    """Pictures at these times, in seconds; nearly lossless."""
    stored = VideoLook(WIDTH, HEIGHT, time_base=time_base, rate=Fraction(30), **look)
    with VideoWriter(path, WIDTH, HEIGHT, 30, crf=1, look=stored) as writer:
        for number, time in enumerate(times):
            writer.write_frame(still_picture(scene(number)).unchanged(), round(time / time_base), 1)
    return path


def sound(path: Path, seconds: float) -> Path:
    path.write_bytes(encode_wav(np.sin(np.arange(round(16000 * seconds)) / 9).astype(np.float32), 16000))
    return path


def seconds_of(path: Path) -> list[float]:
    return [float(picture.pts * picture.look.time_base) for picture in PictureReader(path).forwards()]


RATES = {
    "30": [Fraction(k, 30) for k in range(45)],
    "23.976": [Fraction(k * 1001, 24000) for k in range(30)],
    "60": [Fraction(k, 60) for k in range(70)],
    "varying": [Fraction(round(1000 * (k / 30 + 0.3 * (k > 10) + 0.01 * (k % 3))), 1000) for k in range(30)],
    "5": [Fraction(k, 5) for k in range(7)],
}


@pytest.mark.parametrize("rate", RATES)
def test_every_frame_is_shown_when_the_inputs_is(tmp_path: Path, rate: str) -> None:
    base = Fraction(1, 24000) if rate == "23.976" else Fraction(1, 1000 if rate == "varying" else 600)
    video = write_video(tmp_path / "a.mp4", RATES[rate], base)
    report = stand_in_pipeline()(video, sound(tmp_path / "a.wav", 1.0), tmp_path / "out.mp4", seed=1)
    given, shown = seconds_of(video), seconds_of(report.output)
    assert shown == given[: len(shown)]
    assert report.num_frames == len(shown)
    assert abs(len(shown) - sum(time < 1.0 for time in given)) <= 1
    assert set(report.fates) == {Fate.GENERATED}


def test_a_mouth_that_is_not_changed_leaves_a_moving_picture_as_it_was(tmp_path: Path) -> None:
    """At 30 frames a second a frame's mouth comes from another frame's crop: it must not bring the rest of it along."""
    video = write_video(tmp_path / "a.mp4", RATES["30"], Fraction(1, 600))
    pipeline = stand_in_pipeline(128, levels=0)
    report = pipeline(video, sound(tmp_path / "a.wav", 1.0), tmp_path / "out.mp4", seed=1, crf=0)
    keep = mouth_mask(128).numpy()[0] > 0.5
    for given, shown in zip(read_frames(video), read_frames(report.output)):
        points = FixedFace().find(given.image, 0.0)[0].landmarks3
        before, after = (FaceAligner(128).align(frame.image, points).crop.astype(int) for frame in (given, shown))
        assert np.abs(after - before)[keep].max() <= 6
        assert np.abs(after - before)[~keep].mean() <= 10  # 20 ms of motion at most


def test_pixels_outside_the_face_are_the_decoders_own_to_the_bit(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", RATES["30"], Fraction(1, 600))
    report = stand_in_pipeline()(video, sound(tmp_path / "a.wav", 0.6), tmp_path / "out.mp4", seed=1, crf=0)
    x0, y0, x1, y1 = (round(v) for v in FixedFace().find(scene(0), 0.0)[0].box)
    changed = 0
    for given, shown in zip(PictureReader(video).forwards(), PictureReader(report.output).forwards()):
        for before, after in zip(plane_arrays(given.frame), plane_arrays(shown.frame)):
            scale = before.shape[0] / HEIGHT
            different = before != after
            changed += int(different.sum())
            far = np.ones_like(different)
            rows, columns = ((max(0, low - 50), high + 50) for low, high in ((y0, y1), (x0, x1)))
            far[slice(*(int(v * scale) for v in rows)), slice(*(int(v * scale) for v in columns))] = False
            assert not (different & far).any()
    assert changed > 0


@pytest.mark.parametrize("degrees", [90, 180])
def test_rotation_and_colour_tags_are_carried_over(tmp_path: Path, degrees: int) -> None:
    with av.open(str(tmp_path / "turn.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_trc = 6, 6
        stream.set_display_rotation(-degrees)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(scene(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    report = stand_in_pipeline()(
        tmp_path / "turn.mp4", sound(tmp_path / "a.wav", 0.4), tmp_path / "out.mp4", seed=1, crf=0
    )
    given, shown = (next(PictureReader(path).forwards()) for path in (tmp_path / "turn.mp4", report.output))
    for name in ("width", "height", "display_matrix", "matrix", "transfer", "color_range", "pixel_format"):
        assert getattr(given.look, name) == getattr(shown.look, name), name
    upright = shown.rgb
    difference = np.abs(upright.astype(int) - given.rgb).max(-1)
    box = [round(v) for v in FixedFace().find(upright, 0.0)[0].box]
    assert difference[box[1] : box[3] + 20, box[0] : box[2]].max() > 25  # painted where the upright face is
    assert difference[-10:].max() == 0


def jump_at(crop: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute step across the mouth mask's edge in an aligned face, in levels."""
    levels = crop.astype(int)
    down, across = (np.abs(np.diff(levels, axis=axis)).mean(-1) for axis in (0, 1))
    return float(np.concatenate([down[mask[1:] != mask[:-1]], across[mask[:, 1:] != mask[:, :-1]]]).mean())


SEAMS = [(0, False, True), (40, True, True), (40, False, False)]


@pytest.mark.parametrize(("levels", "color_match", "seamless"), SEAMS)
def test_no_border_shows_where_the_mouth_ends(tmp_path: Path, levels: int, color_match: bool, seamless: bool) -> None:
    """The step across the mask's edge, against the source's: a network in other colours shows one unless matched."""
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(10)], Fraction(1, 25))
    report = stand_in_pipeline(128, levels)(
        video,
        sound(tmp_path / "a.wav", 0.4),
        tmp_path / "out.mp4",
        seed=1,
        crf=0,
        color_match=color_match,
        paste="face",
    )
    mask = mouth_mask(128).numpy()[0] > 0.5
    for given, shown in zip(read_frames(video), read_frames(report.output)):
        points = FixedFace().find(given.image, 0.0)[0].landmarks3
        faces = [FaceAligner(128).align(frame.image, points) for frame in (given, shown)]
        before, after = (jump_at(face.crop, mask) for face in faces)
        assert (abs(after - before) <= 1) == seamless


@pytest.mark.parametrize("paste", ["mouth", "face"])
def test_the_upper_face_is_the_pictures_own_unless_the_whole_face_is_pasted(tmp_path: Path, paste: str) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(6)], Fraction(1, 25))
    report = stand_in_pipeline(128, 40)(
        video, sound(tmp_path / "a.wav", 0.24), tmp_path / "out.mp4", seed=1, crf=0, paste=paste
    )
    given, shown = (next(iter(read_frames(path))).image.astype(int) for path in (video, report.output))
    left, top, right, bottom = (round(value) for value in FixedFace().find(given.astype(np.uint8), 0.0)[0].box)
    height = bottom - top
    changed = np.abs(shown - given)[:, left:right].max(axis=(1, 2))
    assert changed[top + height // 2 : bottom].max() > 20  # the mouth is another
    upper = changed[top : top + height // 3].max()
    assert (upper == 0) == (paste == "mouth")  # a whole face is resampled


def test_all_faces_speak_and_one_by_number(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(20)], Fraction(1, 25))
    places = [Face(np.array([[x - 10, 50.0], [x + 10, 50.0], [x, 60.0]]), (x - 20, 40, x + 20, 90)) for x in (50, 140)]
    audio = sound(tmp_path / "a.wav", 0.8)
    changed = {}
    for face in ("all", "0", "1", "largest"):
        painter = Painter()
        pipeline = stand_in_pipeline(finder=GivenFaces([places] * 20), painter=painter)
        report = pipeline(video, audio, tmp_path / "out.mp4", seed=1, crf=0, face=face, batch_windows=3)
        assert report.num_windows == (4 if face == "all" else 2)
        assert max(painter.batches) == min(3, report.num_windows)
        given, shown = (next(iter(read_frames(path))).image for path in (video, report.output))
        difference = np.abs(given.astype(int) - shown).max(-1)
        changed[face] = [bool(difference[60:90, x - 10 : x + 10].max() > 25) for x in (50, 140)]
    assert changed == {"all": [True, True], "0": [True, False], "1": [False, True], "largest": [True, False]}


def test_windows_begin_anew_at_a_cut_and_after_a_gap(tmp_path: Path) -> None:
    look = VideoLook(WIDTH, HEIGHT)
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 25, look=look) as writer:
        for number in range(30):
            image = scene(number) if number < 10 else 255 - scene(number) // 3
            writer.write_frame(still_picture(image).unchanged(), number, 1)
    seen: list[list[int]] = []

    class Watching(Painter):
        def generate(self, windows, *arguments):
            seen.extend([len(window.crops)] for window in windows)
            return super().generate(windows, *arguments)

    faces = [[] if 16 <= number < 24 else FixedFace().find(scene(0), 0.0) for number in range(30)]
    pipeline = stand_in_pipeline(finder=GivenFaces(faces), painter=Watching())
    report = pipeline(tmp_path / "a.mp4", sound(tmp_path / "a.wav", 1.2), tmp_path / "out.mp4", seed=1)
    assert seen == [[10], [6], [6]]
    assert [number for number, fate in enumerate(report.fates) if fate is Fate.NO_FACE] == list(range(16, 24))


def test_the_rest_of_a_longer_video_stays_and_the_sound_of_a_shorter_one_is_cut(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(20)], Fraction(1, 25))
    kept = stand_in_pipeline()(
        video, sound(tmp_path / "a.wav", 0.4), tmp_path / "keep.mp4", seed=1, shorter_audio="keep"
    )
    assert kept.fates == (Fate.GENERATED,) * 10 + (Fate.NO_SOUND,) * 10
    cut = stand_in_pipeline()(video, sound(tmp_path / "b.wav", 2.0), tmp_path / "stop.mp4", seed=1, longer_audio="stop")
    assert cut.num_frames == 20
    with av.open(str(cut.output)) as container:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(0.8, abs=0.05)


def test_the_report_lists_what_became_of_every_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(20)], Fraction(1, 25))
    face = FixedFace().find(scene(0), 0.0)
    finder = GivenFaces([face, [], face, *[[]] * 10, *[face] * 7])
    stand_in_pipeline(finder=finder)(
        video, sound(tmp_path / "a.wav", 0.8), tmp_path / "out.mp4", seed=9, report=tmp_path / "out.json"
    )
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["seed"] == 9
    assert report["frames"] == [
        [0, 0, "generated"], [1, 1, "interpolated"], [2, 2, "generated"], [3, 12, "no face"], [13, 19, "generated"]
    ]  # fmt: skip
    assert report["counts"] == {"generated": 9, "interpolated": 1, "no face": 10, "no sound": 0}


def test_a_frame_without_the_face_is_an_error_when_one_is_required(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(20)], Fraction(1, 25))
    face = FixedFace().find(scene(0), 0.0)
    pipeline = stand_in_pipeline(finder=GivenFaces([*[face] * 8, *[[]] * 12]))
    before = sorted([*tmp_path.iterdir(), sound(tmp_path / "a.wav", 0.8)])
    with pytest.raises(UserError, match=r"a\.mp4': no face at 0\.32 s"):
        pipeline(video, tmp_path / "a.wav", tmp_path / "out.mp4", require_face=True)
    assert sorted(tmp_path.iterdir()) == before


def test_overlapping_windows_fade_into_each_other(tmp_path: Path) -> None:
    class Stairs(Painter):
        """Each window is painted brighter than the one before."""

        def generate(self, windows, *arguments):
            self._painted = (1 - mouth_mask(64).numpy()[0, ..., None]) * 30 * len(self.batches)
            return super().generate(windows, *arguments)

    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(tmp_path / "a.png")
    levels = {}
    for overlap in (0, 5):
        report = stand_in_pipeline(painter=Stairs())(
            tmp_path / "a.png", sound(tmp_path / "a.wav", 1.08), tmp_path / "out.mp4", seed=1, window_overlap=overlap
        )
        assert report.num_windows == 2
        x, y = FixedFace().find(scene(0), 0.0)[0].landmarks3[2].astype(int)
        levels[overlap] = [float(frame.image[y + 12, x].mean()) - 90 for frame in read_frames(report.output)]
    steps = {overlap: np.abs(np.diff(values)).max() for overlap, values in levels.items()}
    assert steps[0] > 20
    assert steps[5] < 10
    assert len(levels[5]) == 27


def test_two_jobs_at_once_with_one_name_each_get_their_own_frames(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 0.6)
    results = {}

    def work(level: int) -> None:
        folder = tmp_path / f"o'{level} ; & ü"
        folder.mkdir()
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), level, np.uint8)).save(folder / "a b.png")
        report = stand_in_pipeline()(folder / "a b.png", audio, folder / "out.mp4", seed=1)
        results[level] = [frame.image[-1, -1].mean() for frame in read_frames(report.output)]
        assert sorted(path.name for path in folder.iterdir()) == ["a b.png", "out.mp4"]

    threads = [threading.Thread(target=work, args=(level,)) for level in (60, 120, 180)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for level in (60, 120, 180):
        assert len(results[level]) == 15
        assert np.abs(np.array(results[level]) - level).max() < 3


class Listener(Painter):
    """Keeps what each window is to be spoken to."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[torch.Tensor] = []

    def generate(self, windows: Sequence[WindowInput], *rest: Any, **named: Any) -> list[list[np.ndarray]]:
        self.heard += [window.audio_tokens for window in windows]
        return super().generate(windows, *rest, **named)


def test_every_window_hears_its_own_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(40)], Fraction(1, 600))
    noise = np.random.default_rng(0).uniform(-1, 1, 16000 * 8 // 5) * np.linspace(0.05, 0.9, 16000 * 8 // 5)
    (tmp_path / "a.wav").write_bytes(encode_wav(noise.astype(np.float32), 16000))
    listener = Listener()
    pipeline = stand_in_pipeline(painter=listener)
    pipeline(video, tmp_path / "a.wav", tmp_path / "out.mp4", seed=1)
    with torch.inference_mode():
        hidden = pipeline.audio_encoder.hidden_states(load_audio(tmp_path / "a.wav"))
        expected = pipeline.audio_encoder.frame_tokens(hidden, 40)
    assert [len(tokens) for tokens in listener.heard] == [16, 16, 8]
    heard = torch.cat(listener.heard)
    error, to_the_next = (heard - expected).abs().mean(), (heard[:-1] - expected[1:]).abs().mean()
    assert error < 0.01 * to_the_next, (error, to_the_next)
