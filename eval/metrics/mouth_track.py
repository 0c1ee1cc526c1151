"""On real people: does the generated mouth follow the speech, or does the source video's own mouth leak through?

The truth is what landmarks say of the video that the sound came from. Sentences of one kind share a rhythm, so that a
plain correlation says little: each of the two tracks is held fixed while the other is correlated with.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.correlation import correlation, delayed, partial_correlation
from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from eval.metrics.mouth_landmarks import mesh
from eval.mouth_tracks import MouthTrack, mouth_size
from latentsync.errors import UserError

_FEWEST = 25
_OURS = "this project"
_THE_SAME = 0.98
"""Tracks of driving speech and source that agree better than this are of one recording: nothing can be held fixed."""


class MouthTracks:
    """max_lag: frames by which the generated mouth may be late or early; the lag with the greatest `follows` counts.

    Needs the tracks of the driving speech, and of the source video where that is another recording, beside the video.
    """

    definitions: Sequence[Definition] = (
        Definition(
            "follows", "follows", "", "higher",
            "partial r of the generated mouth's opening with the driving speaker's, the source's own held fixed, at the"
            " best lag", _OURS, "sound",
        ),
        Definition(
            "leaks", "leaks", "", "lower",
            "partial r of the generated mouth's opening with the source's own, the driving speaker's held fixed",
            _OURS, "sound",
        ),
        Definition("follows_width", "follows, width", "", "higher", "as follows, of the width", _OURS, "sound"),
        Definition("leaks_width", "leaks, width", "", "lower", "as leaks, of the width", _OURS, "sound"),
        Definition(
            "track_r", "r driving", "", "higher", "r of generated and driving opening, at the same lag", _OURS, "sound"
        ),
        Definition("own_r", "r own", "", "lower", "r of generated and the source's own opening", _OURS, "sound"),
        Definition("rhythm_r", "r rhythm", "", "none", "r of driving and the source's own opening", _OURS, "sound"),
        Definition("track_lag", "lag", "frames", "none", "of the mouth; positive: late", _OURS, "sound", 1),
    )  # fmt: skip

    def __init__(self, max_lag: int = 2) -> None:
        if not isinstance(max_lag, int) or not 0 <= max_lag <= 10:
            raise UserError(f"options.mouth_track.max_lag={max_lag}: give 0 to 10 frames")
        self._max_lag = max_lag

    def begin(self) -> "_Measurement":
        return _Measurement(self._max_lag)


class _Measurement:
    def __init__(self, max_lag: int) -> None:
        self._max_lag = max_lag
        self._sizes: dict[int, tuple[float, float]] = {}

    def add(self, pair: FramePair) -> None:
        if pair.face is not None:
            self._sizes[pair.index] = mouth_size(mesh(pair.face))

    def values(self, heard: Heard) -> dict[str, Any]:
        if heard.driving_track is None:
            raise NotComputed("no landmark track of the driving speech beside the video")
        length = max(self._sizes, default=-1) + 1
        sizes = np.full((length, 2), np.nan)
        for index, size in self._sizes.items():
            sizes[index] = size
        return compare(MouthTrack(sizes[:, 0], sizes[:, 1], np.ones(length, int)), heard.driving_track,
                       heard.source_track, self._max_lag)  # fmt: skip


def compare(generated: MouthTrack, driving: MouthTrack, source: MouthTrack | None, max_lag: int) -> dict[str, float]:
    """`MouthTracks.definitions` of three tracks, as far as the shortest goes. source: None, or the same as `driving`:
    the speech is the source's own, and only r and lag are found. Raises NotComputed where too little is known."""
    length = min(len(track) for track in (generated, driving, source) if track is not None)
    opening = [_cut(track, "opening", length) for track in (generated, driving, source) if track is not None]
    own = source is None or correlation(*_known(*opening[1:])) > _THE_SAME
    lags = range(-max_lag, max_lag + 1)
    if own:
        found = {lag: correlation(*_known(opening[0], delayed(opening[1], lag))) for lag in lags}
        best = max(found, key=lambda lag: found[lag])
        return {"track_r": found[best], "track_lag": float(best)}
    width = [_cut(track, "width", length) for track in (generated, driving, source) if track is not None]
    best = max(lags, key=lambda lag: _follows(opening, lag)[0])
    follows, leaks = _follows(opening, best)
    follows_width, leaks_width = _follows(width, best)
    return {
        "follows": follows,
        "leaks": leaks,
        "follows_width": follows_width,
        "leaks_width": leaks_width,
        "track_r": correlation(*_known(opening[0], delayed(opening[1], best))),
        "own_r": correlation(*_known(opening[0], opening[2])),
        "rhythm_r": correlation(*_known(opening[1], opening[2])),
        "track_lag": float(best),
    }


def _follows(tracks: Sequence[np.ndarray], lag: int) -> tuple[float, float]:
    """(follows, leaks) of generated, driving and source's tracks, the driving one `lag` frames later; the source's own
    cannot be late: its frames are what is shown."""
    generated, driving, source = tracks
    mouth, heard, own = _known(generated, delayed(driving, lag), source)
    return partial_correlation(mouth, heard, own), partial_correlation(mouth, own, heard)


def _cut(track: MouthTrack, name: str, length: int) -> np.ndarray:
    return np.asarray(getattr(track, name)[:length])


def _known(*tracks: np.ndarray) -> list[np.ndarray]:
    """The tracks where all of them are known."""
    there = ~np.isnan(np.stack(tracks)).any(axis=0)
    if there.sum() < _FEWEST:
        raise NotComputed(f"landmarks in {int(there.sum())} frames only, {_FEWEST} are needed")
    return [track[there] for track in tracks]
