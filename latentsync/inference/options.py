"""What a user can choose for one job, each choice checked where it is made."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from latentsync.diffusion.scheduler_names import DDIM, SCHEDULERS
from latentsync.errors import UserError
from latentsync.media.audio_streams import check_track

LARGEST_GUIDANCE = 10.0
MOST_STEPS = 999  # of the 1000 training steps, as the published spacing starts at step 1
LARGEST_SEED = 2**63 - 1

LARGEST, ALL = "largest", "all"
LONGER_AUDIO = ("pingpong", "loop", "hold", "stop")
SHORTER_AUDIO = ("cut", "keep")
CODECS = ("h264", "hevc", "prores", "vp9", "av1")
KEEP, SDR = "keep", "sdr"
COLORS = (KEEP, SDR)
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class LipSyncOptions:
    """One job's choices; the same names are the keys of `configs/infer.yaml`. Raises UserError for any out of range.

    guidance_scale: 0 … 10, above 1 follows the sound harder. num_inference_steps: 1 … 999. seed: ≥ 0, 0 = draw one.
    face: "largest", "all", a number (0 = the leftmost) or the path of a picture of the person. require_face: a frame
    without the face is an error instead of passing through unchanged.
    longer_audio: what a video shorter than the sound does: "pingpong" (back and forth), "loop", "hold" (its last
    frame), "stop" (the sound is cut). shorter_audio: "cut" the video, or "keep" the rest of it as it is.
    silence_gate: dBFS (−90 … 0) under which the network hears silence; None: it hears everything.
    window_overlap: frames that neighbouring windows share and fade over, 0 … 15; 0 as published. batch_windows: windows
    that go through the network at once; more is faster on a GPU and takes memory, and changes no result.
    scheduler: how the noise is taken away, see `diffusion.schedulers`; "ddim" as published. feature_reuse: 1 … 10: deep
    features are computed in every so manieth step; 1 = in each, as published, more is faster and less exact.
    color_match: bring the generated face's mean colour to that of the skin around it.
    codec: "h264", "hevc", "prores", "vp9" or "av1"; crf: 0 (lossless) … 51, which ProRes has not; preset: x264's names
    of speed. color: "keep" the source's own colours, or "sdr": PQ, HLG and BT.2020 are tone-mapped to BT.709.
    deinterlace: interlaced pictures are made whole; otherwise they stay interlaced where the codec can.
    audio_track: which of several sound tracks is heard and stored: a number from 0 or a language tag ("eng"); None: the
    default one. keep_readable: a damaged video ends where it becomes unreadable, instead of being refused.
    report: a JSON file to write, with what became of each frame.
    """

    guidance_scale: float = 1.0
    num_inference_steps: int = 20
    seed: int = 0
    face: str | int = LARGEST
    require_face: bool = False
    longer_audio: str = "pingpong"
    shorter_audio: str = "cut"
    silence_gate: float | None = None
    window_overlap: int = 0
    batch_windows: int = 1
    scheduler: str = DDIM
    feature_reuse: int = 1
    color_match: bool = False
    codec: str = "h264"
    crf: int = 18
    preset: str = "veryfast"
    color: str = KEEP
    deinterlace: bool = False
    audio_track: str | int | None = None
    keep_readable: bool = False
    report: str | Path | None = None

    def __post_init__(self) -> None:
        check_settings(self.guidance_scale, self.num_inference_steps, self.seed)
        _check_face(self.face)
        check_track(self.audio_track)
        for key in ("require_face", "color_match", "keep_readable", "deinterlace"):
            if not isinstance(getattr(self, key), bool):
                raise UserError(f"{key}={getattr(self, key)} is neither true nor false")
        for key, known in (
            ("longer_audio", LONGER_AUDIO), ("shorter_audio", SHORTER_AUDIO), ("codec", CODECS), ("preset", PRESETS),
            ("color", COLORS), ("scheduler", SCHEDULERS),
        ):  # fmt: skip
            if getattr(self, key) not in known:
                raise UserError(f"{key}={getattr(self, key)} is unknown; use one of {', '.join(known)}")
        if not _is_whole(self.crf) or not 0 <= self.crf <= 51:
            raise UserError(f"crf={self.crf} is out of range; give 0 (lossless) to 51")
        if not _is_whole(self.window_overlap) or not 0 <= self.window_overlap <= 15:
            raise UserError(f"window_overlap={self.window_overlap} is out of range; give 0 to 15 frames")
        if not _is_whole(self.batch_windows) or not 1 <= self.batch_windows <= 64:
            raise UserError(f"batch_windows={self.batch_windows} is out of range; give 1 to 64")
        if not _is_whole(self.feature_reuse) or not 1 <= self.feature_reuse <= 10:
            raise UserError(f"feature_reuse={self.feature_reuse} is out of range; give 1 (off) to 10")
        gate = self.silence_gate
        if gate is not None and (not _is_number(gate) or not -90 <= gate <= 0):
            raise UserError(f"silence_gate={gate} is out of range; give -90 to 0 (dBFS), or null")

    def changed(self, **changes: Any) -> "LipSyncOptions":
        """These options with some replaced. Raises UserError for a name that is no option."""
        known = [field.name for field in fields(self)]
        for key in changes:
            if key not in known:
                raise UserError(f"unknown option '{key}'; known: {', '.join(known)}")
        return replace(self, **changes)

    @property
    def face_index(self) -> int | None:
        """The number of the face, counted from the left, if one was given."""
        text = str(self.face)
        return int(text) if text.isdecimal() else None

    @property
    def face_picture(self) -> Path | None:
        """The picture of the person, if one was given."""
        return None if self.face in (LARGEST, ALL) or self.face_index is not None else Path(str(self.face))


def check_settings(guidance_scale: float, num_inference_steps: int, seed: int) -> None:
    """Raise UserError for a setting out of range or not a number."""
    if not _is_number(guidance_scale) or not 0 <= guidance_scale <= LARGEST_GUIDANCE:
        raise UserError(f"guidance_scale={guidance_scale} is out of range; give 0 to {LARGEST_GUIDANCE:g}")
    if not _is_whole(num_inference_steps) or not 1 <= num_inference_steps <= MOST_STEPS:
        raise UserError(f"num_inference_steps={num_inference_steps} is out of range; give 1 to {MOST_STEPS}")
    if not _is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed={seed} is out of range; give a whole number from 0 (draw one) to {LARGEST_SEED}")


def _check_face(face: object) -> None:
    if isinstance(face, bool) or not isinstance(face, (str, int)) or (isinstance(face, int) and face < 0) or face == "":
        raise UserError(f"face={face} is unknown; give {LARGEST}, {ALL}, a number from 0, or the path of a picture")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
