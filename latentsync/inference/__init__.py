"""Inference: window plan, frame source and the streaming lip-sync pipeline.

The pipeline is loaded when it is first asked for: a mistake in a request is answered without waiting for torch.
"""

from typing import TYPE_CHECKING, Any

from latentsync.inference.report import Fate, LipSyncReport
from latentsync.inference.request import LipSyncRequest, check_request

if TYPE_CHECKING:
    from latentsync.inference.pipeline import LipSyncPipeline

__all__ = ["Fate", "LipSyncPipeline", "LipSyncReport", "LipSyncRequest", "check_request"]


def __getattr__(name: str) -> Any:
    if name == "LipSyncPipeline":
        from latentsync.inference.pipeline import LipSyncPipeline

        return LipSyncPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
