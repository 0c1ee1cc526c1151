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
MOST_OVERLAP = 15

LARGEST, ALL = "largest", "all"
LONGER_AUDIO = ("pingpong", "loop", "hold", "stop")
SHORTER_AUDIO = ("cut", "keep")
CODECS = ("h264", "hevc", "prores", "vp9", "av1")
USUAL_SUFFIX = {"h264": ".mp4", "hevc": ".mp4", "prores": ".mov", "vp9": ".mkv", "av1": ".mp4"}
KEEP, SDR = "keep", "sdr"
COLORS = (KEEP, SDR)
MOUTH, FACE = "mouth", "face"
PASTES = (MOUTH, FACE)
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


_CHOICES = {
    "longer_audio": LONGER_AUDIO,
    "shorter_audio": SHORTER_AUDIO,
    "codec": CODECS,
    "preset": PRESETS,
    "color": COLORS,
    "paste": PASTES,
    "scheduler": SCHEDULERS,
}
_SWITCHES = ("require_face", "color_match", "keep_readable", "deinterlace")
# Option -> (least, greatest, what to give instead of another number).
_WHOLE = {
    "num_inference_steps": (1, MOST_STEPS, f"1 to {MOST_STEPS}"),
    "seed": (0, LARGEST_SEED, f"a whole number from 0 (draw one) to {LARGEST_SEED}"),
    "crf": (0, 51, "0 (lossless) to 51"),
    "window_overlap": (0, MOST_OVERLAP, f"0 to {MOST_OVERLAP} frames"),
    "batch_windows": (1, 64, "1 to 64"),
    "feature_reuse": (1, 10, "1 (off) to 10"),
}


@dataclass(frozen=True)
class LipSyncOptions:
    """One job's choices; the same names are the keys of `configs/infer.yaml`. Raises UserError for any out of range."""

    guidance_scale: float | None = None  # 0 … 10, above 1 follows the sound harder; None = the weights' own
    guidance_start: float = 0.0  # 0 … 1, the share of the steps that are done without guidance; 0 as published
    num_inference_steps: int = 20  # 1 … 999
    seed: int = 0  # ≥ 0; 0 = draw one
    scheduler: str = DDIM  # how the noise is taken away, see `diffusion.schedulers`; "ddim" as published
    feature_reuse: int = 1  # n, 1 … 10: deep features are computed in every n-th step; 1 as published

    face: str | int = LARGEST  # "largest", "all", a number (0 = the leftmost) or the path of a picture of the person
    require_face: bool = False  # a frame without the face is an error, instead of passing through unchanged
    paste: str = MOUTH  # what of the face goes back: "mouth", the generated region alone, or "face", all, as published
    color_match: bool = False  # bring the generated face's mean colour to that of the skin around it
    window_overlap: int = 0  # frames that neighbouring windows share and fade over, 0 … 15; 0 as published
    batch_windows: int = 1  # windows through the network at once; changes speed and memory, no result

    longer_audio: str = "pingpong"  # what a shorter video does: "pingpong", "loop", "hold" (its last frame), "stop"
    shorter_audio: str = "cut"  # "cut" a longer video, or "keep" the rest of it as it is
    audio_track: str | int | None = None  # of several: a number from 0, or a language ("eng"); None = the default
    silence_gate: float | None = None  # dBFS, −90 … 0: below, the network hears silence; None = it hears everything

    codec: str = "h264"  # "h264", "hevc", "prores", "vp9" or "av1"
    crf: int = 18  # 0 (lossless) … 51; ProRes has none
    preset: str = "veryfast"  # x264's names of speed
    color: str = KEEP  # "keep" the source's own colours, or "sdr": PQ, HLG and BT.2020 are tone-mapped to BT.709
    deinterlace: bool = False  # interlaced pictures are made whole; else they stay as they are where the codec can
    keep_readable: bool = False  # a damaged video ends where it becomes unreadable, instead of being refused
    report: str | Path | None = None  # a JSON file to write, with what became of each frame

    def __post_init__(self) -> None:
        scale = self.guidance_scale
        if scale is not None and (not _is_number(scale) or not 0 <= scale <= LARGEST_GUIDANCE):
            raise UserError(f"guidance_scale={scale} is out of range; give 0 to {LARGEST_GUIDANCE:g}, or null")
        if not _is_number(self.guidance_start) or not 0 <= self.guidance_start <= 1:
            raise UserError(f"guidance_start={self.guidance_start} is out of range; give 0 (all steps) to 1 (none)")
        for key, (least, greatest, advice) in _WHOLE.items():
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
                raise UserError(f"{key}={value} is out of range; give {advice}")
        for key in _SWITCHES:
            if not isinstance(getattr(self, key), bool):
                raise UserError(f"{key}={getattr(self, key)} is neither true nor false")
        for key, known in _CHOICES.items():
            if getattr(self, key) not in known:
                raise UserError(f"{key}={getattr(self, key)} is unknown; use one of {', '.join(known)}")
        gate = self.silence_gate
        if gate is not None and (not _is_number(gate) or not -90 <= gate <= 0):
            raise UserError(f"silence_gate={gate} is out of range; give -90 to 0 (dBFS), or null")
        check_track(self.audio_track)
        _check_face(self.face)

    def changed(self, **changes: Any) -> "LipSyncOptions":
        """These options with some replaced. Raises UserError for a name that is no option."""
        known = [field.name for field in fields(self)]
        for key in changes:
            if key not in known:
                raise UserError(f"unknown option '{key}'; known: {', '.join(known)}")
        return replace(self, **changes)

    @property
    def usual_suffix(self) -> str:
        """Of an output that is not named: a kind of file that keeps all that the codec does."""
        return USUAL_SUFFIX[self.codec]

    @property
    def face_index(self) -> int | None:
        """The number of the face, counted from the left, if one was given."""
        text = str(self.face)
        return int(text) if text.isdecimal() else None

    @property
    def face_picture(self) -> Path | None:
        """The picture of the person, if one was given."""
        return None if self.face in (LARGEST, ALL) or self.face_index is not None else Path(str(self.face))


def _check_face(face: object) -> None:
    if isinstance(face, bool) or not isinstance(face, (str, int)) or (isinstance(face, int) and face < 0) or face == "":
        raise UserError(f"face={face} is unknown; give {LARGEST}, {ALL}, a number from 0, or the path of a picture")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
