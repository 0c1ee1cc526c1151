"""From stored records to the result: fates, the manifest, and shards whose bytes do not depend on how the run went."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_prep.clips import read_clip
from data_prep.limits import judge
from data_prep.manifest import ACCEPTED, COLUMNS, FAILED, MANIFEST_NAME, THUMBNAILS, Limits, Row, write_manifest
from data_prep.sources import Source
from data_prep.split import PARTS, Split
from data_prep.store import Store
from latentsync.data.shard_writer import INDEX_NAME, ShardWriter
from latentsync.errors import UserError
from latentsync.work.files import folder_written_whole, remove_leftovers, write_whole

SHARDS = "shards"
_SUMMARY = "shards.json"
# What a runner says of a failure begins so; the manifest counts by the words on the right.
_FAILURES = {"no progress": "time limit", "its worker process": "worker died", "OSError": "disk or file error"}


def judged_rows(
    sources: Iterable[Source], store: Store, limits: Limits, failures: Mapping[str, str], split: Split
) -> list[Row]:
    """The rows of all sources, with fates and parts. failures: source name -> why there is no record of it."""
    rows: list[Row] = []
    for source in sources:
        part = {"split": split.part(source.name)}
        record = None if source.name in failures else store.read(source)
        if record is None:
            gone = "OSError: its record is gone or the video has changed since"
            rows.append(_failed_row(source, failures.get(source.name, gone)) | part)
        else:
            rows += [judge(row, limits) | part for row in record.rows]
    return rows


def write_result(
    output: Path, rows: list[Row], store: Store, limits: Limits, clips_per_shard: int, split: Split
) -> None:
    """Write shards, then the manifest; thumbnails of rows that are no more go. Raises UserError on a full disk."""
    accepted = sorted((row for row in rows if row["fate"] == ACCEPTED), key=lambda row: row["clip_key"])
    try:
        _write_shards(output, accepted, store, clips_per_shard, split)
        write_manifest(
            output / MANIFEST_NAME, ({name: row[name] for name in COLUMNS if name in row} for row in rows), limits
        )
        kept = {Path(row["thumbnail"]).name for row in rows if row.get("thumbnail")}
        for path in (output / THUMBNAILS).iterdir():
            if path.name not in kept:
                path.unlink()
    except OSError as error:
        raise UserError(
            f"output '{output}': cannot be written ({error.strerror}); free space and run the same command again"
        ) from error


def _failed_row(source: Source, failure: str) -> Row:
    reason = next((words for begin, words in _FAILURES.items() if failure.startswith(begin)), "error")
    return {
        "row_id": source.id,
        "source": source.name,
        "source_id": source.id,
        "level": "source",
        "start": 0.0,
        "fate": FAILED,
        "reason": reason,
        "detail": failure,
    }


def _write_shards(output: Path, accepted: list[Row], store: Store, clips_per_shard: int, split: Split) -> None:
    """Fill OUTPUT/shards (with a split: its folders) anew, in the order of the keys, unless they hold just these."""
    folder = output / SHARDS
    parts = {"": accepted}
    if split.by is not None:
        parts = {name: [row for row in accepted if row["split"] == name] for name in PARTS}
    summary = _summary(accepted, clips_per_shard)
    with suppress(OSError, ValueError):
        there = all((folder / name / INDEX_NAME).is_file() for name in parts)
        if json.loads((output / _SUMMARY).read_text()) == summary and there:
            return
    remove_leftovers(output, SHARDS)
    with folder_written_whole(folder) as unfinished:
        for name, rows in parts.items():
            with ShardWriter(unfinished / name, clips_per_shard) as writer:
                for row in rows:
                    writer.write(read_clip(store.folder / row["source_id"], row["clip_key"], row["metadata"]))
    write_whole(output / _SUMMARY, json.dumps(summary) + "\n")


def _summary(accepted: list[Row], clips_per_shard: int) -> dict[str, Any]:
    """What the shards are made from: equal summaries, equal shards."""
    digest = hashlib.sha256()
    for row in accepted:
        told = [row["clip_key"], row["metadata"], row["clips_bytes"], row["split"]]
        digest.update(json.dumps(told, sort_keys=True).encode())
    return {"clips": len(accepted), "clips_per_shard": clips_per_shard, "sha256": digest.hexdigest()}
