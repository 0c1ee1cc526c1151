"""Videos whose pictures flash and whose sound clicks at known moments, in any container, whole or damaged."""

import struct
import wave as wave_format
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet

FPS = 25
FLASHES = (10, 28, 47)  # frames
SECONDS = 2.4
_CLICK = 0.6 * np.hanning(48).astype(np.float32)  # 1 ms

# suffix: picture codec, sound codec, sound rate
CONTAINERS = {
    "mp4": ("libx264", "aac", 48000),
    "mov": ("libx264", "pcm_s16le", 44100),
    "mkv": ("libx264", "libopus", 48000),
    "avi": ("mpeg4", "pcm_s16le", 44100),  # it does not tell how much of a coded sound is lead-in
    "ts": ("libx264", "aac", 44100),
    "mpg": ("mpeg2video", "mp2", 48000),
    "webm": ("libvpx", "libopus", 48000),
}


@dataclass
class Making:
    """How a file is made.

    pictures_late, sound_late: seconds that are not stored of the beginning of one while the other is. hidden: seconds
    of both that are stored, but before time 0 (an mp4's edit list hides them). lost: (from, to) seconds of the sound
    whose packets are not stored. stamps: seconds that a sound packet's stamp is off, by its number. b_frames: between
    others. packed: B-frames stand in one packet with the frame before them, as DivX and Xvid did in AVI. sound_codec:
    another than the container's usual one. draw: the picture of a frame's number. options: of the container.
    """

    pictures_late: float = 0.0
    sound_late: float = 0.0
    hidden: float = 0.0
    lost: Sequence[tuple[float, float]] = ()
    stamps: Callable[[int], float] | None = None
    b_frames: int = 2
    packed: bool = False
    sound_codec: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    draw: Callable[[int], np.ndarray] | None = None


def click_times() -> list[float]:
    """Seconds after the first picture at which pictures flash and sound clicks."""
    return [number / FPS for number in FLASHES]


