"""One job, checked before any network is loaded: what goes in, what comes out, and the settings."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import UserError
from latentsync.inference.face_choice import check_face
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.picture_notes import check_codec, picture_notes
from latentsync.inference.windows import frames_of_audio
from latentsync.media.audio import SoundSurvey, check_length, survey_sound
from latentsync.media.audio_streams import Track
from latentsync.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, probe_video
from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.media.stills import AnimationReader, is_animated, read_image
from latentsync.media.traits import picture_traits

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


@dataclass(frozen=True)
class LipSyncRequest:
    """A job that can be run."""

    input: Path  # video or picture
    audio: Path  # the file whose sound is spoken and stored
    output: Path  # the video to write
    options: LipSyncOptions  # with the seed drawn
    width: int  # pixels of the input, upright
    height: int
    num_samples: int  # of the sound, at 16 kHz
    num_frames: int  # of the output; roughly, for a video of varying rate
    seamless: bool | None = None  # see `SoundSurvey`
    notes: tuple[str, ...] = ()  # lines on what of the pictures is not kept

    @property
    def seed(self) -> int:
        """> 0, already drawn."""
        return self.options.seed

    @property
    def is_picture(self) -> bool:
        """Whether the input is a picture."""
        return is_image(self.input)

    @property
    def audio_seconds(self) -> float:
        """Length of the sound."""
        return self.num_samples / SAMPLE_RATE


def check_request(
    input: str | Path,
    audio: str | Path | None,
    output: str | Path,
    options: LipSyncOptions | None = None,
    **changes: Any,
) -> LipSyncRequest:
    """Check everything that can be checked without a network; nothing is written.

    audio: None = the sound of the input video. options: None = the defaults; `changes` replace some by name.
    Raises UserError, one line that names the file or key and the remedy.
    """
    options = (options or LipSyncOptions()).changed(**changes)
    input, output = Path(input), Path(output)
    look = _look_at(input, options.keep_readable)
    if audio is None and not look.has_audio:
        kind = "a picture has no sound" if is_image(input) else "no audio stream"
        raise UserError(f"input '{input}': {kind}; pass audio=FILE")
    audio = input if audio is None else Path(audio)
    sound = _survey(audio, options.audio_track)
    check_output(output, input, audio)
    check_codec(options.codec, output)
    if options.report is not None:
        _check_report(Path(options.report), input, audio, output)
    check_face(options)
    return LipSyncRequest(
        input=input,
        audio=audio,
        output=output,
        options=options.changed(seed=int(options.seed) or 1 + secrets.randbelow(2**31 - 1)),
        width=look.width,
        height=look.height,
        num_samples=sound.num_samples,
        num_frames=_count_frames(look, sound.num_samples / SAMPLE_RATE, options),
        seamless=sound.seamless,
        notes=picture_notes(input, picture_traits(input, options.keep_readable), options, output),
    )


def check_output(output: Path, *sources: Path) -> None:
    """Raise UserError unless a video can be written there without destroying one of `sources`."""
    folder = output.parent
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        known = ", ".join(OUTPUT_SUFFIXES)
        raise UserError(f"output '{output}': cannot write '{output.suffix}' files; use one of {known}")
    if not folder.is_dir():
        raise UserError(f"output '{output}': folder '{folder}' does not exist; create it first")
    if output.is_dir():
        raise UserError(f"output '{output}': is a folder; give a file name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"output '{output}': no permission to write there; choose another folder")
    if output.exists() and any(output.samefile(source) for source in sources):
        raise UserError(f"output '{output}': would replace one of the inputs; give another name")


@dataclass(frozen=True)
class _Look:
    """width, height: upright. fps: of the output. seconds: of the input video, None for a picture."""

    width: int
    height: int
    has_audio: bool
    fps: float
    seconds: float | None


def _look_at(path: Path, keep_readable: bool) -> _Look:
    """What the input is. Raises UserError."""
    if not path.exists():
        raise UserError(f"input '{path}': no such file; check the path")
    if path.is_dir():
        raise UserError(f"input '{path}': is a folder; give a video or a picture")
    if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise UserError(f"input '{path}': '{path.suffix}' is not a known kind of picture or video; use one of {known}")
    if is_image(path):
        height, width = read_image(path).shape[:2]
        if is_animated(path):
            durations = AnimationReader(path).durations
            return _Look(width, height, False, 1000 * len(durations) / sum(durations), sum(durations) / 1000)
        return _Look(width, height, False, FPS, None)
    info = probe_video(path, keep_readable)
    return _Look(info.width, info.height, info.has_audio, float(info.fps), info.duration)


def _survey(audio: Path, track: Track) -> SoundSurvey:
    """The sound at 16 kHz. Raises UserError for a file without it, or with too little."""
    found = survey_sound(audio, SAMPLE_RATE, track)
    check_length(audio, found.num_samples, SAMPLE_RATE)
    return found


def _count_frames(look: _Look, audio_seconds: float, options: LipSyncOptions) -> int:
    seconds = audio_seconds
    if look.seconds is not None and options.longer_audio == "stop":
        seconds = min(seconds, look.seconds)
    if look.seconds is not None and options.shorter_audio == "keep":
        seconds = max(seconds, look.seconds)
    return frames_of_audio(seconds, look.fps)


def _check_report(path: Path, *others: Path) -> None:
    if not path.parent.is_dir() or path.is_dir() or path.suffix.lower() != ".json":
        raise UserError(f"report '{path}': give a .json file in a folder that exists")
    if any(path.absolute() == other.absolute() for other in others):
        raise UserError(f"report '{path}': is one of the job's own files; give another name")
