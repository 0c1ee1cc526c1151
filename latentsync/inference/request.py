"""One job, checked before any network is loaded: what goes in, what comes out, and the settings."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.errors import UserError
from latentsync.inference.plan import frames_of_audio
from latentsync.media.audio import load_audio
from latentsync.media.frames import read_image
from latentsync.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, probe_video

SAMPLE_RATE = 16000
OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
LARGEST_GUIDANCE = 10.0
MOST_STEPS = 999  # of the 1000 training steps, as the published spacing starts at step 1
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class LipSyncRequest:
    """A job that can be run.

    input: video or picture, width × height pixels, upright. audio: the file whose sound is spoken and stored; wave:
    the same as float32 (N,), mono, 16 kHz. output: the video to write, num_frames at 25 a second. seed: > 0, already
    drawn.
    """

    input: Path
    audio: Path
    output: Path
    wave: np.ndarray
    width: int
    height: int
    num_frames: int
    guidance_scale: float
    num_inference_steps: int
    seed: int

    @property
    def is_picture(self) -> bool:
        """Whether the input is a picture."""
        return is_image(self.input)

    @property
    def audio_seconds(self) -> float:
        """Length of the sound."""
        return len(self.wave) / SAMPLE_RATE


def check_request(
    input: str | Path,
    audio: str | Path | None,
    output: str | Path,
    guidance_scale: float = 1.0,
    num_inference_steps: int = 20,
    seed: int = 0,
) -> LipSyncRequest:
    """Check everything that can be checked without a network; nothing is written.

    audio: None = the sound of the input video. guidance_scale: 0 … 10; num_inference_steps: 1 … 999; seed: ≥ 0, 0 =
    draw one.
    Raises UserError, one line that names the file or key and the remedy.
    """
    check_settings(guidance_scale, num_inference_steps, seed)
    input, output = Path(input), Path(output)
    width, height, has_audio = _look_at(input)
    if audio is None and not has_audio:
        kind = "a picture has no sound" if is_image(input) else "no audio stream"
        raise UserError(f"input '{input}': {kind}; pass audio=FILE")
    audio = input if audio is None else Path(audio)
    wave = load_audio(audio, SAMPLE_RATE)
    check_output(output, input, audio)
    return LipSyncRequest(
        input=input,
        audio=audio,
        output=output,
        wave=wave,
        width=width,
        height=height,
        num_frames=frames_of_audio(len(wave) / SAMPLE_RATE),
        guidance_scale=float(guidance_scale),
        num_inference_steps=int(num_inference_steps),
        seed=int(seed) or 1 + secrets.randbelow(2**31 - 1),
    )


def check_settings(guidance_scale: float, num_inference_steps: int, seed: int) -> None:
    """Raise UserError for a setting out of range or not a number."""
    if not _is_number(guidance_scale) or not 0 <= guidance_scale <= LARGEST_GUIDANCE:
        raise UserError(f"guidance_scale={guidance_scale} is out of range; give 0 to {LARGEST_GUIDANCE:g}")
    if not _is_whole(num_inference_steps) or not 1 <= num_inference_steps <= MOST_STEPS:
        raise UserError(f"num_inference_steps={num_inference_steps} is out of range; give 1 to {MOST_STEPS}")
    if not _is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed={seed} is out of range; give a whole number from 0 (draw one) to {LARGEST_SEED}")


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


def _look_at(path: Path) -> tuple[int, int, bool]:
    """(width, height, whether there is sound) of the input. Raises UserError."""
    if not path.exists():
        raise UserError(f"input '{path}': no such file; check the path")
    if path.is_dir():
        raise UserError(f"input '{path}': is a folder; give a video or a picture")
    if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise UserError(f"input '{path}': '{path.suffix}' is not a known kind of picture or video; use one of {known}")
    if is_image(path):
        height, width = read_image(path).shape[:2]
        return width, height, False
    info = probe_video(path)
    return info.width, info.height, info.has_audio


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