def clicking_sound(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """(N,) float32: a click at each flash, and a faint hum, so that no codec takes the rest for nothing."""
    wave = (0.01 * np.sin(2 * np.pi * 150 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    click = np.interp(np.arange(round(rate / 1000)) * 48 / round(rate / 1000), np.arange(48), _CLICK)
    for time in click_times():
        start = round(time * rate)
        wave[start : start + len(click)] += click.astype(np.float32)
    return wave


def flashing_picture(number: int) -> np.ndarray:
    """(64, 64, 3) uint8: dark, with a bar that moves; all white at a flash."""
    picture = np.full((64, 64, 3), 30, np.uint8)
    picture[:, number % 64] = 90
    if number in FLASHES:
        picture[:] = 235
    return picture


def write_clicking(path: Path, making: Making | None = None) -> Path:
    """A video of `SECONDS` in the container of the path's suffix."""
    making = making or Making()
    picture_codec, sound_codec, rate = CONTAINERS[path.suffix[1:]]
    with av.open(str(path), "w", options=making.options) as container:
        video = container.add_stream(picture_codec, rate=FPS)
        first = (making.draw or flashing_picture)(0)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        if picture_codec != "libvpx":
            video.codec_context.max_b_frames = 1 if making.packed else making.b_frames
        sound = container.add_stream(making.sound_codec or sound_codec, rate=rate, layout="mono")
        packets = [*_pictures(video, making), *_sound(sound, rate, making)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            shift = round(making.hidden / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            container.mux(packet)
    return path


def _pictures(video: av.VideoStream, making: Making) -> list[Packet]:
    first = round(making.pictures_late * FPS)
    packets: list[Packet] = []
    for number in range(first, round(SECONDS * FPS)):
        image = (making.draw or flashing_picture)(number)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        packets += video.encode(frame)
    packets += video.encode(None)
    return list(_packed(packets)) if making.packed else packets


def _sound(sound: av.AudioStream, rate: int, making: Making) -> Iterator[Packet]:
    """Packets, but for those that begin in a stretch that is lost."""
    wave = clicking_sound(rate)[round(making.sound_late * rate) :]
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    resampler = av.AudioResampler(sound.codec_context.format.name, "mono", rate, frame_size=1024)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    passed, number = round(making.sound_late * rate), -1
    for part in [*parts, None]:
        if part is not None:
            part.pts, part.time_base = passed, Fraction(1, rate)
            passed += part.samples
        for packet in sound.encode(part):
            number += 1
            time = float(packet.pts * packet.time_base)
            if making.stamps is not None:
                packet.pts += round(making.stamps(number) / packet.time_base)
                packet.dts = packet.pts
            if not any(start <= time < stop for start, stop in making.lost):
                yield packet


def _packed(packets: list[Packet]) -> Iterator[Packet]:
    """I P B P B … as I, P + B, nothing, P + B, nothing …, with the note by which decoders know."""
    step = packets[1].dts - packets[0].dts
    for number in range(0, len(packets)):
        data = bytes(packets[number])
        if number == 0:
            at = data.index(b"\0\0\1\xb6")
            data = data[:at] + b"\0\0\1\xb2DivX503b1393p" + data[at:]
        elif number % 2 and number + 1 < len(packets):
            data += bytes(packets[number + 1])
        elif number % 2 == 0:
            data = _nothing(number)
        made = Packet(data)
        made.stream, made.time_base = packets[0].stream, packets[0].time_base
        made.pts = made.dts = packets[0].dts + number * step
        made.is_keyframe = packets[number].is_keyframe
        yield made


def _nothing(number: int) -> bytes:
    """A coded frame that says that there is none (MPEG-4 part 2: vop_coded = 0)."""
    bits = f"01{'0'}1{number % FPS:05b}10"
    bits += "0" + "1" * (-(len(bits) + 1) % 8)
    return b"\0\0\1\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def clicks(wave: np.ndarray, rate: int) -> list[float]:
    """Seconds at which sound clicks: the first loud moment of each."""
    loud = np.flatnonzero(np.abs(wave) > 0.15)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate // 20) + 1) if len(loud) else []
    return [float(group[0] / rate) for group in groups]


def flashes(frames: Iterator[tuple[np.ndarray, float]]) -> list[float]:
    """Seconds at which pictures begin to flash. frames: (image, time)."""
    bright = [(float(image.mean()) > 160, time) for image, time in frames]
    return [time for (now, time), (before, _) in zip(bright, [(False, 0.0), *bright]) if now and not before]


def stored(path: Path) -> tuple[np.ndarray, int, float]:
    """(wave, rate, start) of the first sound track after the first picture, by packets' stamps and nothing of ours:
    each decoded frame is laid where its stamp says."""
    with av.open(str(path)) as container:
        zero = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate, wave = stream.rate, np.zeros(0, np.float32)
        resampler = av.AudioResampler("s32", "mono", rate)
        start = None
        for frame in container.decode(stream):
            start = frame.time - zero if start is None else start
            at = round((frame.time - zero) * rate)
            frame.pts = None
            for out in resampler.resample(frame):
                part = out.to_ndarray()[0] / 2.0**31
                if at + len(part) > len(wave):
                    wave = np.pad(wave, (0, at + len(part) - len(wave)))
                keep = max(0, -at)
                wave[at + keep : at + len(part)] = part[keep:]
    return wave, rate, float(start or 0.0)


def write_channels(path: Path, count: int, mask: int | None, rate: int = 8000) -> list[float]:
    """A WAV whose channels have a tone each; mask: of the speakers, None = not told. Returns the tones, in Hz."""
    tones = [200.0 + 100 * number for number in range(count)]
    times = np.arange(rate) / rate
    samples = np.stack([0.3 * np.sin(2 * np.pi * tone * times) for tone in tones], axis=1)
    if mask is None:
        with wave_format.open(str(path), "wb") as file:
            file.setparams((count, 2, rate, 0, "NONE", ""))
            file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
        return tones
    data = np.rint(samples * 32767).astype("<i2").tobytes()
    kind = struct.pack("<HHIIHHHHI", 0xFFFE, count, rate, rate * 2 * count, 2 * count, 16, 22, 16, mask)
    kind += bytes.fromhex("0100000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return tones
