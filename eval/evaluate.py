"""Evaluation that a paper can quote: `python -m eval.evaluate weights=… shards=…`, or `videos=DIR reference=DIR`.

Generates, unless videos are given; scores every video with every metric, and the ground truth with the same code;
writes results.json, results.csv, results.md and report.html. What is done is not done again.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from configs.compose import command
from data_prep.sources import find_sources
from eval.generation import check_same, generate, pairing, unpack
from eval.metrics.metric import Definition, Metric
from eval.metrics.registry import check_names, make_metric
from eval.report import write_report
from eval.results import Results, VideoResult, summarise
from eval.scoring import Settings, Task, features_file, score_all
from eval.sets import set_summaries
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
) -> Results:
    """Score the videos below `videos` against those of the same name below `reference`, and these by themselves.

    label: the model's name in tables; protocol: what else the figures depend on; its "protocol" is "reconstruction"
    where the references are what should have come out, "cross" where they only show the same people. Raises UserError.
    """
    usable, not_computed = available(settings)
    definitions = {d.name: d for metric in usable.values() for d in metric.definitions}
    settings = Settings({name: settings.metrics[name] for name in usable}, settings.resolution, settings.finder)
    tasks, truths, unmatched = match(videos, reference)
    truth_known = protocol["protocol"] == "reconstruction"
    stored = score_all([*tasks, *truths], settings, output / "work", runner)
    rows = [_row(task, stored[task], definitions, truth_known, output) for task in tasks]
    truth_rows = [_row(task, stored[task], definitions, True, output) for task in truths]
    of_sets, too_few = set_summaries(definitions, _features(output, tasks), _features(output, truths))
    results = Results(
        label=label,
        protocol={**protocol, "resolution": settings.resolution, "finder": settings.finder, **versions()},
        definitions=definitions,
        not_computed=not_computed | too_few,
        videos=rows,
        truth=truth_rows,
        summaries=summarise(rows, definitions) | of_sets,
        truth_summaries=summarise(truth_rows, definitions),
        unmatched=unmatched,
    )
    results.write(output)
    write_report(results, output)
    return results


def available(settings: Settings) -> tuple[dict[str, Metric], dict[str, str]]:
    """(metrics that can be computed, group -> why not). Raises UserError where none can."""
    usable: dict[str, Metric] = {}
    not_computed: dict[str, str] = {}
    for name, options in settings.metrics.items():
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


def match(videos: Path, reference: Path | None) -> tuple[list[Task], list[Task], dict[str, list[str]]]:
    """(videos to score, true videos to score, names without a partner), by path without suffix. Raises UserError where
    nothing is left."""
    given = {str(Path(source.name).with_suffix("")): source.path for source in find_sources(videos)}
    if reference is None:
        return [Task("generated", name, path, None) for name, path in given.items()], [], {}
    true = {str(Path(source.name).with_suffix("")): source.path for source in find_sources(reference)}
    both = [name for name in given if name in true]
    if not both:
        raise UserError(f"videos '{videos}' and reference '{reference}' have no name in common")
    tasks = [Task("generated", name, given[name], true[name]) for name in both]
    truths = [Task("truth", name, true[name], None) for name in both]
    unmatched = {"videos": sorted(set(given) - set(true)), "reference": sorted(set(true) - set(given))}
    return tasks, truths, {side: names for side, names in unmatched.items() if names}


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


def _features(output: Path, tasks: Sequence[Task]) -> list[Path]:
    return [path for task in tasks if (path := features_file(output / "work", task)).is_file()]


def versions() -> dict[str, str]:
    """Of what figures depend on."""
    from latentsync import __version__

    return {
        "latentsync": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _generated(config: DictConfig, output: Path) -> tuple[Path, Path | None, dict[str, Any]]:
    """(videos, references, protocol) after generating from shards."""
    from latentsync.inference.pipeline import LipSyncPipeline

    shards = ShardSet(config.shards)
    pipeline = LipSyncPipeline.from_pretrained(config.weights, config.device, config.precision)
    keys = unpack(shards, output / "sources", config.num_clips)
    pairs = pairing(keys, config.protocol, config.seed)
    write_whole(output / "pairing.json", (json.dumps(pairs, indent=1) + "\n").encode())
    options = {name: config[name] for name in ("guidance_scale", "num_inference_steps", "scheduler", "seed")}
    told = {"weights": str(config.weights), "shards": str(config.shards), "clips": len(keys), **options}
    check_same(output, {**told, "protocol": config.protocol})
    generate(pipeline, pairs, output / "sources", output / "generated", options)
    return output / "generated", output / "sources", told | {"frames a second": "of the source; scored at 25"}


def _check(config: DictConfig) -> None:
    if config.protocol not in PROTOCOLS:
        raise UserError(f"protocol={config.protocol}: choose one of {', '.join(PROTOCOLS)}")
    if (config.videos is None) == (config.shards is None):
        raise UserError("give either videos=DIR (and reference=DIR), or weights=… shards=…")
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
    if config.videos is None:
        videos, reference, told = _generated(config, output)
        protocol |= told
    else:
        videos, reference = Path(config.videos), config.reference and Path(config.reference)
        protocol |= {"videos": str(videos), "reference": str(reference)}
    label = config.label or (str(config.weights) if config.videos is None else videos.name)
    results = evaluate(label, videos, reference, output, settings, instantiate(config.runner), protocol)
    print(results.markdown())
    for side, left_out in results.unmatched.items():
        print(f"without a partner in {side}: {', '.join(left_out)}")
    print(f"results in {output}: results.json, results.csv, results.md, report.html")


if __name__ == "__main__":
    command("eval/evaluate", run)
