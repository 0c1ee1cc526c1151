"""One engine for many requests: limits, one request at a time on the networks, a folder of its own for each."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latentsync.app.pipeline_apart import PipelineApart
from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.inference.report import LipSyncReport
from latentsync.inference.request import LipSyncRequest, check_request

Tell = Callable[[float], None]


class Cancelled(Exception):
    """Whoever asked does not want the result any more."""


@dataclass(frozen=True)
class Limits:
    """What a request may bring: max_bytes of each file, max_seconds of sound, max_pixels of a frame (width × height).

    Raises UserError for limits that let nothing through.
    """

    max_bytes: int = 500_000_000
    max_seconds: float = 600.0
    max_pixels: int = 3840 * 2160

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_seconds", "max_pixels"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)}: give a number above 0")

    def check_file(self, path: Path, what: str) -> None:
        """Raise UserError for a file that is too large."""
        size = path.stat().st_size if path.is_file() else 0
        if size > self.max_bytes:
            raise UserError(f"{what}: {size / 1e6:.0f} MB is more than the {self.max_bytes / 1e6:.0f} MB allowed here")

    def check(self, request: LipSyncRequest) -> None:
        """Raise UserError for a request that is too long or too large."""
        if request.audio_seconds > self.max_seconds:
            raise UserError(
                f"audio: {request.audio_seconds:.0f} s is more than the {self.max_seconds:g} s allowed here"
            )
        if request.width * request.height > self.max_pixels:
            raise UserError(f"input: {request.width} × {request.height} pixels are more than allowed here")


class LipSyncService:
    """Serves requests from any thread; close it, or use it as a context manager, to remove every folder it made.

    pipeline: in this process, or apart: then a request that kills its process fails alone.
    """

    def __init__(self, pipeline: LipSyncPipeline | PipelineApart, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._pipeline = pipeline
        self._check = pipeline.check if isinstance(pipeline, PipelineApart) else check_request
        self._turn = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="latentsync-"))

    @property
    def guidance_scale(self) -> float:
        """That the weights were made for."""
        return self._pipeline.guidance_scale

    def __enter__(self) -> "LipSyncService":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is left of all requests, and end a pipeline that is apart."""
        if isinstance(self._pipeline, PipelineApart):
            self._pipeline.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_folder(self) -> Path:
        """A folder that nobody else uses; the caller removes it when the result is delivered."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def run(
        self,
        input: Path,
        audio: Path | None,
        folder: Path,
        options: LipSyncOptions,
        tell: Tell | None = None,
        cancelled: threading.Event | None = None,
    ) -> LipSyncReport:
        """Lip-sync into `folder`/output.mp4. tell: told the share that is done, 0 … 1; cancelled: set it to stop.

        Requests wait for each other; those that break a limit or cannot be used fail at once. Raises UserError, and
        Cancelled, after which nothing of the output is there.
        """
        self.limits.check_file(input, "input")
        if audio is not None:
            self.limits.check_file(audio, "audio")
        request = self._check(input, audio, folder / "output.mp4", options)
        self.limits.check(request)

        def progress(done: float, total: int) -> None:
            if cancelled is not None and cancelled.is_set():
                raise Cancelled
            if tell is not None:
                tell(min(1.0, done / max(1, total)))

        while not self._turn.acquire(timeout=0.2):
            if cancelled is not None and cancelled.is_set():
                raise Cancelled
        try:
            progress(0, 1)
            return self._pipeline.run(request, progress)
        finally:
            self._turn.release()
