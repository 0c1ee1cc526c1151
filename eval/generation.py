"""Videos to evaluate, made from the clips of shards: each person with their own speech, or with another's."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.mouth_tracks import stored_track, why_unusable
from latentsync.errors import UserError
from latentsync.face.landmarks import FaceFinder, GivenFaces
from latentsync.work.files import write_whole
from latentsync.work.progress import ProgressBar

if TYPE_CHECKING:
    from latentsync.inference.pipeline import LipSyncPipeline

_NEARLY_LOSSLESS = 8  # H.264 quality that browsers still play
Generate = Callable[[Path, Path, Path], object]


def pairing(keys: Sequence[str], protocol: str, seed: int) -> dict[str, str]:
    """Clip -> clip whose speech it gets. "reconstruction": its own; "cross": another one's, each speech once, drawn by
    `seed`. Raises UserError for less than two clips in the cross protocol."""
    if protocol == "reconstruction":
        return {key: key for key in keys}
    if len(keys) < 2:
        raise UserError(f"protocol=cross needs two clips at least, there are {len(keys)}")
    order = np.random.default_rng(seed).permutation(len(keys))
    # The next one on a random circle: nobody gets their own.
    return {keys[place]: keys[following] for place, following in zip(order, np.roll(order, -1))}


def check_same(output: Path, settings: dict[str, Any]) -> None:
    """Remember how the videos below `output` are made. Raises UserError where they were made in another way."""
    path = output / "generation.json"
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise UserError(f"output '{output}': holds videos of other settings ({path}); give another folder")
    write_whole(path, (json.dumps(settings, indent=1) + "\n").encode())


def generate(
    pipeline: "LipSyncPipeline",
    pairs: dict[str, str],
    sources: Path,
    output: Path,
    options: dict[str, Any],
    tracks: Path | None = None,
) -> None:
    """Lip-sync every clip of `sources` to the speech that `pairs` gives it, into `output`, with the truth of that
    speech beside it: of drawn heads what is known, of real ones, with a folder `tracks` for them, what landmarks say.
    Finished ones stay; one that fails is told and left out."""
    output.mkdir(parents=True, exist_ok=True)
    found = pipeline.face_finder
    todo = [(clip, speech) for clip, speech in pairs.items() if not (output / f"{clip}.mp4").is_file()]
    with ProgressBar("videos generated") as bar:
        for number, (clip, speech) in enumerate(todo):

            def tell(done: float, total: int, before: int = number) -> None:
                bar(before + done / max(1, total), len(todo))

            truth = _truth(sources / f"{clip}.json")
            spoken = _truth(sources / f"{speech}.json")
            landmarks = truth.get("landmarks3")
            pipeline.face_finder = found if landmarks is None else GivenFaces(list(np.asarray(landmarks)))
            if truth or spoken:
                content = {"truth": {"landmarks3": landmarks} if landmarks else {}, "driving_truth": spoken}
                content |= {"source_truth": {"opening": truth["opening"]} if "opening" in truth else {}}
                write_whole(output / f"{clip}.json", json.dumps(content).encode())
            elif tracks is not None:
                known = {"driving_track": sources / f"{speech}.mp4", "source_track": sources / f"{clip}.mp4"}
                measured = {name: _track(video, found, tracks) for name, video in known.items()}
                write_whole(output / f"{clip}.json", json.dumps(measured).encode())
            try:
                pipeline(
                    sources / f"{clip}.mp4", sources / f"{speech}.wav", output / f"{clip}.mp4",
                    progress=tell, **options,
                )  # fmt: skip
            except UserError as error:
                print(f"clip '{clip}' is not generated: {error}", file=sys.stderr, flush=True)
    pipeline.face_finder = found


def _track(video: Path, finder: FaceFinder, folder: Path) -> dict[str, Any] | None:
    """The mouth of a video for JSON; None, and told, where it cannot be measured."""
    track = stored_track(video, finder, folder)
    if reason := why_unusable(track):
        print(f"clip '{video.stem}' has no track of the mouth: {reason}", file=sys.stderr, flush=True)
        return None
    return track.plain()


def _truth(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["truth"] if path.is_file() else {}
