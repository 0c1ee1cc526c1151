"""Stage resample: sound at 16 kHz mono beside pictures at 25 a second, and how well the source fills those."""

from pathlib import Path

import numpy as np

from data_prep.candidate import FaceFrame, Rejected
from data_prep.manifest import Row
from latentsync.errors import UserError
from latentsync.media.audio import decoded_chunks
from latentsync.media.audio_streams import Track
from latentsync.media.rates import SAMPLE_RATE, SAMPLES_PER_FRAME
from latentsync.work.runner import Alive

STAGE = "resample"


class SourceSound:
    """The sound of a source in a scratch file, so that memory does not grow with its length.

    path: the scratch file, int16; alive: told that it gets on; track: see `Measuring.audio_track`. Raises Rejected
    where there is nothing to decode.
    """

    def __init__(self, source: Path, path: Path, alive: Alive, track: Track = None) -> None:
        self.path = path
        with path.open("wb") as file:
            try:
                for chunk in decoded_chunks(source, SAMPLE_RATE, "mono", track):
                    alive(0.0)
                    file.write(np.rint(chunk[0].clip(-1, 1) * 32767).astype("<i2").tobytes())
            except UserError as error:
                raise Rejected(STAGE, "sound cannot be decoded", str(error)) from error
        if path.stat().st_size == 0:
            raise Rejected(STAGE, "sound cannot be decoded", "not one sample")
        self._samples = np.memmap(path, dtype="<i2", mode="r")

    @property
    def num_frames(self) -> int:
        """Video frames that have sound; the last one in part."""
        return -(-len(self._samples) // SAMPLES_PER_FRAME)

    def between(self, first: int, stop: int) -> np.ndarray:
        """float32 in [-1, 1] of the video frames first … stop − 1, with silence where there is no sound."""
        wanted = np.zeros((stop - first) * SAMPLES_PER_FRAME, np.float32)
        begin = max(0, -first) * SAMPLES_PER_FRAME
        part = self._samples[max(0, first) * SAMPLES_PER_FRAME : max(0, stop) * SAMPLES_PER_FRAME]
        wanted[begin : begin + len(part)] = part.astype(np.float32) / 32767
        return wanted


def measure_resampling(frames: list[FaceFrame]) -> Row:
    """resample_…: how well the source's own frames fill 25 a second during a candidate."""
    numbers = np.array([frame.number for frame in frames])
    shown = np.unique(numbers, return_index=True)[1]
    times = np.array([frames[place].time for place in shown])
    if len(times) < 3:
        return {"resample_fps": 0.0, "resample_repeated": 1.0, "resample_irregularity": 0.0}
    # Frames between two shown ones were passed over; they share the interval.
    intervals = np.diff(times) / np.diff(numbers[shown])
    return {
        "resample_fps": round(float((numbers[-1] - numbers[0]) / (times[-1] - times[0])), 3),
        "resample_repeated": round(1 - len(shown) / len(frames), 4),
        "resample_irregularity": round(float(intervals.std() / intervals.mean()), 4),
    }
