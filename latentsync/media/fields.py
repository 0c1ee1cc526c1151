"""Interlaced video: which field comes first, frames marked as such, and frames made of them without combs."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

TOP, BOTTOM = "top", "bottom"


def field_order(frame: VideoFrame) -> str | None:
    """TOP or BOTTOM, the field that is shown first; None for a progressive frame."""
    if not frame.interlaced_frame:
        return None
    # PyAV does not tell, but the filter that takes fields apart gives the first one first: of a corner whose even
    # lines, the top field, are made white, and the others black.
    width, height = min(16, frame.width), min(16, frame.height // 2 * 2)
    split = _graph(
        frame,
        Fraction(1, 25),
        ("crop", f"{width}:{height}:0:0"),
        ("geq", "lum='255*(1-mod(Y,2))':cb=128:cr=128"),
        ("separatefields", ""),
    )
    split.push(frame)
    split.push(None)
    first = split.pull()
    assert isinstance(first, VideoFrame)
    return TOP if np.frombuffer(cast(Any, first.planes[0]), np.uint8)[:width].any() else BOTTOM


class FieldMarker:
    """Marks frames of one format as interlaced; order: TOP or BOTTOM."""

    def __init__(self, order: str) -> None:
        self._mode = "tff" if order == TOP else "bff"
        self._graph: Graph | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The same picture with the mark. Its time must be set already."""
        base = frame.time_base or Fraction(1, 25)
        self._graph = self._graph or _graph(frame, base, ("setfield", self._mode))
        pts, duration = frame.pts, frame.duration
        self._graph.push(frame)
        marked = self._graph.pull()
        assert isinstance(marked, VideoFrame)
        marked.pts, marked.time_base, marked.duration = pts, base, duration
        return marked


def deinterlaced(frames: Iterator[VideoFrame], time_base: Fraction) -> Iterator[VideoFrame]:
    """One frame for each, at its own time, in which what was interlaced is whole (FFmpeg's bwdif); others pass."""
    graph: Graph | None = None
    waiting = 0
    for frame in frames:
        if graph is None:
            graph = _graph(frame, time_base, ("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        graph.push(frame)
        waiting += 1
        for whole in _pulled(graph):
            waiting -= 1
            yield _back_in(time_base, whole)
    if graph is not None and waiting:
        graph.push(None)
        for whole in _pulled(graph):
            yield _back_in(time_base, whole)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    """What the graph has ready."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame


def _back_in(time_base: Fraction, frame: VideoFrame) -> VideoFrame:
    """The filter counts in halves of the stream's units."""
    scale = (frame.time_base or time_base) / time_base
    if frame.pts is not None:
        frame.pts = round(frame.pts * scale)
    frame.duration = round((frame.duration or 0) * scale)
    frame.time_base = time_base
    return frame


def _graph(like: VideoFrame, time_base: Fraction, *steps: tuple[str, str]) -> Graph:
    """Filters, one after the other, for frames like this one."""
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=time_base)
    graph.link_nodes(source, *(graph.add(*step) for step in steps), graph.add("buffersink")).configure()
    return graph
