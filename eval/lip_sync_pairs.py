"""Who is lip-synced to whose speech: drawn people whose lips are known, or real clips whose landmarks are measured."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.sample import write_clip
from data_prep.sources import find_sources
from eval.generation import pairing
from eval.mouth_tracks import MouthTrack, stored_track, why_unusable
from latentsync.errors import UserError
from latentsync.face.landmarks import FaceFinder
from latentsync.media.audio import load_audio
from latentsync.media.probe import probe_video
from latentsync.media.rates import SAMPLES_PER_FRAME
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_clip
from latentsync.work.files import write_whole

CROSS, RECONSTRUCTION = "cross", "reconstruction"
_SOURCE_CRF = 8  # drawn sources as good as lossless, so that what is lost is the output's one encode
_SILENT_DBFS = -50.0


@dataclass(frozen=True)
class Pair:
    """A video and the speech that it gets.

    name: of the video, driver: of the speech; video: the file that is shown; true: the video that the speech is from,
    and its sound. known: what the JSON beside the output says (see `eval.video`); true_known: beside the true frames.
    """

    name: str
    driver: str
    video: Path
    true: Path
    known: dict[str, Any]
    true_known: dict[str, Any]

    @property
    def landmarks(self) -> list[np.ndarray] | None:
        """Of the video's frames, (3, 2) each, where they are known beforehand."""
        points = self.known.get("truth", {}).get("landmarks3")
        return None if points is None else list(np.asarray(points))


@dataclass(frozen=True)
class Pairs:
    """by_protocol: "cross", "reconstruction" -> pairs; left_out: clip -> why it cannot be measured."""

    by_protocol: Mapping[str, Sequence[Pair]]
    left_out: Mapping[str, str] = field(default_factory=dict)


def drawn_pairs(folder: Path, num_people: int, seconds: float, resolution: int, seed: int) -> Pairs:
    """`num_people` held-out drawn people, each with the speech of a further one (nobody is met twice), in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for person in HELD_OUT_IDENTITIES[: 2 * num_people]:
        clip = draw_clip(person, seconds, resolution, seed, mode="scene")
        write_clip(folder / f"{person}.mp4", clip, _SOURCE_CRF)
        truths[person] = clip.truth()
        write_whole(folder / f"{person}.json", json.dumps({"truth": truths[person]}).encode())
    pairs = []
    for person, speaker in zip(list(truths)[:num_people], list(truths)[num_people:]):
        faces = [{"landmarks3": truths[who]["landmarks3"]} for who in (person, speaker)]
        speech = {"driving_truth": _speech(truths[speaker]), "source_truth": _speech(truths[person])}
        video, true = (folder / f"{who}.mp4" for who in (person, speaker))
        pairs.append(
            Pair(str(person), str(speaker), video, true, {"truth": faces[0], **speech}, {"truth": faces[1], **speech})
        )
    return Pairs({CROSS: pairs})


def _speech(truth: Mapping[str, Any]) -> dict[str, Any]:
    return {name: truth[name] for name in ("opening", "pause")}


@dataclass(frozen=True)
class RealClip:
    """A clip of a folder and its mouth."""

    name: str
    path: Path
    track: MouthTrack


class ClipFolder:
    """The usable clips of a folder of videos.

    names: of the clips to take, without suffix; None = all, sorted. finder: of meshes; tracks: folder where measured
    mouths are kept. What cannot be measured is in `left_out`, with the reason. Raises UserError for a missing folder,
    and for names that it does not hold.
    """

    def __init__(self, folder: str | Path, names: Sequence[str] | None, finder: FaceFinder, tracks: Path) -> None:
        found = {str(Path(source.name).with_suffix("")): source.path for source in find_sources(folder)}
        if names is not None:
            unknown = [name for name in names if name not in found]
            if unknown:
                raise UserError(f"names: clips '{folder}' has no {', '.join(unknown[:5])}; give names without suffix")
            found = {name: found[name] for name in names}
        self._paths, self._finder, self._tracks = found, finder, tracks
        self.left_out: dict[str, str] = {}

    def usable(self, count: int | None, with_sound: bool) -> list[RealClip]:
        """The first `count` clips that can be measured. with_sound: and heard."""
        return [clip for clip, _ in zip(self._usable(with_sound), range(len(self._paths) if count is None else count))]

    def _usable(self, with_sound: bool) -> Iterator[RealClip]:
        for name, path in self._paths.items():
            try:
                track = stored_track(path, self._finder, self._tracks)
                reason = why_unusable(track) or (why_unheard(path) if with_sound else None)
            except UserError as error:
                reason = str(error)
            if reason is None:
                yield RealClip(name.replace("/", "_"), path, track)
            else:
                self.left_out[name] = reason


def why_unheard(path: Path) -> str | None:
    """Why a sound cannot drive a mouth, or None. Raises UserError for what cannot be decoded."""
    if not probe_video(path).has_audio:
        return "no sound"
    wave = load_audio(path)
    frames = wave[: len(wave) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    loudest = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1)).max(initial=0.0)
    return "its sound is silent" if loudest < 10 ** (_SILENT_DBFS / 20) else None


def clip_pairs(clips: ClipFolder, sounds: ClipFolder | None, num_clips: int | None, seed: int) -> Pairs:
    """Each clip with the speech of another one of the folder, or of `sounds` in turn, on a circle drawn by `seed`; and
    with its own speech, where it has one. Raises UserError where there are not enough."""
    if sounds is None:
        shown = clips.usable(num_clips, with_sound=True)
        if len(shown) < 2:
            raise UserError(f"clips: {len(shown)} of them can be measured, two at least are needed{_told(clips)}")
        by_name = {clip.name: clip for clip in shown}
        partners = {name: by_name[other] for name, other in pairing(list(by_name), CROSS, seed).items()}
        return Pairs({CROSS: [_pair(clip, partners[clip.name]) for clip in shown],
                      RECONSTRUCTION: [_pair(clip, clip) for clip in shown]}, clips.left_out)  # fmt: skip
    shown, heard = clips.usable(num_clips, with_sound=False), sounds.usable(num_clips, with_sound=True)
    for one, what in ((shown, clips), (heard, sounds)):
        if not one:
            raise UserError(f"clips or sounds: none of them can be measured{_told(what)}")
    order = np.random.default_rng(seed).permutation(len(heard))
    cross = [_pair(clip, heard[order[place % len(heard)]]) for place, clip in enumerate(shown)]
    own = [_pair(clip, clip) for clip in shown if why_unheard(clip.path) is None]
    return Pairs({CROSS: cross, RECONSTRUCTION: own}, {**clips.left_out, **sounds.left_out})


def _told(folder: ClipFolder) -> str:
    return "".join(f"; '{name}': {reason}" for name, reason in list(folder.left_out.items())[:3])


def _pair(clip: RealClip, driver: RealClip) -> Pair:
    known = {"driving_track": driver.track.plain(), "source_track": clip.track.plain()}
    return Pair(clip.name, driver.name, clip.path, driver.path, known, known)
