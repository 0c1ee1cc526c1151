"""Videos with planted faults, and what data preparation makes of them.

Synthetic heads and the default limits. Where sound and time are at stake: landmarks from the generator and the embedded
SyncNet, which knows no other crops. Where finding the face is: MediaPipe, and no SyncNet.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from configs.compose import load_config
from data_prep.av_offset import ScorerMaker
from data_prep.limits import parse_limits
from data_prep.manifest import Row
from data_prep.parts import Measuring
from data_prep.prepare import prepare
from latentsync.synthetic.clip import SyntheticClip, draw_clip
from latentsync.work.runner import Runner

RESOLUTION, SECONDS, FPS = 128, 4.0, 25
CLIPS = {"min_seconds": 2.0, "max_seconds": 4.0}
_CLOCK = Fraction(1, 60_000)
_TALKING, _SILENT_MOUTH = 100_003, 100_004


@dataclass(frozen=True)
class Case:
    """A video with a fault. fates: sorted: "accepted" for each clip, each reason once; more than one may be right.
    delay: frames by which the sound is late; None where the face, not the sound, is at stake."""

    name: str
    make: Callable[[Path], None]
    fates: Sequence[list[str]]
    delay: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a case. right: the fates are expected ones, and the offset is within a frame."""

    case: Case
    fates: list[str]
    offsets: list[float]

    @property
    def right(self) -> bool:
        near = self.case.delay is None or all(abs(offset + self.case.delay) <= 1 for offset in self.offsets)
        return self.fates in list(self.case.fates) and near


def head(identity: int = _TALKING, seconds: float = SECONDS) -> SyntheticClip:
    """A person in a scene of 320 × 240."""
    return draw_clip(identity, seconds, RESOLUTION, 1, mode="scene")


