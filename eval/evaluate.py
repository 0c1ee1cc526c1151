"""Evaluation that a paper can quote: `python -m eval.evaluate weights=… shards=…`, or `videos=DIR reference=DIR`.

Generates, unless videos are given; scores every video with every metric, and the ground truth with the same code;
writes results.json, results.csv, results.md and report.html. What is done is not done again.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from configs.compose import command
from eval.generation import check_same, generate, pairing
from eval.matching import NothingPaired, checked, clip_mark, match
from eval.metrics.metric import Definition, Metric
from eval.metrics.registry import check_names, make_metric
from eval.report import write_report
from eval.results import Results, VideoResult, summarise
from eval.scoring import Settings, Task, features_files, score_all
from eval.sets import set_summaries
from eval.unpacking import ALIGNED, NEEDS_SURROUNDINGS, WHY_NOT, clips_of, pictures_of, unpack
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.work.files import write_whole
from latentsync.work.runner import Runner

PROTOCOLS = ("reconstruction", "cross")
_PACKAGES = ("torch", "torchmetrics", "lpips", "mediapipe", "opencv-python-headless", "torch-fidelity", "av")


def evaluate(
    label: str,
    videos: Path,
    reference: Path | None,
    output: Path,
    settings: Settings,
    runner: Runner,
    protocol: Mapping[str, Any],
    speech: Mapping[str, str] | None = None,
    other_sound: str = "stop",
    left_out: Mapping[str, str] | None = None,
) -> Results:
    """Score the videos below `videos` against those of the same name below `reference`, and these by themselves.

    label: the model's name in tables; protocol: what else the figures depend on; its "protocol" is "reconstruction"
    where the references are what should have come out, "cross" where they only show the same people; speech: name ->
    whose speech it got, where known; other_sound: see `checked`; left_out: group of metrics -> why it is not computed.
    Raises UserError, `NothingPaired` among them.
    """
    usable, not_computed = available(settings, left_out or {})
    definitions = {d.name: d for metric in usable.values() for d in metric.definitions}
    settings = Settings({name: settings.metrics[name] for name in usable}, settings.resolution, settings.finder)
    tasks, truths, unmatched = match(videos, reference)
    protocol, warnings = checked(protocol, tasks, other_sound)
    truth_known = protocol["protocol"] == "reconstruction"
    stored = score_all([*tasks, *truths], settings, output / "work", runner)
    rows = [_row(task, stored[task], definitions, truth_known, output) for task in tasks]
    for row, task in zip(rows, tasks):
        row.clip, row.speech = clip_mark(task.reference), (speech or {}).get(task.name, "")
    truth_rows = [_row(task, stored[task], definitions, True, output) for task in truths]
    of_sets, too_few, small = set_summaries(definitions, features_files(output / "work", [row.name for row in rows]))
    results = Results(
        label=label,
        protocol={**protocol, **_measured_with(settings, usable), "versions": versions()},
        definitions=definitions,
        not_computed=not_computed | too_few,
        videos=rows,
        truth=truth_rows,
        summaries=summarise(rows, definitions) | of_sets,
        truth_summaries=summarise(truth_rows, definitions),
        unmatched=unmatched,
        warnings=warnings + small,
    )
    results.write(output)
    write_report(results, output)
    return results


def available(settings: Settings, left_out: Mapping[str, str]) -> tuple[dict[str, Metric], dict[str, str]]:
    """(metrics that can be computed, group -> why not), without those left out. Raises UserError where none can."""
    usable: dict[str, Metric] = {}
    not_computed = {name: reason for name, reason in left_out.items() if name in settings.metrics}
    for name, options in settings.metrics.items():
        if name in not_computed:
            continue
        try:
            usable[name] = make_metric(name, options)
        except UserError as error:
            if str(error).startswith("options."):
                raise
            not_computed[name] = str(error)
    if not usable:
        raise UserError(
            "no metric can be computed: " + "; ".join(f"{n}: {reason}" for n, reason in not_computed.items())
        )
    return usable, not_computed


def _row(
    task: Task, stored: Mapping[str, Any], definitions: Mapping[str, Definition], truth_known: bool, output: Path
) -> VideoResult:
    values, missing = dict(stored["values"]), dict(stored["missing"])
    for name, definition in definitions.items():
        if definition.against == "truth" and not truth_known and name in values:
            del values[name]
            missing[name] = "the cross protocol has no true frames"
    return VideoResult(
        name=task.name,
        values=values,
        missing=missing,
        error=stored["error"],
        video=os.path.relpath(task.video, output),
        reference=None if task.reference is None else os.path.relpath(task.reference, output),
        frames=stored["frames"],
        without_face=stored["without_face"],
    )


def _measured_with(settings: Settings, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """What the scores depend on beside the videos: options are listed by the names of the numbers, without devices."""
    options = {
        definition.name: {name: value for name, value in settings.metrics[group].items() if name != "device"}
        for group, metric in metrics.items()
        for definition in metric.definitions
    }
    return {"resolution": settings.resolution, "finder": settings.finder, "metrics": options}


def versions() -> dict[str, str]:
    """Of what figures depend on."""
    from latentsync import __version__

    return {
        "latentsync": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _generated(config: DictConfig, output: Path) -> tuple[Path, Path, dict[str, Any], dict[str, str]]:
    """(videos, references, protocol, name -> whose speech it got) after generating from shards."""
    from latentsync.inference.pipeline import LipSyncPipeline

    shards = ShardSet(config.shards)
    parts = {"autoencoder": config.autoencoder, "audio_encoder": config.audio_encoder}
    pipeline = LipSyncPipeline.from_pretrained(
        config.weights, config.device, config.precision, resolution=config.weights_resolution, **parts
    )
    clips = clips_of(shards, config.num_clips)
    sources = None if config.sources is None else Path(config.sources)
    pictures = pictures_of(clips, sources)
    pairs = pairing([clip.key for clip in clips], config.protocol, config.seed)
    write_whole(output / "pairing.json", (json.dumps(pairs, indent=1) + "\n").encode())
    options = {name: config[name] for name in ("guidance_scale", "num_inference_steps", "scheduler", "seed")}
    told = {
        "weights": str(config.weights),
        **{part: given for part, given in parts.items() if given},
        "shards": str(config.shards),
        "clips": len(clips),
        "pictures": pictures,
        "generation": {**options, "precision": str(config.precision)},
    }
    check_same(output, {**told, "protocol": config.protocol})
    unpack(shards, clips, pictures, sources, output / "sources")
    tracks = output / "work" / "tracks" if "mouth_track" in config.metrics else None
    generate(pipeline, pairs, output / "sources", output / "generated", options, tracks)
    return output / "generated", output / "sources", told | {"frames a second": "of the source; scored at 25"}, pairs


def _check(config: DictConfig) -> None:
    if config.protocol not in PROTOCOLS:
        raise UserError(f"protocol={config.protocol}: choose one of {', '.join(PROTOCOLS)}")
    if config.other_sound not in ("stop", "cross"):
        raise UserError(f"other_sound={config.other_sound}: choose stop or cross")
    if (config.videos is None) == (config.shards is None):
        raise UserError("give either videos=DIR (and reference=DIR), or weights=… shards=…")
    if config.sources is not None and (config.shards is None or not Path(config.sources).is_dir()):
        raise UserError(f"sources={config.sources}: give the folder of videos that shards=… were prepared from")
    if config.seed == 0:
        raise UserError("seed=0 would draw one for each clip; give 1 or more")
    if not isinstance(config.resolution, int) or config.resolution < 32 or config.resolution % 8:
        raise UserError(f"resolution={config.resolution}: give a multiple of 8, at least 32")
    if config.num_clips is not None and (not isinstance(config.num_clips, int) or config.num_clips < 1):
        raise UserError(f"num_clips={config.num_clips}: give 1 or more, or null for all")


def run(config: DictConfig) -> None:
    """See the module."""
    _check(config)
    names = list(config.metrics)
    check_names(names)
    options = OmegaConf.to_container(config.options, resolve=True)
    assert isinstance(options, dict)
    settings = Settings({n: options.get(n) or {} for n in names}, config.resolution, config.finder)
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output '{output}': {error.strerror}; give a folder") from error
    protocol: dict[str, Any] = {"protocol": config.protocol, "pairing": "pairing.json" if config.shards else "by name"}
    speech: dict[str, str] = {}
    if config.videos is None:
        videos, reference, told, speech = _generated(config, output)
        protocol |= told
    else:
        videos, reference = Path(config.videos), config.reference and Path(config.reference)
        protocol |= {"videos": str(videos), "reference": str(reference)}
    label = config.label or (str(config.weights) if config.videos is None else videos.name)
    runner = instantiate(config.runner)
    tight = dict.fromkeys(NEEDS_SURROUNDINGS, WHY_NOT) if protocol.get("pictures") == ALIGNED else {}
    try:
        results = evaluate(
            label, videos, reference, output, settings, runner, protocol, speech, config.other_sound, tight
        )
    except NothingPaired as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(results.markdown())
    for side, left_out in results.unmatched.items():
        print(f"without a partner in {side}: {', '.join(left_out)}")
    print(f"results in {output}: results.json, results.csv, results.md, report.html")


if __name__ == "__main__":
    command("eval/evaluate", run)
