"""Frames with their faces in, frames that speak out: two clocks, windows through the network, paste-back."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from av.video.frame import VideoFrame

from latentsync.errors import UserError
from latentsync.face.alignment import AlignedFace
from latentsync.face.color_match import match_colors
from latentsync.face.mouth_mask import mouth_mask, mouth_share
from latentsync.face.paste_back import paste_back
from latentsync.inference.audio_tokens import AudioTokens
from latentsync.inference.face_track import TrackedFrame
from latentsync.inference.generator import WindowGenerator, WindowInput, posterior_generator
from latentsync.inference.options import MOUTH
from latentsync.inference.report import Fate
from latentsync.inference.request import LipSyncRequest
from latentsync.inference.windows import FaceWindow, WindowCutter, frames_of_audio, model_frame, model_frames_before
from latentsync.media.picture import Patch, Picture
from latentsync.work.progress import Progress


@dataclass(frozen=True)
class DoneFrame:
    """An output frame: when it is shown (in the input's time base), and what becomes of it.

    paint: makes the planes to encode. It is left to whoever encodes them, as it can go on while the network works.
    """

    paint: Callable[[], VideoFrame]
    pts: int
    duration: int
    fate: Fate


@dataclass(frozen=True)
class _Mouth:
    """A generated face; origin: the number of the output frame whose crop it was generated from."""

    face: np.ndarray
    origin: int


class Compositor:
    """Lets the faces of one job speak.

    The network works at 25 frames a second: its frame k takes the newest picture at k / 25 s, and an output frame
    takes the mouth of the network's nearest frame, put where its own face is and into its own crop; so an input of
    any rate keeps its motion. Held in memory: the frames of one batch of windows.
    """

    def __init__(
        self,
        generate: WindowGenerator,
        tokens: AudioTokens,
        request: LipSyncRequest,
        progress: Progress | None = None,
    ) -> None:
        self.num_windows = 0
        self._generate, self._tokens, self._request = generate, tokens, request
        self._noise = generate.start_noise(request.seed)
        self._windowing = WindowCutter(generate.num_frames, request.options.window_overlap)
        self._queue: list[FaceWindow] = []
        self._mouths: dict[tuple[int, int], _Mouth] = {}  # (person, model's frame)
        self._origins: dict[int, int] = {}  # model's frame -> output frame
        self._keep = mouth_mask(generate.resolution).numpy()[0, ..., None]  # (R, R, 1)
        self._share = mouth_share(generate.resolution) if request.options.paste == MOUTH else None
        self._waiting: deque[tuple[int, TrackedFrame]] = deque()
        self._next = 0  # the model's next frame
        self._cut = False
        self._gauge = _Gauge(progress, request)

    def compose(self, frames: Iterable[TrackedFrame]) -> Iterator[DoneFrame]:
        """The frames in their order, each as soon as its windows are through. Raises UserError (see `require_face`)."""
        last: TrackedFrame | None = None
        for number, frame in enumerate(frames):
            if last is not None:
                self._sample(last, number - 1, model_frames_before(frame.source.time))
            self._check(frame)
            self._waiting.append((number, frame))
            last = frame
            self._run(self._request.options.batch_windows)
            yield from self._ready()
        if last is not None:
            self._sample(last, number, max(self._next, model_frame(last.source.time)) + 1)
        self._queue += self._windowing.end()
        self._run(1)
        yield from self._ready()
        self._gauge.finish()

    def _check(self, frame: TrackedFrame) -> None:
        if self._request.options.require_face and frame.source.speaks and not frame.faces:
            raise UserError(
                f"input '{self._request.input}': no face at {frame.source.time:.2f} s; "
                "give another video, or let such frames pass with require_face=false"
            )

    def _sample(self, frame: TrackedFrame, number: int, stop: int) -> None:
        """The model's frames up to `stop` show `frame`, the output's frame `number`."""
        self._cut = self._cut or frame.cut
        for model_number in range(self._next, stop):
            faces = frame.faces if frame.source.speaks else {}
            self._queue += self._windowing.push(model_number, faces, self._cut)
            self._origins[model_number] = number
            self._cut = False
        self._next = max(self._next, stop)

    def _run(self, at_least: int) -> None:
        """Put waiting windows through the network, `at_least` or more at once."""
        while len(self._queue) >= at_least and self._queue:
            batch = self._queue[: self._request.options.batch_windows]
            self._queue = self._queue[len(batch) :]
            self._speak(batch)

    def _speak(self, batch: list[FaceWindow]) -> None:
        options = self._request.options
        scale = 1.0 if options.guidance_scale is None else options.guidance_scale  # the pipeline puts the model's in
        inputs = [
            WindowInput(
                crops=window.crops,
                audio_tokens=self._tokens.frames(window.start, len(window.crops)),
                noise=self._noise,
                generator=posterior_generator(self._request.seed, window.index, self._generate.device),
            )
            for window in batch
        ]
        first, stop = batch[0].start, max(window.start + len(window.crops) for window in batch)

        def step(done: int, steps: int) -> None:
            self._gauge(first + (stop - first) * done / steps)

        generated = self._generate.generate(
            inputs,
            options.num_inference_steps,
            scale,
            step,
            options.scheduler,
            options.feature_reuse,
            options.guidance_start,
        )
        for window, faces in zip(batch, generated, strict=True):
            self.num_windows += 1
            for place, (crop, face) in enumerate(zip(window.crops, faces, strict=True)):
                if options.color_match:
                    face = match_colors(face, crop, self._keep)
                key = (window.track, window.start + place)
                if place < window.shared:
                    face = _fade(self._mouths[key].face, face, (place + 1) / (window.shared + 1))
                self._mouths[key] = _Mouth(face, self._origins[window.start + place])

    def _ready(self) -> Iterator[DoneFrame]:
        while self._waiting:
            number, frame = self._waiting[0]
            model_number = model_frame(frame.source.time)
            if frame.source.speaks and (model_number >= self._next or self._is_open(frame, model_number)):
                return
            self._waiting.popleft()
            yield self._done(number, frame, model_number)
            self._forget_before(model_number)
            self._gauge(model_number + 1)

    def _is_open(self, frame: TrackedFrame, model_number: int) -> bool:
        """Whether a mouth for this frame may still come."""
        return any(
            self._windowing.is_open(track, model_number)
            or any(
                window.track == track and window.start <= model_number < window.start + len(window.crops)
                for window in self._queue
            )
            for track in frame.faces
        )

    def _done(self, number: int, frame: TrackedFrame, model_number: int) -> DoneFrame:
        source = frame.source
        mouths = {track: self._mouths.get((track, model_number)) for track in frame.faces}
        spoken = {track: mouth for track, mouth in mouths.items() if mouth is not None}
        patch = frame.patch
        if not source.speaks or not spoken or patch is None:
            fate = Fate.NO_FACE if source.speaks else Fate.NO_SOUND
            return DoneFrame(source.picture.unchanged, source.pts, source.duration, fate)
        fate = Fate.INTERPOLATED if frame.interpolated & spoken.keys() else Fate.GENERATED
        paint = partial(self._painted, number, source.picture, patch, frame.faces, spoken)
        return DoneFrame(paint, source.pts, source.duration, fate)

    def _painted(
        self,
        number: int,
        picture: Picture,
        patch: Patch,
        faces: dict[int, AlignedFace],
        spoken: dict[int, _Mouth],
    ) -> VideoFrame:
        """The output's frame `number`: the picture with what was spoken pasted into its faces."""
        image = patch.rgb
        for track, mouth in spoken.items():
            own, face = faces[track], mouth.face
            if mouth.origin != number:
                # Generated from another picture's crop: only the mouth is taken, what surrounds it is this one's.
                face = np.rint(own.crop * self._keep + face * (1 - self._keep)).clip(0, 255).astype(np.uint8)
            image = paste_back(image, face, own.matrix, self._share, patch.corner, patch.size)
        return picture.changed(image, patch)

    def _forget_before(self, model_number: int) -> None:
        """Free what no later frame takes."""
        for number in [number for number in self._origins if number < model_number - self._generate.num_frames]:
            del self._origins[number]
        for key in [key for key in self._mouths if key[1] < model_number - self._generate.num_frames]:
            del self._mouths[key]


class _Gauge:
    """Progress in output frames from progress in the model's; it never goes back."""

    def __init__(self, progress: Progress | None, request: LipSyncRequest) -> None:
        self._progress, self._total = progress, request.num_frames
        self._scale = request.num_frames / frames_of_audio(request.audio_seconds)
        self._most = 0.0

    def __call__(self, model_frames: float) -> None:
        if self._progress is not None:
            self._most = max(self._most, min(self._total, model_frames * self._scale))
            self._progress(self._most, self._total)

    def finish(self) -> None:
        """All is done."""
        if self._progress is not None:
            self._progress(self._total, self._total)


def _fade(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """From one window's face to the next one's, uint8."""
    return np.rint((1 - share) * before + share * after.astype(np.float64)).astype(np.uint8)
