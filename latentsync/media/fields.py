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
    # PyAV does not tell, but the filter that takes fields apart gives the first one first.
    split = _graph(frame, Fraction(1, 25), ("separatefields", ""))
    split.push(frame)
    split.push(None)
    first, whole = _luma(split.pull()), _luma(frame)  # type: ignore[arg-type]
    lines = min(len(first), frame.height // 2)
    top, bottom = whole[0 : 2 * lines : 2], whole[1 : 2 * lines : 2]
    if np.array_equal(top, bottom):  # a picture of one colour
        return TOP
    return TOP if np.array_equal(first[:lines], top) else BOTTOM


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


def _luma(frame: VideoFrame) -> np.ndarray:
    """The bytes of the first plane's lines."""
    plane = frame.planes[0]
    lines = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


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


def _graph(like: VideoFrame, time_base: Fraction, step: tuple[str, str]) -> Graph:
    """One filter for frames like this one."""
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=time_base)
    node, sink = graph.add(*step), graph.add("buffersink")
    source.link_to(node)
    node.link_to(sink)
    graph.configure()
    return graph
