"""Lip sync from the first frame to the last: read, align, generate in windows, paste back, write — as a stream."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.face.face_file import MEDIAPIPE, open_face_finder
from latentsync.face.landmarks import FaceFinder
from latentsync.inference.audio_tokens import AudioTokens, recording
from latentsync.inference.compositor import Compositor, DoneFrame
from latentsync.inference.face_choice import FaceChoice
from latentsync.inference.face_track import FaceTrack
from latentsync.inference.frame_source import source_frames
from latentsync.inference.generator import WindowGenerator
from latentsync.inference.options import SDR, LipSyncOptions
from latentsync.inference.picture_notes import deinterlaces, stores_alpha
from latentsync.inference.report import Fate, LipSyncReport, write_report
from latentsync.inference.request import LipSyncRequest, check_request
from latentsync.media.video_writer import VideoWriter
from latentsync.work.behind import behind
from latentsync.work.gpus import own_device
from latentsync.work.prefetch import prefetched
from latentsync.work.progress import Progress

if TYPE_CHECKING:  # `from_pretrained` imports them, and with them libraries that take seconds
    from latentsync.models.audio_encoder import AudioEncoder
    from latentsync.models.autoencoder import FrameAutoencoder
    from latentsync.models.unet import UNet3DConditionModel

_log = logging.getLogger(__name__)
_PRECISIONS = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}


class LipSyncPipeline:
    """Makes the face in a video or picture speak a recording.

        from latentsync.inference import LipSyncPipeline

        lip_sync = LipSyncPipeline.from_pretrained("demo")
        report = lip_sync("talk.mp4", "speech.wav", "out.mp4", guidance_scale=1.0, seed=7)
        print(report.num_frames, report.seed)

    unet, autoencoder, audio_encoder: the networks; they are moved to `device` and `dtype`. face_finder: who stands
    where. resolution: side of the aligned face in pixels that the U-Net was trained for. num_frames: frames in a
    window. schedule: None = the published one. guidance_scale: where the options name none. Networks are loaded once
    and serve any number of calls, one at a time.

    Published choices that are kept: windows one after the other without overlap, each from the same start noise; the
    frames themselves are the reference; latents are drawn from the autoencoder's posterior (by seed and window).
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        autoencoder: FrameAutoencoder,
        audio_encoder: AudioEncoder,
        face_finder: FaceFinder,
        resolution: int,
        num_frames: int = 16,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        schedule: NoiseSchedule | None = None,
        guidance_scale: float = 1.0,
    ) -> None:
        generate = WindowGenerator(unet, autoencoder, resolution, num_frames, device, dtype, schedule)
        self._set_up(generate, audio_encoder, face_finder, guidance_scale)

    def _set_up(
        self, generate: WindowGenerator, audio_encoder: AudioEncoder, face_finder: FaceFinder, guidance_scale: float
    ) -> None:
        self.generate, self.guidance_scale = generate, guidance_scale
        # The audio encoder stays in float32: it is small, and everything hangs on its tokens.
        self.audio_encoder = audio_encoder.to(generate.device).eval()
        self.face_finder = face_finder
        self.resolution, self.num_frames = generate.resolution, generate.num_frames

    @classmethod
    def from_generator(
        cls, generate: WindowGenerator, audio_encoder: AudioEncoder, face_finder: FaceFinder
    ) -> LipSyncPipeline:
        """Around a generator of windows that is there already, or stands in for one."""
        pipeline = cls.__new__(cls)
        pipeline._set_up(generate, audio_encoder, face_finder, 1.0)
        return pipeline

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "demo",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | int = torch.float32,
        faces: FaceFinder | str | Path = MEDIAPIPE,
        autoencoder: str | Path | None = None,
        audio_encoder: str | Path | None = None,
        resolution: int | None = None,
    ) -> LipSyncPipeline:
        """Load a model by name or path, with the parts that it names; see `weights.bundle.load_bundle`.

        device: "cpu", "cuda", "cuda:1", …, or "auto". dtype: or a precision, see `choose_dtype`. faces: a finder,
        "mediapipe", or the path of a landmarks JSON. autoencoder, audio_encoder: others than the model's own (e.g.
        TAESD for previews). resolution: in pixels, where the weights do not tell.
        Raises UserError for unknown or unfitting weights, and a device that is not there.
        """
        from latentsync.weights.bundle import load_bundle

        where = choose_device(device)
        kind = choose_dtype(dtype, where)
        finder = open_face_finder(faces) if isinstance(faces, (str, Path)) else faces
        bundle = load_bundle(weights, where, kind, resolution, autoencoder, audio_encoder)
        return cls(
            unet=bundle.unet,
            autoencoder=bundle.autoencoder,
            audio_encoder=bundle.audio_encoder,
            face_finder=finder,
            resolution=bundle.resolution,
            num_frames=bundle.num_frames,
            device=where,
            dtype=kind,
            guidance_scale=bundle.guidance_scale,
            schedule=None if bundle.schedule is None else NoiseSchedule(**bundle.schedule),
        )

    def __call__(
        self,
        input: str | Path,
        audio: str | Path | None,
        output: str | Path,
        options: LipSyncOptions | None = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> LipSyncReport:
        """Write `output`: `input` (video or picture) speaking `audio` (any file with sound; None: the input's own).

        The output has the input's own time stamps, size, rotation and colours (a picture: 25 frames a second) and, as
        long as `options` do not say otherwise, the audio's length; a video that is shorter is played forwards and
        backwards. It appears only when it is complete. options: see `LipSyncOptions`; `changes` replace some of them
        by name: `seed=7`. progress: see `work.progress`.
        Raises UserError when something cannot be used, or no frame has a face.
        """
        return self.run(check_request(input, audio, output, options, **changes), progress)

    def run(self, request: LipSyncRequest, progress: Progress | None = None) -> LipSyncReport:
        """`__call__` for a request that was checked before the networks were loaded."""
        request = self._completed(request)
        options = request.options
        frames = source_frames(
            request.input,
            request.audio_seconds,
            options.longer_audio,
            options.shorter_audio,
            options.keep_readable,
            deinterlace=deinterlaces(options),
            sdr=options.color == SDR,
            keep_alpha=stores_alpha(options, request.output),
        )
        for note in request.notes:
            _log.warning(note)
        first = next(frames)  # nothing is begun for a file that cannot be read
        look = first.picture.look
        choice = FaceChoice(options, self.face_finder)
        track = FaceTrack(self.face_finder, self.resolution, choice)
        sound = recording(request.audio, options.silence_gate, options.audio_track)
        compositor = Compositor(
            self.generate, AudioTokens(self.audio_encoder, sound, request.num_samples), request, progress
        )
        fates: list[Fate] = []
        # What the output's length will be is known beforehand only when the sound decides it.
        sound_decides = options.longer_audio != "stop" and options.shorter_audio == "cut"
        with VideoWriter(
            request.output,
            look.width,
            look.height,
            look.rate,
            crf=options.crf,
            preset=options.preset,
            codec=options.codec,
            audio_from=request.audio,
            audio_seconds=request.audio_seconds if sound_decides else None,
            look=look,
            audio_track=options.audio_track,
            audio_seamless=request.seamless,
        ) as writer:

            def write(done: DoneFrame) -> None:
                writer.write_frame(done.paint(), done.pts, done.duration)

            # While the network works on one batch of windows, the next is read and searched for faces, and the one
            # before is pasted and encoded.
            ahead = self.num_frames * options.batch_windows
            tracked = prefetched(track.follow(chain([first], frames)), ahead)
            with closing(tracked), behind(write, ahead) as hand_over:
                for done in compositor.compose(tracked):
                    hand_over(done)
                    fates.append(done.fate)
            if compositor.num_windows == 0:
                where = "in the picture" if request.is_picture else f"in any of its {len(fates)} frames"
                no_face = f"input '{request.input}': no face found {where}; give one with a frontal face"
                raise UserError(choice.absent(request.input) or no_face)
        report = LipSyncReport(
            output=request.output,
            num_frames=len(fates),
            num_windows=compositor.num_windows,
            seed=request.seed,
            fates=tuple(fates),
            duration=writer.seconds,
            guidance_scale=options.guidance_scale,
        )
        if options.report is not None:
            write_report(report, options.report, input=request.input, audio=request.audio)
        return report

    def _completed(self, request: LipSyncRequest) -> LipSyncRequest:
        """With what only the model knows. Raises UserError for options that do not fit it."""
        options = request.options
        if options.window_overlap >= self.num_frames:
            raise UserError(
                f"window_overlap={options.window_overlap}: this model's windows have {self.num_frames} frames; "
                f"give 0 to {self.num_frames - 1}"
            )
        scale = self.guidance_scale if options.guidance_scale is None else options.guidance_scale
        return replace(request, options=options.changed(guidance_scale=scale))


def choose_device(device: torch.device | str = "auto") -> torch.device:
    """`auto` (an accelerator if there is one, else the CPU) or a device by name; "cuda" is this process's own GPU (see
    `gpus.own_device`). Raises UserError for an absent one."""
    if device == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device(own_device(found.type)) if found else torch.device("cpu")
    try:
        chosen = torch.device(own_device(str(device)))
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device={device}: cannot be used ({reason}); try device=auto or device=cpu") from error
    return chosen


def choose_dtype(precision: torch.dtype | str | int, device: torch.device) -> torch.dtype:
    """32, 16, bf16 or auto (or a torch type) to a floating-point type. Raises UserError for another one.

    auto: 16 on NVIDIA GPUs of compute capability 8 and more, as published, else 32.
    """
    if isinstance(precision, torch.dtype):
        return precision
    if precision == "auto":
        capable = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
        return torch.float16 if capable else torch.float32
    if str(precision) not in _PRECISIONS:
        raise UserError(f"precision={precision} is unknown; use one of auto, {', '.join(_PRECISIONS)}")
    return _PRECISIONS[str(precision)]
