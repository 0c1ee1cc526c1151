"""What of several evaluations may be ranked: figures of the same clips, measured and generated in the same way."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from eval.metrics.metric import Definition
from eval.results import Results, Summary, VideoResult, flat, summarise
from eval.scoring import features_files
from eval.sets import set_summaries
from latentsync.errors import UserError

# What is compared, and where it lies.
_FREE = ("weights", "autoencoder", "audio_encoder", "shards", "videos", "reference", "clips", "pairing")
_GENERATION, _METRICS, _VERSIONS = "generation", "metrics", "versions"


@dataclass(frozen=True)
class Comparison:
    """rows: label -> metric -> over the clips that all have, or over its own where `unranked` says why; common: metric
    -> their names; best: metric -> label; differs: what forbids to rank anything; notes: what else is worth a line."""

    definitions: dict[str, Definition]
    rows: dict[str, dict[str, Summary]]
    common: dict[str, list[str]]
    best: dict[str, str]
    differs: list[str]
    unranked: dict[str, str]
    notes: list[str]


def compared(loaded: Mapping[str, Results], varies: Collection[str] = ()) -> Comparison:
    """See `Comparison`. varies: settings that are meant to differ, "generation.guidance_scale", or a whole group,
    "generation". Raises UserError for one that no evaluation has."""
    settings = {label: flat(results.protocol) for label, results in loaded.items()}
    _check(varies, settings)
    definitions, unranked = _definitions(loaded)
    differs = _unlike_settings(loaded, settings, varies)
    rows: dict[str, dict[str, Summary]] = {label: {} for label in loaded}
    common: dict[str, list[str]] = {}
    best: dict[str, str] = {}
    for name, definition in definitions.items():
        having = {label: results for label, results in loaded.items() if name in results.summaries}
        found, common[name], reason = _over_common(name, definition, having)
        reason = unranked.get(name) or reason or _unlike_options(name, having, varies)
        for label, summary in found.items():
            rows[label][name] = summary
        if reason is not None:
            unranked[name] = reason
        elif not differs and len(found) > 1 and definition.better != "none":
            means = {label: summary.mean for label, summary in found.items()}
            best[name] = (max if definition.better == "higher" else min)(means, key=lambda label: means[label])
    notes = _unlike_versions(settings) + [f"{label}: {w}" for label, r in loaded.items() for w in r.warnings]
    return Comparison(definitions, rows, common, best, differs, unranked, notes)


def _check(varies: Collection[str], settings: Mapping[str, Mapping[str, Any]]) -> None:
    known = {name for one in settings.values() for name in one}
    for name in varies:
        if name != _GENERATION and not any(_covers(name, one) for one in known):
            shown = sorted(one for one in known if one.partition(".")[0] not in (*_FREE, _VERSIONS))
            raise UserError(f"varies={name}: no evaluation has it; they have {', '.join(shown)}")


def _covers(given: str, name: str) -> bool:
    return name == given or name.startswith(f"{given}.")


def _definitions(loaded: Mapping[str, Results]) -> tuple[dict[str, Definition], dict[str, str]]:
    """(metric -> definition, metric -> that evaluations define it in different ways)."""
    known: dict[str, Definition] = {}
    unlike: dict[str, str] = {}
    for label, results in loaded.items():
        for name, definition in results.definitions.items():
            if known.setdefault(name, definition) != definition:
                unlike[name] = f"'{label}' defines it otherwise ({definition.title}: {definition.meaning})"
    return known, unlike


def _unlike_settings(
    loaded: Mapping[str, Results], settings: Mapping[str, Mapping[str, Any]], varies: Collection[str]
) -> list[str]:
    """What differs beside options of metrics, versions, and what is meant to differ."""
    told = []
    unknown = [label for label, results in loaded.items() if not results.protocol.get(_GENERATION)]
    if 0 < len(unknown) < len(loaded) and _GENERATION not in varies:
        told.append(
            f"how the videos of {', '.join(unknown)} were generated is not known (they were given); to rank them all "
            f"the same: varies=[{_GENERATION}]"
        )
    for name in sorted({name for one in settings.values() for name in one}):
        group = name.partition(".")[0]
        if group in (*_FREE, _METRICS, _VERSIONS) or any(_covers(given, name) for given in varies):
            continue
        labels = [label for label in loaded if group != _GENERATION or label not in unknown]
        told += _unlike(name, {label: settings[label].get(name) for label in labels})
    return told


def _unlike(name: str, values: Mapping[str, Any]) -> list[str]:
    if len({str(value) for value in values.values()}) < 2:
        return []
    return [f"{name} differs: " + ", ".join(f"{label} {value}" for label, value in values.items())]


def _unlike_versions(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = sorted({name for one in settings.values() for name in one if name.startswith(f"{_VERSIONS}.")})
    return [line for name in names for line in _unlike(name, {label: one.get(name) for label, one in settings.items()})]


def _unlike_options(name: str, having: Mapping[str, Results], varies: Collection[str]) -> str | None:
    """Options of one metric that differ."""
    options = {label: flat(results.protocol.get(_METRICS, {}).get(name, {})) for label, results in having.items()}
    told = []
    for option in sorted({option for one in options.values() for option in one}):
        if not any(_covers(given, f"{_METRICS}.{name}.{option}") for given in varies):
            told += _unlike(option, {label: one.get(option) for label, one in options.items()})
    return "; ".join(told) or None


def _over_common(
    name: str, definition: Definition, having: Mapping[str, Results]
) -> tuple[dict[str, Summary], list[str], str | None]:
    """(label -> summary, names of the clips, why they cannot be ranked). Over the clips that all have."""
    own = {label: results.summaries[name] for label, results in having.items()}
    clips = [{video.name: video for video in _having(results, definition)} for results in having.values()]
    names = [video for video in (clips[0] if clips else ()) if _same([one.get(video) for one in clips])]
    if clips and not names:
        return own, [], "no clip is in all of them (by name, by what it shows, and by whose speech it got)"
    if definition.of_set:
        found = own if all(len(one) == len(names) for one in clips) else _again(definition, having, names)
        if found is None or len({summary.count for summary in found.values()}) > 1:
            return own, names, "it is of other clips in each, and their features (in work/) are not all there"
        return found, names, None
    kept = set(names)
    rows = {label: [video for video in results.videos if video.name in kept] for label, results in having.items()}
    return {label: summarise(videos, {name: definition})[name] for label, videos in rows.items()}, names, None


def _having(results: Results, definition: Definition) -> list[VideoResult]:
    if definition.of_set:
        return [video for video in results.videos if video.error is None]
    return [video for video in results.videos if definition.name in video.values]


def _again(definition: Definition, having: Mapping[str, Results], names: list[str]) -> dict[str, Summary] | None:
    """A metric of sets, over these clips alone; None where their features are gone."""
    found = {}
    for label, results in having.items():
        if results.folder is None:
            return None
        again, _, _ = set_summaries({definition.name: definition}, features_files(results.folder / "work", names))
        if definition.name not in again:
            return None
        found[label] = again[definition.name]
    return found


def _same(videos: list[VideoResult | None]) -> bool:
    """Whether all have the clip, and it is one: shown by the same person, with the same speech."""
    there = [video for video in videos if video is not None]
    marks = {video.clip for video in there if video.clip}
    speeches = {video.speech for video in there if video.speech}
    return len(there) == len(videos) and len(marks) < 2 and len(speeches) < 2
