"""Fates from measurements: which candidates lie within the limits, and which stage turns the others down."""

import math
from collections.abc import Mapping

from data_prep.manifest import ACCEPTED, COLUMNS, REJECTED, STAGES, Limits, Row
from latentsync.errors import UserError

# (column, which side is exceeded) -> the reason that the manifest counts by.
_REASONS = {
    ("faces_found", "least"): "face lost too often",
    ("crop_face_width", "least"): "face too small",
    ("crop_face_height", "least"): "face too small",
    ("crop_yaw", "greatest"): "face turned to the side",
    ("crop_pitch", "greatest"): "face turned up or down",
    ("crop_roll", "greatest"): "face tilted",
    ("crop_inside", "least"): "face cut by the picture's edge",
    ("crop_centring", "greatest"): "face at the picture's edge",
    ("crop_sharpness", "least"): "face blurred",
    ("crop_brightness", "least"): "too dark",
    ("crop_brightness", "greatest"): "too bright",
    ("crop_clipped", "greatest"): "black or white patches",
    ("speaker_motion", "least"): "mouth does not move",
    ("speaker_loudness", "least"): "silent",
    ("speaker_correlation", "least"): "mouth does not follow the sound",
    ("speaker_rival", "greatest"): "another face talks",
    ("resample_fps", "least"): "too few frames a second",
    ("resample_repeated", "greatest"): "too many repeated frames",
    ("resample_irregularity", "greatest"): "irregular frame rate",
    ("align_scale", "greatest"): "face enlarged too much",
    ("align_outside", "greatest"): "crop reaches out of the picture",
    ("offset_frames", "least"): "sound too late",
    ("offset_frames", "greatest"): "sound too early",
    ("offset_confidence", "least"): "not in sync",
    ("quality_detail", "least"): "lacks detail",
    ("quality_blockiness", "greatest"): "coding blocks",
    ("quality_iqa", "least"): "poor picture",
    ("clips_seconds", "least"): "too short once the sound is moved",
}
LIMITED = tuple(dict.fromkeys(column for column, _ in _REASONS))
"""The columns that may have a limit."""


def parse_limits(config: Mapping[str, object]) -> Limits:
    """Column -> (least, greatest) from a configuration of [least, greatest] pairs, null = open; open ones are left out.

    Raises UserError for a column that cannot be limited and for anything but a pair.
    """
    limits: dict[str, tuple[float | None, float | None]] = {}
    for column, given in config.items():
        if column not in LIMITED:
            raise UserError(f"limits.{column}: no such measurement; known: {', '.join(LIMITED)}")
        pair = list(given) if isinstance(given, (list, tuple)) else []
        numbers = all(bound is None or isinstance(bound, (int, float)) for bound in pair)
        if given is None:
            continue
        if len(pair) != 2 or not numbers:
            raise UserError(f"limits.{column}={given}: give [least, greatest], null for an open end")
        least, greatest = (None if bound is None else float(bound) for bound in pair)
        if (least is not None and (column, "least") not in _REASONS) or (
            greatest is not None and (column, "greatest") not in _REASONS
        ):
            side = "least" if (column, "least") not in _REASONS else "greatest"
            raise UserError(f"limits.{column}: a {side} value is not a limit here; leave it null")
        if least is not None or greatest is not None:
            limits[column] = (least, greatest)
    return limits


def judge(row: Row, limits: Limits) -> Row:
    """The row with fate, stage and reason. A row that a stage turned down stays so; a measurement that is null, because
    its stage was left out or does not apply, is not judged."""
    if row.get("fate") is not None:
        return row
    for column in (name for stage in STAGES for name in COLUMNS if name.startswith(f"{stage}_")):
        value = row.get(column)
        if column not in limits or value is None:
            continue
        least, greatest = limits[column]
        # A measurement that is not a number lies within no limit.
        side = None
        if math.isnan(value) or (least is not None and value < least):
            side, bound = "least", least
        elif greatest is not None and value > greatest:
            side, bound = "greatest", greatest
        if side is not None:
            reason = _REASONS.get((column, side)) or _REASONS[column, "greatest"]
            verdict = {"fate": REJECTED, "stage": column.partition("_")[0], "reason": reason}
            limit = "" if bound is None else f", {side} is {bound:g}"
            return {**row, **verdict, "detail": f"{column} is {value:g}{limit}"}
    return {**row, "fate": ACCEPTED}
