"""The pipeline in a process of its own: what kills that process fails one request, and the server goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.inference.report import LipSyncReport
from latentsync.inference.request import LipSyncRequest, check_request
from latentsync.work.files import remove_leftovers
from latentsync.work.local_runner import LoneWorker
from latentsync.work.progress import Progress
from latentsync.work.runner import Outcome, Tell

_CANCEL = ".cancel"  # a file beside the output: whoever works on it stops
_MODULES = ("latentsync.inference.pipeline",)
_CHECK_SECONDS = 120.0  # a file that takes longer to look at hangs its decoder


class MakePipeline(Protocol):
    """Loads the pipeline where it is needed; picklable."""

    def __call__(self) -> LipSyncPipeline: ...


class PipelineApart:
    """Stands for a `LipSyncPipeline` that `load` makes in a worker process, and makes anew when that has died.

    Looking at what a request brings happens in another worker: decoders are what dies, and a look must not wait.
    """

    def __init__(self, load: MakePipeline) -> None:
        self._worker = LoneWorker(_Generating(load))
        self._guidance_scale: float | None = None
        self._checker = LoneWorker(_Checking(), time_limit=_CHECK_SECONDS)

    def start(self) -> None:
        """Load the networks. Raises UserError for those that cannot be."""
        self._guidance_scale = _ask(self._worker, None)

    @property
    def guidance_scale(self) -> float:
        """That the weights were made for. Raises UserError for networks that cannot be loaded."""
        if self._guidance_scale is None:
            self.start()
        assert self._guidance_scale is not None
        return self._guidance_scale

    def check(self, input: Path, audio: Path | None, output: Path, options: LipSyncOptions) -> LipSyncRequest:
        """See `check_request`. Raises UserError, also for files that kill whoever looks at them."""
        return _ask(self._checker, (input, audio, output, options))

    def run(self, request: LipSyncRequest, progress: Progress | None = None) -> LipSyncReport:
        """See `LipSyncPipeline.run`. An exception in `progress` stops the work; nothing of the output is left then."""
        cancel = request.output.with_name(_CANCEL)
        told: list[BaseException] = []

        def tell(share: float) -> None:
            if progress is None or told:
                return
            try:
                progress(share, 1)
            except BaseException as stop:
                told.append(stop)
                cancel.touch()

        try:
            return _ask(self._worker, request, tell)
        finally:
            cancel.unlink(missing_ok=True)
            remove_leftovers(request.output.parent)
            if told:
                request.output.unlink(missing_ok=True)
                raise told[0]

    def close(self) -> None:
        """End the workers."""
        self._worker.close()
        self._checker.close()


class _Generating:
    """The work of a worker: a request, or None to load the networks and tell the guidance that they are made for."""

    modules = _MODULES

    def __init__(self, load: MakePipeline) -> None:
        self._load = load
        self._pipeline: LipSyncPipeline | None = None

    def __call__(self, request: LipSyncRequest | None, alive: Callable[[float], None]) -> LipSyncReport | float:
        if self._pipeline is None:
            self._pipeline = self._load()
        if request is None:
            return self._pipeline.guidance_scale
        cancel = request.output.with_name(_CANCEL)

        def progress(done: float, total: int) -> None:
            if cancel.exists():
                raise UserError("cancelled")
            alive(min(1.0, done / max(1, total)))

        return self._pipeline.run(request, progress)


class _Checking:
    """The work of a worker that looks at requests."""

    modules = _MODULES

    def __call__(self, given: tuple[Any, ...], alive: Callable[[float], None]) -> LipSyncRequest:
        return check_request(*given)


def _ask(worker: LoneWorker, item: Any, tell: Tell | None = None) -> Any:
    """What a worker makes of an item. Raises UserError where its work does, or where its process dies or hangs."""
    result, failure, _ = worker.answer(item, tell)
    Outcome(item, result, failure).check()
    if failure is not None:
        raise UserError(f"{failure}; try other files")
    return result