def write_video(
    path: Path,
    frames: Sequence[np.ndarray] | np.ndarray,
    wave: np.ndarray | None,
    times: Iterable[float] | None = None,
    rate: int = 16000,
    channels: int = 1,
    rotation: int = 0,
    landmarks: np.ndarray | None = None,
) -> None:
    """frames (F, H, W, 3) uint8 RGB shown from `times` in seconds, default 25 a second; wave (N,) at `rate`; rotation:
    degrees by which a player turns the stored pictures; landmarks (F, 3, 2): written beside it."""
    if landmarks is not None:
        path.with_suffix(".json").write_text(json.dumps({"landmarks3": landmarks.tolist()}))
    stamps = np.arange(len(frames)) / FPS if times is None else np.asarray(list(times))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=60, options={"crf": "14"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.time_base = "yuv420p", _CLOCK
        video.codec_context.time_base = _CLOCK
        if rotation:
            video.set_display_rotation(-rotation)
        layout = "stereo" if channels == 2 else "mono"
        audio = None if wave is None else container.add_stream("aac", rate=rate, layout=layout)
        for picture, stamp in zip(frames, stamps):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(stamp / _CLOCK), _CLOCK
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and wave is not None:
            planes = np.ascontiguousarray(np.tile(wave.astype(np.float32), (channels, 1)))
            sound = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            sound.sample_rate, sound.pts = rate, 0
            container.mux(audio.encode(sound))
            container.mux(audio.encode())


def delayed(path: Path, frames: int) -> None:
    """Sound late by so many frames."""
    clip = head()
    moved = np.zeros_like(clip.wave)
    samples = frames * 640
    if samples >= 0:
        moved[samples:] = clip.wave[: len(moved) - samples]
    else:
        moved[:samples] = clip.wave[-samples:]
    write_video(path, clip.frames, moved, landmarks=clip.landmarks3)


def joined(path: Path, overlap: int) -> None:
    """Two people one after the other, with a hard cut, or a dissolve over `overlap` frames."""
    first, second = head(), head(_SILENT_MOUTH)
    share = ((np.arange(overlap) + 1) / (overlap + 1))[:, None, None, None]
    mixed = first.frames[len(first.frames) - overlap :] * (1 - share) + second.frames[:overlap] * share
    frames = [first.frames[: len(first.frames) - overlap], mixed.astype(np.uint8), second.frames[overlap:]]
    sound = [first.wave[: len(first.wave) - overlap * 640], second.wave]
    points = np.concatenate([first.landmarks3, second.landmarks3[overlap:]])
    write_video(path, np.concatenate(frames), np.concatenate(sound), landmarks=points)


def without_face(path: Path) -> None:
    """A moving pattern."""
    columns = np.arange(320)[None, :, None] + 4 * np.arange(100)[:, None, None, None]
    frames = np.broadcast_to(128 + 60 * np.sin(columns / 15), (100, 240, 320, 3)).astype(np.uint8)
    write_video(path, frames, head().wave)


def two_faces(path: Path) -> None:
    """Side by side, one of them with a mouth that stays shut."""
    talking, other = head(), head(_SILENT_MOUTH)
    still = np.broadcast_to(other.frames[int(np.argmin(other.articulation.opening))], other.frames.shape)
    write_video(path, np.concatenate([talking.frames, still], axis=2), talking.wave)


def leaves_and_returns(path: Path) -> None:
    """Out of the picture to the side, away for a second, and back."""
    clip = head(seconds=2 * SECONDS)
    width = clip.frames.shape[2]
    away = np.interp(np.arange(len(clip.frames)), [80, 92, 108, 120], [0, width, width, 0]).astype(int)
    frames = np.empty_like(clip.frames)
    for frame, source, shift in zip(frames, clip.frames, away):
        frame[:, shift:] = source[:, : width - shift]
        frame[:, :shift] = source[:, :1]
    write_video(path, frames, clip.wave)


def at_rate(path: Path, fps: float) -> None:
    """The pictures of a 25 fps clip at another rate."""
    clip = head()
    shown_at(path, clip, np.arange(round(SECONDS * fps)) / fps)


def shown_at(path: Path, clip: SyntheticClip, times: np.ndarray) -> None:
    """The clip with a picture at each of `times`, in seconds."""
    numbers = (times * FPS + 1e-6).astype(int)
    # Landmarks are one for each picture at 25 a second, whatever the video's rate; the last picture may stay longer.
    landmarks = np.concatenate([clip.landmarks3, clip.landmarks3[-1:].repeat(2, axis=0)])
    write_video(path, clip.frames[numbers], clip.wave, times, landmarks=landmarks)


def variable_rate(path: Path) -> None:
    """Pictures 20, 40 or 60 ms apart, as a telephone films."""
    clip = head()
    steps = np.random.default_rng(0).choice([0.02, 0.04, 0.06], 200).cumsum()
    times = np.concatenate([[0.0], steps[steps < SECONDS - 0.04]])
    shown_at(path, clip, times)


def with_sound(path: Path, rate: int, channels: int) -> None:
    """The sound at another rate, stereo or mono."""
    clip = head()
    places = np.arange(round(len(clip.wave) * rate / 16000)) * 16000 / rate
    wave = np.interp(places, np.arange(len(clip.wave)), clip.wave)
    write_video(path, clip.frames, wave, rate=rate, channels=channels, landmarks=clip.landmarks3)


def altered(path: Path, change: Callable[[np.ndarray], np.ndarray], **options: Any) -> None:
    """A clip whose pictures (F, H, W, 3) are changed."""
    clip = head()
    write_video(path, change(clip.frames), clip.wave, **options)


def small(frames: np.ndarray) -> np.ndarray:
    """A face a quarter as large, on grey."""
    frame = np.full_like(frames, 128)
    frame[:, 90:150, 120:200] = frames[:, 2::4, 2::4]
    return frame


def truncated(path: Path) -> None:
    """The first half of a file."""
    delayed(path, 0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def silent(path: Path) -> None:
    """Sound, but all zeros."""
    write_video(path, head().frames, np.zeros(round(SECONDS * 16000)))


def mute(path: Path) -> None:
    """No sound stream."""
    write_video(path, head().frames, None)


ONE, TWO = [["accepted"]], [["accepted", "accepted"]]
SMALL = [["no face"], ["face too small"], ["face track too short"]]


def sound_cases(delays: Iterable[int] = range(-12, 13)) -> list[Case]:
    """Sound and time at stake; `delays` of the sound in frames: ± 6 are accepted, as published."""
    return [
        *(Case(f"sound {n:+d} frames", partial(delayed, frames=n), _at_delay(n), n) for n in delays),
        *(Case(f"{fps:g} fps", partial(at_rate, fps=fps), ONE + TWO, 0) for fps in (23.976, 29.97, 30, 50, 60)),
        Case("variable frame rate", variable_rate, ONE, 0),
        Case("sound at 8 kHz", partial(with_sound, rate=8000, channels=1), ONE, 0),
        Case("sound at 44.1 kHz, stereo", partial(with_sound, rate=44100, channels=2), ONE, 0),
        Case("sound at 48 kHz, stereo", partial(with_sound, rate=48000, channels=2), ONE, 0),
        Case("hard cut", partial(joined, overlap=0), TWO, 0),
        Case("dissolve", partial(joined, overlap=10), TWO, 0),
    ]


def _at_delay(delay: int) -> list[list[str]]:
    """The measured offset may be a frame off, so that at the limit either is right."""
    beyond = [["sound too late" if delay > 0 else "sound too early"]]
    return ONE if abs(delay) < 6 else beyond if abs(delay) > 7 else ONE + beyond


def picture_cases() -> list[Case]:
    """The face or the file at stake."""
    half_out = ["accepted", "crop reaches out of the picture"]  # frames on the way out or in belong to the clip
    other = [["accepted", "another face talks"], ["accepted", "mouth does not move"]]
    return [
        Case("no face", without_face, [["no face"]]),
        Case("two faces, one talks", two_faces, other),
        Case("face leaves and returns", leaves_and_returns, [*TWO, half_out]),
        Case("rotated telephone video", partial(altered, change=_turned, rotation=90), ONE),
        Case("upside down", partial(altered, change=lambda f: f[:, ::-1, ::-1]), [["face tilted"], *SMALL]),
        Case("very small face", partial(altered, change=small), SMALL),
        Case("black", partial(altered, change=np.zeros_like), [["no face"]]),
        Case("silent", silent, [["silent"]]),
        Case("no sound stream", mute, [["no sound"]]),
        Case("truncated file", truncated, [["cannot be read"]]),
        Case("zero length", Path.touch, [["empty file"]]),
        Case("text named .mp4", lambda path: path.write_text("no video") and None, [["cannot be read"]]),
    ]


def _turned(frames: np.ndarray) -> np.ndarray:
    return np.rot90(frames, 1, axes=(1, 2))


def judged(chosen: Sequence[Case], folder: Path, runner: Runner, sound: bool) -> list[Verdict]:
    """Make the videos below `folder`, prepare them, and compare. sound: as `sound_cases` need it."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    names = {case.name: f"case{number:03d}.mp4" for number, case in enumerate(chosen)}
    for case in chosen:
        case.make(raw / names[case.name])
    rows = _prepared(raw, folder / "out", runner, sound)
    return [Verdict(case, *_found(rows, names[case.name])) for case in chosen]


def _prepared(raw: Path, output: Path, runner: Runner, sound: bool) -> list[Row]:
    config = load_config("data_prep/prepare", ["input=.", "output=.", f"syncnet={'demo' if sound else 'none'}"])
    limits = parse_limits({name: pair if pair is None else list(pair) for name, pair in config.limits.items()})
    scorer = ScorerMaker(config.syncnet._target_, {"weights": config.syncnet.weights}) if sound else None
    measuring = Measuring(RESOLUTION, clips=CLIPS, finder={"kind": "json" if sound else "mediapipe"})
    return prepare(raw, output, runner, measuring, limits, scorer, max_failed_share=1)


def _found(rows: list[Row], name: str) -> tuple[list[str], list[float]]:
    mine = [row for row in rows if row["source"] == name]
    accepted = [row["fate"] for row in mine if row["fate"] == "accepted"]
    fates = [*accepted, *sorted({str(row["reason"]) for row in mine if row["fate"] != "accepted"})]
    return fates, [row["offset_frames"] for row in mine if row.get("offset_frames") is not None]
