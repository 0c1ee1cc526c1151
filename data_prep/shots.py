"""Stage shots: where the picture cuts, by PySceneDetect's adaptive detector, and where it dissolves."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from latentsync.errors import UserError
from latentsync.media.frames import SteadyFrame
from latentsync.media.rates import FPS

_DETECTOR_WIDTH = 256  # pixels; PySceneDetect's own downscaling aims at the same
_TINY = (32, 18)  # width, height of the pictures in which dissolves are looked for


@dataclass(frozen=True)
class ShotFrame:
    """A frame and its shot, numbered from 0. begin: how the shot begins, "start", "cut" or "dissolve", in its first
    frame, else None."""

    frame: SteadyFrame
    shot: int
    begin: str | None


class ShotSplitter:
    """Splits a stream of frames into shots; a frame comes out once all that can cut before it has been seen.

    threshold: of the adaptive detector (published: 2). min_content: least change of a cut. min_frames: shortest shot
    that a cut may end. dissolve_reach: n, a dissolve is looked for over 2n + 1 frames; 0 leaves the search out.
    dissolve_change: mean grey levels that the picture changes by over that stretch. dissolve_linearity: in a dissolve
    the middle frame is the mean of the outer ones; the greatest deviation from that, as a share of the change.
    Frames of a dissolve belong to no shot and do not come out.
    """

    def __init__(
        self,
        threshold: float = 2.0,
        min_content: float = 15.0,
        min_frames: int = 15,
        dissolve_reach: int = 5,
        dissolve_change: float = 14.0,
        dissolve_linearity: float = 0.16,
    ) -> None:
        if threshold <= 0 or min_frames < 1 or dissolve_reach < 0:
            raise UserError("measure.shots: threshold above 0, min_frames from 1, dissolve_reach from 0")
        self._detector = AdaptiveDetector(
            adaptive_threshold=threshold, min_content_val=min_content, min_scene_len=min_frames
        )
        self._reach, self._change, self._linearity = dissolve_reach, dissolve_change, dissolve_linearity
        self._delay = max(2 * dissolve_reach, self._detector.event_buffer_length)
        self._held: deque[SteadyFrame] = deque()
        self._tiny: deque[np.ndarray] = deque(maxlen=2 * dissolve_reach + 1)
        self._cuts: set[int] = set()
        self._dissolving: set[int] = set()
        self._shot = -1
        self._after_dissolve = False

    def push(self, frame: SteadyFrame) -> Iterator[ShotFrame]:
        """Take the next frame; give those that are decided."""
        self._look(frame)
        self._held.append(frame)
        if len(self._held) > self._delay:
            yield from self._release()

    def flush(self) -> Iterator[ShotFrame]:
        """The frames still held, at the end of the video."""
        while self._held:
            yield from self._release()

    def _look(self, frame: SteadyFrame) -> None:
        height, width = frame.image.shape[:2]
        size = (min(width, _DETECTOR_WIDTH), max(8, round(height * min(1.0, _DETECTOR_WIDTH / width))))
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR)
        bgr = np.ascontiguousarray(small[..., ::-1])
        self._cuts.update(
            cut.frame_num for cut in self._detector.process_frame(FrameTimecode(frame.index, float(FPS)), bgr)
        )
        if self._reach:
            grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
            self._tiny.append(cv2.resize(grey, _TINY, interpolation=cv2.INTER_AREA).astype(np.float32))
            if len(self._tiny) == self._tiny.maxlen and self._is_dissolve():
                self._dissolving.update(range(frame.index - 2 * self._reach, frame.index + 1))

    def _is_dissolve(self) -> bool:
        first, middle, last = self._tiny[0], self._tiny[self._reach], self._tiny[-1]
        change = float(np.abs(last - first).mean())
        if change < self._change:
            return False
        # Three points of a line, not of a jump: the halves of the way are equal too.
        deviation = float(np.abs(middle - (first + last) / 2).mean())
        return deviation <= self._linearity * change

    def _release(self) -> Iterator[ShotFrame]:
        frame = self._held.popleft()
        if frame.index in self._dissolving:
            self._dissolving.discard(frame.index)
            self._cuts.discard(frame.index)
            self._after_dissolve = True
            return
        begin = None
        if self._shot < 0:
            begin = "start"
        elif self._after_dissolve:
            begin = "dissolve"
        elif frame.index in self._cuts:
            begin = "cut"
        self._cuts.discard(frame.index)
        self._after_dissolve = False
        if begin is not None:
            self._shot += 1
        yield ShotFrame(frame, self._shot, begin)
