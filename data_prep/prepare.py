"""From a folder of raw video to shards that training accepts: `python -m data_prep.prepare input=DIR output=DIR`.

OUTPUT/shards holds the clips, OUTPUT/manifest.parquet what became of every candidate and why, OUTPUT/report.html the
same for people, OUTPUT/work what was measured. Run again, it goes on where it stopped; with other limits it decodes
nothing that it has measured.
"""

import fcntl
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from configs.compose import command
from data_prep.assemble import SHARDS, judged_rows, write_result
from data_prep.av_offset import ScorerMaker
from data_prep.limits import parse_limits
from data_prep.manifest import ACCEPTED, FAILED, MANIFEST_NAME, REJECTED, THUMBNAILS, Limits, Row
from data_prep.parts import Measuring, check_needs
from data_prep.preparation import Preparation
from data_prep.put import check_place, put_result
from data_prep.report import REPORT_NAME, write_report
from data_prep.sources import Source, find_sources, with_sounds
from data_prep.split import PARTS, Split
from data_prep.store import Store
from latentsync.errors import UserError
from latentsync.storage.addresses import is_remote
from latentsync.work.runner import Runner, run_all

_SHOWN = 10  # names in a line


def prepare(
    input: str | Path,
    output: str | Path,
    runner: Runner,
    measuring: Measuring,
    limits: Limits,
    make_scorer: ScorerMaker | None = None,
    keep_rejected: bool = True,
    clips_per_shard: int = 64,
    max_failed_share: float = 0.5,
    audio: str | Path | None = None,
    split: Split | None = None,
) -> list[Row]:
    """Prepare all videos below `input`; returns the manifest's rows.

    make_scorer: loads the sync scorer, None leaves the offset unmeasured and uncorrected. keep_rejected: store clips
    of rejected candidates too, so that wider limits need no video again. max_failed_share: of the sources; when more of
    them fail (not: are rejected), the run ends. audio: a folder of sounds named as the videos, None: the videos' own,
    or for silent ones those beside them. split: into train, val and test. Raises UserError for what cannot be used or
    is missing, before any source is opened, and for too many failures.
    """
    check_needs(measuring, make_scorer)
    output, split = Path(output), split or Split()
    sources = _with_their_sounds(find_sources(input), Path(input), audio)
    for part in split.empty(source.name for source in sources):
        _note(f"split: none of {len(sources)} sources falls to {part}; give more, a larger split.{part}, another seed")
    least = {"clips_seconds": (0.9 * float(measuring.clips.get("min_seconds", 5.0)), None)}
    limits = {**least, **limits}
    with _only_run(output):
        (output / THUMBNAILS).mkdir(exist_ok=True)
        store = Store(output / "work", measuring, make_scorer and make_scorer.described())
        store.clean()
        preparation = Preparation(output, store, measuring, limits, make_scorer, keep_rejected)
        todo = [source for source in sources if not store.complete(source, limits)]
        failures: dict[str, str] = {}
        if todo:
            failures = _run(runner, preparation, todo, max_failed_share * len(sources))
        rows = judged_rows(sources, store, limits, failures, split)
        write_result(output, rows, store, limits, clips_per_shard, split)
        write_report(output)
        return rows


def summary(rows: list[Row], output: Path) -> str:
    """What came out, for people."""
    clips = [row for row in rows if row["fate"] == ACCEPTED]
    minutes = sum(row["clips_seconds"] for row in clips) / 60
    lines = [f"{len(clips)} clips, {minutes:.1f} minutes, from {len({row['source'] for row in rows})} sources"]
    unchecked = sum(row.get("offset_frames") is None for row in clips)
    if unchecked:
        lines.append(f"sync of sound and lips was not checked in {unchecked} of them (syncnet=none)")
    for part in PARTS:
        mine = [row for row in clips if row.get("split") == part]
        if any(row.get("split") for row in rows):
            lines.append(f"{part}: {len(mine)} clips from {len({row['source'] for row in mine})} sources")
    for fate in (REJECTED, FAILED):
        reasons = Counter(row["reason"] for row in rows if row["fate"] == fate)
        if reasons:
            lines.append(f"{fate}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    if any(row["fate"] == FAILED for row in rows):
        lines.append("run the same command again to try what failed once more")
    lines.append(f"shards in {output / SHARDS}, every candidate in {output / MANIFEST_NAME}")
    return "\n".join([*lines, f"report: {output / REPORT_NAME}"])


def _with_their_sounds(sources: list[Source], input: Path, audio: str | Path | None) -> list[Source]:
    """See `with_sounds`; says who has no partner."""
    sources, alone = with_sounds(sources, input, None if audio is None else Path(audio))
    for what, remedy in (("videos", "their own sound is taken"), ("sounds", "they are not used")):
        if names := alone.get(what):
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            _note(f"audio '{audio}': {len(names)} {what} without a partner, {remedy}: {shown}")
    return sources


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(runner: Runner, preparation: Preparation, todo: list[Source], max_failed: float) -> dict[str, str]:
    """Let the runner work; source name -> why it failed. Raises UserError when too many do."""
    failures: dict[str, str] = {}
    for outcome in run_all(runner, preparation, todo, "sources"):
        if outcome.failure is None:
            continue
        failures[outcome.item.name] = outcome.failure
        _note(f"source '{outcome.item.name}' failed: {outcome.failure}")
        if len(failures) > max_failed and len(failures) > 1:
            raise UserError(
                f"{len(failures)} sources failed, more than max_failed_share allows; the last one: "
                f"'{outcome.item.name}': {outcome.failure}; mend the cause and run the same command again"
            )
    return failures


@contextmanager
def _only_run(output: Path) -> Iterator[None]:
    """One run at a time for one output; the lock goes with the process, however that ends."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / ".lock").open("w")
    except OSError as error:
        raise UserError(f"output '{output}': cannot be written ({error.strerror}); choose another folder") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"output '{output}': another run is writing it; wait for it or stop it") from error
        yield


def _scorer_maker(config: DictConfig | None) -> ScorerMaker | None:
    """config: `_target_` and the constructor's arguments; None leaves the stage out."""
    if config is None:
        return None
    arguments = dict(_plain(config))
    return ScorerMaker(arguments.pop("_target_"), arguments)


def _plain(config: Any) -> Mapping[str, Any]:
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def run(config: DictConfig) -> None:
    """`python -m data_prep.prepare input=DIR output=DIR`"""
    if is_remote(config.output):
        raise UserError(f"output={config.output}: work goes on in a local folder; give output=DIR put={config.output}")
    if config.put is not None:
        check_place(config.put)
    output = Path(config.output)
    rows = prepare(
        input=config.input,
        output=output,
        runner=instantiate(config.runner),
        measuring=Measuring(**_plain(config.measure), device=config.device),
        limits=parse_limits(_plain(config.limits)),
        make_scorer=_scorer_maker(config.syncnet),
        keep_rejected=config.keep_rejected,
        clips_per_shard=config.clips_per_shard,
        max_failed_share=config.max_failed_share,
        audio=config.audio,
        split=Split(**_plain(config.split)),
    )
    print(summary(rows, output))
    if config.put is not None:
        new = put_result(output, config.put)
        print(f"put to {config.put}: {len(new)} shards that were not there yet, their index, manifest and report")


if __name__ == "__main__":
    command("data_prep/prepare", run, "stopped; run the same command again to go on")
