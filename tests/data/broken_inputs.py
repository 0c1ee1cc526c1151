"""Damaged and absurd inputs: each must end in a video or one line; no traceback, no hang, no file left behind."""

import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from latentsync.errors import UserError
from latentsync.media import encode_wav, probe_video

_SOUND = np.sin(np.arange(24000) / 11).astype(np.float32) * 0.5
_VIDEOS = {
    "a.mp4": ("libx264", "aac"), "b.mkv": ("libx264", "libopus"), "c.mov": ("mpeg4", "pcm_s16le"),
    "d.avi": ("mjpeg", "libmp3lame"), "e.mpg": ("mpeg1video", "mp2"), "f.webm": ("libvpx", "libopus"),
}  # fmt: skip
_SOUNDS = {"g.wav": "pcm_s16le", "h.mp3": "libmp3lame", "i.flac": "flac", "j.ogg": "libopus", "k.m4a": "aac"}
_PICTURES = ("l.png", "m.jpg", "n.bmp", "o.webp")


@dataclass(frozen=True)
class Case:
    """A job with something wrong; what: in words. expected: whether a video comes out, None: either end will do."""

    what: str
    input: Path
    audio: Path | None
    expected: bool | None = None


def write_bases(folder: Path) -> None:
    """One small good file of each kind."""
    for name, (video, audio) in _VIDEOS.items():
        _write_media(folder / name, audio, video)
    for name, codec in _SOUNDS.items():
        _write_media(folder / name, codec)
    for name in _PICTURES:
        Image.fromarray(_picture(0)).save(folder / name)
    (folder / "short.wav").write_bytes(encode_wav(_SOUND[:3300], 16000))  # for pictures that take long


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """All special cases, then random damage, `count` together; files are written to `folder`."""
    write_bases(folder)
    special = list(_special(folder))
    yield from special[:count]
    rng = random.Random(seed)
    names = [*_VIDEOS, *_SOUNDS, *_PICTURES]
    for number in range(count - len(special)):
        name = names[number % len(names)]
        what, data = _damaged((folder / name).read_bytes(), rng)
        path = folder / f"{number:04d} {name}"
        path.write_bytes(data)
        if name in _SOUNDS:
            yield Case(f"{name} {what}", folder / "l.png", path)
        else:
            yield Case(f"{name} {what}", path, folder / "g.wav" if name in _PICTURES or rng.random() < 0.5 else None)


def _damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    hurt, kind = bytearray(data), rng.choice(["cut", "flips", "zeros", "swap", "grown", "header"])
    at = rng.randrange(len(hurt))
    if kind == "cut":
        return f"cut at {at}", bytes(hurt[:at])
    if kind == "zeros":
        hurt[at : at + 500] = bytes(len(hurt[at : at + 500]))
    elif kind == "swap":
        hurt = hurt[at:] + hurt[:at]
    elif kind == "grown":
        hurt[at:at] = rng.randbytes(300)
    else:
        span = min(len(hurt), 120) if kind == "header" else len(hurt)
        for _ in range(rng.choice([1, 4, 40])):
            hurt[rng.randrange(span)] ^= 1 << rng.randrange(8)
    return f"{kind} at {at}", bytes(hurt)


