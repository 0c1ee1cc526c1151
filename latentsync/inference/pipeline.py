"""Lip sync from the first frame to the last: read, align, generate in windows, paste back, write — as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.face.alignment import AlignedFace
from latentsync.face.landmarks import FaceFinder
from latentsync.face.paste_back import paste_back
from latentsync.inference.audio_tokens import AudioTokens
from latentsync.inference.device import choose_device, choose_dtype
from latentsync.inference.face_track import MEDIAPIPE, FaceTrack, open_face_finder
from latentsync.inference.frame_source import source_frames
from latentsync.inference.plan import FPS, Window, plan_windows
from latentsync.inference.progress import Progress
from latentsync.inference.report import Fate, LipSyncReport
from latentsync.inference.request import LipSyncRequest, check_request
from latentsync.inference.window import WindowGenerator, posterior_generator
from latentsync.media.video_writer import VideoWriter
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel


@dataclass(frozen=True)
class _Job:
    """What one run holds from its first to its last window; never more than one window of frames."""

    request: LipSyncRequest
    tokens: AudioTokens
    track: FaceTrack
    noise: torch.Tensor  # (1, 4, F, h, w)
    progress: Progress | None


class LipSyncPipeline:
    """Makes the face in a video or picture speak a recording.

        from latentsync.inference import LipSyncPipeline

        lip_sync = LipSyncPipeline.from_pretrained("demo")
        report = lip_sync("talk.mp4", "speech.wav", "out.mp4", guidance_scale=1.0, seed=7)
        print(report.num_frames, report.seed)

    unet, autoencoder, audio_encoder: the networks; they are moved to `device` and `dtype`. face_finder: who stands
    where. resolution: side of the aligned face in pixels that the U-Net was trained for. num_frames: frames in a
    window. schedule: None = the published one. Networks are loaded once and serve any number of calls, one at a time.

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
    ) -> None:
        self.generate = WindowGenerator(unet, autoencoder, resolution, num_frames, device, dtype, schedule)
        # The audio encoder stays in float32: it is small, and everything hangs on its tokens.
        self.audio_encoder = audio_encoder.to(self.generate.device).eval()
        self.face_finder = face_finder
        self.resolution, self.num_frames = resolution, num_frames

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "demo",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | int = torch.float32,
        faces: FaceFinder | str | Path = MEDIAPIPE,
    ) -> "LipSyncPipeline":
        """Load a set of weights by name or path (see `latentsync.weights`).

        device: "cpu", "cuda", "cuda:1", …, or "auto". dtype: or a precision, 32, 16 or "bf16". faces: a finder,
        "mediapipe", or the path of a landmarks JSON. Raises UserError for unknown or unfitting weights, and a device
        that is not there.
        """
        from latentsync.weights.bundle import load_bundle

        where, kind = choose_device(device), choose_dtype(dtype)
        finder = open_face_finder(faces) if isinstance(faces, (str, Path)) else faces
        bundle = load_bundle(weights, where, kind)
        return cls(
            unet=bundle.unet,
            autoencoder=bundle.autoencoder,
            audio_encoder=bundle.audio_encoder,
            face_finder=finder,
            resolution=bundle.resolution,
            num_frames=bundle.num_frames,
            device=where,
            dtype=kind,
        )

    def __call__(
        self,
        input: str | Path,
        audio: str | Path | None,
        output: str | Path,
        guidance_scale: float = 1.0,
        num_inference_steps: int = 20,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> LipSyncReport:
        """Write `output`: `input` (video or picture) speaking `audio` (any file with sound; None: the input's own).

        The output has 25 frames a second and the audio's length; a video that is shorter is played forwards and
        backwards. It appears only when it is complete. guidance_scale: 0 … 10, above 1 follows the sound harder.
        num_inference_steps: 1 … 999. seed: 0 = draw one (it is in the report). progress: see `inference.progress`.
        Raises UserError when something cannot be used, or no frame has a face.
        """
        return self.run(check_request(input, audio, output, guidance_scale, num_inference_steps, seed), progress)

    def run(self, request: LipSyncRequest, progress: Progress | None = None) -> LipSyncReport:
        """`__call__` for a request that was checked before the networks were loaded."""
        job = _Job(
            request=request,
            tokens=AudioTokens(self.audio_encoder, request.wave),
            track=FaceTrack(self.face_finder, self.resolution),
            noise=self.generate.start_noise(request.seed),
            progress=progress,
        )
        fates: list[Fate] = []
        num_windows = 0
        with VideoWriter(
            request.output,
            request.width,
            request.height,
            FPS,
            audio_from=request.audio,
            audio_seconds=request.audio_seconds,
        ) as writer:
            for images, window_fates in self._windows(job):
                for image in images:
                    writer.write(image)
                fates += window_fates
                num_windows += Fate.GENERATED in window_fates
            if num_windows == 0:
                where = "in the picture" if request.is_picture else f"in any of its {len(fates)} frames"
                raise UserError(f"input '{request.input}': no face found {where}; give one with a frontal face")
        return LipSyncReport(request.output, len(fates), num_windows, request.seed, tuple(fates))

    def _windows(self, job: _Job) -> Iterator[tuple[list[np.ndarray], list[Fate]]]:
        """Finished frames and their fates, window by window."""
        frames = source_frames(job.request.input, job.request.num_frames)
        for window in plan_windows(job.request.num_frames, self.num_frames):
            read = list(islice(frames, window.count))
            images = [frame.image for frame in read]
            faces = [job.track.align(frame) for frame in read]
            if any(face is not None for face in faces):
                images = self._speak(job, window, images, faces)
            if job.progress is not None:
                job.progress(window.stop, job.request.num_frames)
            yield images, [Fate.NO_FACE if face is None else Fate.GENERATED for face in faces]

    def _speak(
        self, job: _Job, window: Window, images: list[np.ndarray], faces: list[AlignedFace | None]
    ) -> list[np.ndarray]:
        """The window's frames with generated mouths; a frame without a face is left as it is."""
        found = [(position, face) for position, face in enumerate(faces) if face is not None]
        request, progress = job.request, job.progress

        def step(done: int, steps: int) -> None:
            if progress is not None:
                progress(window.start + window.count * done / steps, request.num_frames)

        generated = self.generate(
            crops=[face.crop for _, face in found],
            audio_tokens=job.tokens.frames(window.start, window.count)[[position for position, _ in found]],
            noise=job.noise,
            generator=posterior_generator(request.seed, window.index, self.generate.device),
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            progress=step,
        )
        spoken = list(images)
        for (position, face), mouth in zip(found, generated, strict=True):
            spoken[position] = paste_back(images[position], mouth, face.matrix)
        return spoken
