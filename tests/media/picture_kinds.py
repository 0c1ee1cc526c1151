"""Videos of the kinds that cameras and editors write, made on the spot."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.media.tone import ToneMap

PQ_TAGS, HLG_TAGS, BT709_TAGS, BT601_TAGS = (9, 9, 16), (9, 9, 18), (1, 1, 1), (6, 6, 6)
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


@dataclass(frozen=True)
class Kind:
    """How a source is made; tags: matrix, primaries, transfer. fields: "top" or "bottom" first."""

    encoder: str
    pixel_format: str
    suffix: str = ".mkv"
    tags: tuple[int, int, int] = BT709_TAGS
    size: tuple[int, int] = (96, 64)
    full: bool = False
    fields: str | None = None
    options: tuple[tuple[str, str], ...] = ()


def scene(number: int, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8: soft colours that drift, and some grain."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 31 + number / 5), np.cos(y / 29 + 1), np.sin((x + y) / 40)]
    grain = np.random.default_rng(number).integers(-2, 3, (height, width, 1))
    return np.clip(128 + 60 * np.stack(waves, axis=-1) + grain, 0, 255).astype(np.uint8)


def write_kind(path: Path, kind: Kind, count: int = 5, alpha: bool = False) -> Path:
    """`count` frames of `scene`, tagged and coded as `kind` says; alpha: the left half can be seen through."""
    width, height = kind.size
    options = dict(kind.options) | ({"flags": "+ilme+ildct"} if kind.fields else {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixel_format
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = kind.tags
        context.color_range = 2 if kind.full else 1
        graph = None
        for number in range(count):
            picture = scene(number, width, height)
            layout = "rgb24"
            if alpha:
                seen = np.full((height, width, 1), 255, np.uint8)
                seen[:, : width // 2] = 64
                picture, layout = np.concatenate([picture, seen], axis=-1), "rgba"
            elif kind.tags[0] == 9:
                picture, layout = ToneMap(kind.tags[2]).from_sdr(picture), "rgb48le"
            frame = av.VideoFrame.from_ndarray(picture, format=layout)
            frame = frame.reformat(
                format=kind.pixel_format,
                dst_colorspace={9: 9, 6: 5}.get(kind.tags[0], 1),
                dst_color_range=2 if kind.full else 1,
            )
            frame.colorspace, frame.color_primaries, frame.color_trc = kind.tags
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if kind.fields:
                graph = graph or _field_graph(frame, kind.fields)
                graph.push(frame)
                frame = graph.pull()
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _field_graph(frame: av.VideoFrame, first: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    mark, sink = graph.add("setfield", "tff" if first == "top" else "bff"), graph.add("buffersink")
    source.link_to(mark)
    mark.link_to(sink)
    graph.configure()
    return graph