def _special(folder: Path) -> Iterator[Case]:
    wav, png = folder / "g.wav", folder / "l.png"
    for name in ("empty.mp4", "empty.png", "empty.wav"):
        (folder / name).touch()
        yield _as_role(folder / name, wav, png, "0 bytes", False)
    for name in ("words.mp4", "words.png", "words.wav"):
        (folder / name).write_text("not what it says " * 99)
        yield _as_role(folder / name, wav, png, "text", False)
    for source, name in (
        ("a.mp4", "x.png"),
        ("l.png", "x.mp4"),
        ("g.wav", "x.jpg"),
        ("h.mp3", "x.mp4"),
        ("m.jpg", "y.png"),
    ):
        shutil.copy(folder / source, folder / name)
        yield Case(f"{source} called {name}", folder / name, wav, True if name == "y.png" else None)
    yield Case("a picture as sound", png, folder / "m.jpg", False)
    yield Case("a folder as input", folder, wav, False)
    yield Case("nothing there", folder / "none.mp4", wav, False)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    yield Case("a link to itself", folder / "loop.mp4", wav, False)
    for size in ((1, 1), (2, 3), (1, 400), (7680, 4320)):
        path = folder / f"{size[0]}x{size[1]}.png"
        Image.fromarray(np.full((size[1], size[0], 3), 99, np.uint8)).save(path)
        yield Case(f"a picture of {size}", path, folder / "short.wav")
    for size in ((100_000, 100_000), (2**31 - 1, 1), (0, 0)):
        (folder / f"claims {size[0]}.png").write_bytes(_png_claiming(*size))
        yield Case(f"a PNG that claims {size}", folder / f"claims {size[0]}.png", wav, False)
    for fps in (1, 240, 1000):
        _write_media(folder / f"{fps}.mp4", "aac", "libx264", fps=fps)
        yield Case(f"{fps} frames a second", folder / f"{fps}.mp4", wav, True)
    for channels, rate, bits in (
        (0, 16000, 16),
        (1, 0, 16),
        (1, 96000, 16),
        (8, 48000, 16),
        (1, 2**31, 16),
        (2, 8000, 0),
        (65535, 8000, 16),
    ):
        path = folder / f"{channels} channels {rate} Hz {bits} bits.wav"
        path.write_bytes(_wav_claiming(channels, rate, bits))
        yield Case(path.stem, png, path)


def _as_role(path: Path, wav: Path, png: Path, what: str, expected: bool) -> Case:
    if path.suffix == ".wav":
        return Case(f"{what} as {path.suffix}", png, path, expected)
    return Case(f"{what} as {path.suffix}", path, wav, expected)


def _picture(number: int, height: int = 72, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([120 + 60 * np.sin((x + 3 * number) / 9), 120 + 60 * np.cos(y / 7), 0 * x + 90], -1).astype(
        np.uint8
    )


def _write_media(path: Path, audio: str, video: str | None = None, fps: int = 25) -> None:
    """Some sound, and 20 pictures where a video codec is given."""
    rate = 48000 if audio == "libopus" else 44100
    with av.open(str(path), "w") as container:
        pictures = None if video is None else container.add_stream(video, rate=fps)
        sound = container.add_stream(audio, rate=rate, layout="mono")
        if pictures is not None:
            pictures.width, pictures.height = 96, 72
            pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        resampler = av.AudioResampler(
            sound.codec_context.format.name, "mono", rate, sound.codec_context.frame_size or 1024
        )
        wave = av.AudioFrame.from_ndarray(_SOUND[None], format="fltp", layout="mono")
        wave.sample_rate, wave.pts, wave.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(wave), *resampler.resample(None)]:
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(300))) + chunk(b"IEND", b"")
    )


def _wav_claiming(channels: int, rate: int, bits: int) -> bytes:
    samples = (_SOUND * 20000).astype("<i2").tobytes()
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) % 2**32, block % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def attempt(case: Case, folder: Path, run: Callable[..., object]) -> str:
    """Run one job into an empty `folder`: "made", "refused", or what is wrong with how it ended."""
    folder.mkdir()
    try:
        run(case.input, case.audio, folder / "out.mp4", seed=1, num_inference_steps=1)
        outcome = "made"
        if probe_video(folder / "out.mp4").num_frames < 1:
            outcome = "bad: an empty video"
    except UserError as error:
        outcome = "refused" if "\n" not in str(error) and len(str(error)) > 20 else f"bad: message '{error}'"
    except Exception as error:
        outcome = f"bad: {type(error).__name__}: {error}"
    left = sorted(path.name for path in folder.iterdir())
    if left != (["out.mp4"] if outcome == "made" else []):
        outcome = f"bad: left {left} after '{outcome}'"
    if case.expected is not None and not outcome.startswith("bad") and (outcome == "made") != case.expected:
        outcome = f"bad: {outcome}, which was not expected"
    shutil.rmtree(folder)
    return outcome
