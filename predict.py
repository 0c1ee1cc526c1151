"""The Cog predictor: `cog predict -i input=@talk.mp4 -i audio=@speech.wav`, or Cog's HTTP server (docs/serving.md)."""

import os
import shutil
from pathlib import Path as LocalPath

from cog import BasePredictor, Input, Path

from latentsync.app.pipeline_apart import PipelineApart
from latentsync.app.service import Limits, LipSyncService
from latentsync.inference.batch import Loader
from latentsync.inference.options import LipSyncOptions


class Predictor(BasePredictor):
    """A video or a picture speaks a recording."""

    def setup(self) -> None:
        """Load the networks once. LATENTSYNC_WEIGHTS, _DEVICE, _PRECISION, _FACES say which, where and how;
        _AUTOENCODER, _AUDIO_ENCODER and _RESOLUTION what the weights do not tell."""
        resolution = os.environ.get("LATENTSYNC_RESOLUTION")
        load = Loader(
            os.environ.get("LATENTSYNC_WEIGHTS", "demo"),
            os.environ.get("LATENTSYNC_DEVICE", "auto"),
            os.environ.get("LATENTSYNC_PRECISION", "32"),
            os.environ.get("LATENTSYNC_FACES", "mediapipe"),
            os.environ.get("LATENTSYNC_AUTOENCODER"),
            os.environ.get("LATENTSYNC_AUDIO_ENCODER"),
            int(resolution) if resolution else None,
        )
        limits = Limits(max_seconds=float(os.environ.get("LATENTSYNC_MAX_SECONDS", "600")))
        pipeline = PipelineApart(load)  # what a file does to a decoder ends that job, not the server
        self.service = LipSyncService(pipeline, limits)
        pipeline.start()

    def predict(
        self,
        input: Path = Input(description="A video (.mp4 .mov .mkv .webm .avi) or a picture (.jpg .png .bmp .webp)"),
        audio: Path = Input(description="Any file with sound"),
        guidance_scale: float | None = Input(
            description="Above 1 follows the sound harder; none: what the weights were made for",
            default=None,
            ge=0.0,
            le=10.0,
        ),
        num_inference_steps: int = Input(description="Denoising steps", default=20, ge=1, le=100),
        seed: int = Input(description="0: draw one", default=0, ge=0),
        audio_track: str | None = Input(
            description="Of several sound tracks: a number from 0, or a language such as eng; none: the default one",
            default=None,
        ),
    ) -> Path:
        """The video, in a folder of its own."""
        options = LipSyncOptions(
            guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, seed=seed, audio_track=audio_track
        )
        folder = self.service.new_folder()  # Cog reads the file after this returns
        try:
            report = self.service.run(LocalPath(input), LocalPath(audio), folder, options)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Path(report.output)
