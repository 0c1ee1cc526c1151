"""The manifest: one Parquet row for every clip candidate, and for every source, shot or track that gave none.

`OUTPUT/manifest.parquet` holds the columns below; what does not apply to a row is null. A column `<stage>_<measure>`
is a measurement of that stage. `limits` (inside the file, see `read_limits`) are the thresholds the fates came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet

from latentsync.errors import UserError
from latentsync.work.files import written_whole

if TYPE_CHECKING:
    import pandas  # takes a second to import, and only tables that are read need it

MANIFEST_NAME = "manifest.parquet"
THUMBNAILS = "thumbnails"
STAGES = ("probe", "shots", "faces", "crop", "speaker", "resample", "align", "offset", "quality", "clips")
"""In the order in which a candidate passes them; `stage` names the first that turned it down."""
ACCEPTED, REJECTED, FAILED = "accepted", "rejected", "failed"

Row = dict[str, Any]
Limits = Mapping[str, tuple[float | None, float | None]]
"""Column -> (least, greatest) that is accepted; None = open."""


@dataclass(frozen=True)
class Column:
    """kind: "text", "whole" or "number"; meaning: with its unit."""

    kind: str
    meaning: str


COLUMNS: dict[str, Column] = {
    "row_id": Column("text", "unique name of the row; the thumbnail's name"),
    "source": Column("text", "path of the video below the input folder"),
    "source_id": Column("text", "12 hexadecimal digits made from `source`; names OUTPUT/work/<source_id>"),
    "level": Column("text", "what the row stands for: source, shot, track or clip"),
    "shot": Column("whole", "number of the shot in the source, from 0"),
    "track": Column("whole", "number of the face track in the source, from 0"),
    "clip_key": Column("text", "key in the shards; only rows of level clip have one"),
    "start": Column("number", "seconds in the source"),
    "end": Column("number", "seconds in the source"),
    "fate": Column("text", "accepted, rejected (by a stage), or failed (an error, the time limit, a dead worker)"),
    "stage": Column("text", "the stage that turned it down; null for accepted"),
    "reason": Column("text", "why, without numbers, so that reasons can be counted; null for accepted"),
    "detail": Column("text", "the numbers or the error message behind the reason"),
    "thumbnail": Column("text", "JPEG, path below OUTPUT; null where there was no picture"),
    "split": Column("text", "the shards that clips of this source go to, train, val or test; null without a split"),
    "probe_seconds": Column("number", "duration of the pictures"),
    "probe_width": Column("whole", "pixels, upright"),
    "probe_height": Column("whole", "pixels, upright"),
    "probe_fps": Column("number", "mean frames a second, as the file says"),
    "probe_rotation": Column("whole", "degrees by which the stored pictures are turned"),
    "probe_sound": Column("text", "name of the file with its sound, where that lies apart; null for its own"),
    "shots_seconds": Column("number", "length of the shot"),
    "shots_begin": Column("text", "how the shot begins: start, cut or dissolve"),
    "faces_seconds": Column("number", "length of the face track"),
    "faces_found": Column("number", "share of the clip's frames in which the face was found; the rest is interpolated"),
    "faces_others": Column("whole", "other faces seen during the clip"),
    "crop_face_width": Column("number", "median width of the face's box, source pixels"),
    "crop_face_height": Column("number", "median height of the face's box, source pixels"),
    "crop_yaw": Column("number", "degrees to the side, 90 % of the frames have less"),
    "crop_pitch": Column("number", "degrees up or down, 90 % of the frames have less"),
    "crop_roll": Column("number", "degrees of tilt, 90 % of the frames have less"),
    "crop_inside": Column("number", "share of the face's box inside the picture, 90 % of the frames have more"),
    "crop_centring": Column("number", "distance of face and picture centres, 1 = a corner; median"),
    "crop_sharpness": Column("number", "variance of the Laplacian of the face at 128 pixels width; median"),
    "crop_brightness": Column("number", "mean grey level of the face, 0 … 255; median"),
    "crop_clipped": Column("number", "share of black (≤ 5) or white (≥ 250) pixels in the face; median"),
    "speaker_motion": Column("number", "how much the mouth's opening varies: its deviation, in face heights"),
    "speaker_loudness": Column("number", "loud parts of the sound (95 % quantile of frames), dB of full scale"),
    "speaker_correlation": Column("number", "of mouth opening and loudness at the best shift, −1 … 1"),
    "speaker_rival": Column("number", "score of the likeliest other face minus the own; positive = the other talks"),
    "resample_fps": Column("number", "source frames a second during the clip, by their time stamps"),
    "resample_repeated": Column("number", "share of the clip's frames that repeat the one before"),
    "resample_irregularity": Column("number", "deviation of the source's frame intervals / their mean"),
    "align_scale": Column("number", "crop pixels for one source pixel; above 1 the face is enlarged; median"),
    "align_outside": Column("number", "share of the crop that lies outside the picture; greatest"),
    "offset_frames": Column("number", "frames by which the source's sound is early (negative: late); corrected"),
    "offset_confidence": Column("number", "the SyncNet's confidence; its scale depends on the SyncNet"),
    "offset_after": Column("number", "offset that is left, measured again with the corrected sound"),
    "quality_detail": Column("number", "fine structure in the crop, share of its contrast"),
    "quality_blockiness": Column("number", "steps at the 8-pixel grid / steps elsewhere in the source; 1 = none"),
    "quality_iqa": Column("number", "hyperIQA, 0 … 100, mean of first, middle and last frame"),
    "clips_seconds": Column("number", "length of the clip as stored"),
    "clips_frames": Column("whole", "frames of the clip as stored"),
    "clips_bytes": Column("whole", "bytes of video and sound as stored"),
}
_TYPES = {"text": pyarrow.string(), "whole": pyarrow.int64(), "number": pyarrow.float64()}
_LIMITS_KEY = b"limits"


def write_manifest(path: Path, rows: Iterable[Row], limits: Limits) -> None:
    """Write rows, sorted by source, start, shot and track; the file appears when it is complete.

    Raises ValueError for a column that the manifest does not have, UserError where it cannot be written.
    """
    ordered = sorted(rows, key=lambda row: (row["source"], row.get("start") or 0.0, row["row_id"]))
    unknown = {name for row in ordered for name in row} - set(COLUMNS)
    if unknown:
        raise ValueError(f"manifest has no column {sorted(unknown)}")
    schema = pyarrow.schema(
        [(name, _TYPES[column.kind]) for name, column in COLUMNS.items()],
        metadata={_LIMITS_KEY: json.dumps({name: list(limits[name]) for name in sorted(limits)}).encode()},
    )
    table = pyarrow.table({name: [row.get(name) for row in ordered] for name in COLUMNS}, schema=schema)
    try:
        with written_whole(path) as part:
            pyarrow.parquet.write_table(table, part)
    except OSError as error:
        raise UserError(f"manifest '{path}': cannot be written ({error.strerror}); free space, run again") from error


def read_manifest(path: str | Path) -> pandas.DataFrame:
    """The manifest; `path`: the file or the output folder that holds it. Raises UserError."""
    return _read(path).to_pandas()


def read_limits(path: str | Path) -> dict[str, tuple[float | None, float | None]]:
    """The thresholds the fates came from, column -> (least, greatest); only of stages that were run."""
    stored = json.loads(_read(path).schema.metadata[_LIMITS_KEY])
    return {name: (least, greatest) for name, (least, greatest) in stored.items()}


def _read(path: str | Path) -> pyarrow.Table:
    path = Path(path)
    path = path / MANIFEST_NAME if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"manifest '{path}': no such file; give the output folder of data_prep.prepare")
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"manifest '{path}': not a Parquet file ({error}); run data_prep.prepare again") from error
    if set(COLUMNS) - set(table.column_names) or _LIMITS_KEY not in (table.schema.metadata or {}):
        raise UserError(f"manifest '{path}': of another version; run data_prep.prepare again")
    return table
