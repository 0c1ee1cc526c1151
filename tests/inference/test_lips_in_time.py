"""Lips, stored sound and pictures agree in the output, whatever container they come from and whatever is missing.

The stand-in network opens a mouth (paints it bright) where the tokens of a frame hear a click. The output is read by
FFmpeg's own stamps alone.
"""

from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
import torch
from clicking import CONTAINERS, FLASHES, FPS, Making, click_times, clicks, stored, write_clicking

from benchmarks.stand_in import FixedFace, Painter
from latentsync.inference import LipSyncPipeline
from latentsync.inference.generator import WindowGenerator
from latentsync.models.audio_encoder import AudioEncoder

SIDE = 96


class Listener(AudioEncoder):
    """Its tokens are how loud a step of 20 ms is above the voice's own pitch, and nothing else."""

    def encode(self, mel: torch.Tensor) -> torch.Tensor:
        loud = mel[:, 40:].mean(1)  # (B, T), 100 a second
        steps = torch.nn.functional.pad(loud, (0, 3000 - loud.shape[1]), value=-1.0).unflatten(1, (1500, 2)).amax(2)
        return steps[:, :, None, None].expand(-1, -1, self.num_layers, self.hidden_size)


class Mouth(Painter):
    """Paints the mouth of a frame whose own two steps (of the ten that it is given) hear a click."""

    def generate(self, windows: Any, *rest: Any, **more: Any) -> list[list[np.ndarray]]:
        return [[self._mouth(crop, tokens) for crop, tokens in zip(w.crops, w.audio_tokens)] for w in windows]

    def _mouth(self, crop: np.ndarray, tokens: torch.Tensor) -> np.ndarray:
        steps = tokens.reshape(10, -1).mean(1)
        heard = float(steps[4:6].amax())
        return np.clip(crop + self._painted * (heard > -0.5), 0, 255).astype(np.uint8)


def head(number: int) -> np.ndarray:
    """A grey head whose hat is white at a flash, as no mouth reaches it."""
    picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
    picture[:4] = 235 if number in FLASHES else 20
    return picture


@pytest.fixture(scope="module")
def lip_sync() -> LipSyncPipeline:
    encoder = Listener.from_config(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32)
    painter = cast(WindowGenerator, Mouth(64, levels=120))
    return LipSyncPipeline.from_generator(painter, encoder, FixedFace())


def moments(path: Path) -> tuple[list[float], list[float]]:
    """(flashes of the hat, first moments of an open mouth) in seconds after the first picture."""
    hats, mouths = [], []
    with av.open(str(path)) as container:
        zero = None
        for frame in container.decode(video=0):
            zero = frame.time if zero is None else zero
            image = frame.to_ndarray(format="gray").astype(float)
            for found, shown in ((hats, image[:3].mean() > 120), (mouths, image[10:].max() > 140)):
                if shown and (not found or frame.time - zero - found[-1][-1] > 0.2):
                    found.append([frame.time - zero])
                elif shown:
                    found[-1].append(frame.time - zero)
    return [group[0] for group in hats], [float(np.mean(group)) for group in mouths]


def assert_together(path: Path, late: float = 0.0) -> None:
    """Stored clicks within 5 ms of where they belong; hats and lips within a frame of the clicks that are stored."""
    wave, rate, _ = stored(path)
    heard = clicks(wave, rate)
    assert heard == pytest.approx([time - late for time in click_times()], abs=5e-3)
    hats, mouths = moments(path)
    assert hats == pytest.approx(heard, abs=1 / FPS + 5e-3)
    assert mouths == pytest.approx(heard, abs=1 / FPS + 5e-3)


@pytest.mark.parametrize("output", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_lips_sound_and_pictures_agree_from_every_container(
    lip_sync: LipSyncPipeline, tmp_path: Path, suffix: str, output: str
) -> None:
    if output != "mp4" and suffix in ("ts", "mpg", "webm"):
        pytest.skip("one output is enough for these")
    source = write_clicking(tmp_path / f"a.{suffix}", Making(draw=head))
    assert_together(lip_sync(source, None, tmp_path / f"out.{output}", seed=1).output)


@pytest.mark.parametrize(
    ("name", "making", "late"),
    [
        ("lost.mp4", Making(draw=head, lost=((0.55, 1.0), (1.3, 1.34))), 0.0),
        ("lost.mkv", Making(draw=head, lost=((0.55, 1.0), (1.3, 1.34))), 0.0),
        ("beginning lost.ts", Making(draw=head, lost=((-1, 0.3),)), 0.0),
        ("sound late.mp4", Making(draw=head, sound_late=0.3), 0.0),
        ("pictures late.mkv", Making(draw=head, pictures_late=0.2), 0.2),
        ("no edit list.mp4", Making(draw=head, options={"use_editlist": "0"}), 0.0),
        ("hidden.mp4", Making(draw=head, hidden=0.2), 0.2),
        ("packed.avi", Making(draw=head, packed=True), 0.0),
    ],
)
def test_lips_sound_and_pictures_agree_whatever_is_missing(
    lip_sync: LipSyncPipeline, tmp_path: Path, name: str, making: Making, late: float
) -> None:
    source = write_clicking(tmp_path / name, making)
    assert_together(lip_sync(source, None, tmp_path / "out.mp4", seed=1).output, late)


def test_the_sound_of_another_video_speaks_from_that_video_s_first_picture(
    lip_sync: LipSyncPipeline, tmp_path: Path
) -> None:
    silent = write_clicking(tmp_path / "face.mp4", Making(draw=head))
    voice = write_clicking(tmp_path / "voice.mkv", Making(pictures_late=0.2, lost=((0.55, 1.0),)))
    report = lip_sync(silent, voice, tmp_path / "out.mp4", seed=1)
    wave, rate, _ = stored(report.output)
    heard = clicks(wave, rate)
    assert heard == pytest.approx([time - 0.2 for time in click_times()], abs=5e-3)
    assert moments(report.output)[1] == pytest.approx(heard, abs=1 / FPS + 5e-3)


CASES = {  # file: (input or None for the good video, seconds of the clicks, codec and layout of the sound)
    "gap.mp4": (True, [0.4, 1.1, 1.9], ("aac", "mono")),
    "noedit.mp4": (True, [0.4, 1.1, 1.9], ("aac", "mono")),
    "two.mp4": (True, [0.4, 1.1, 1.9], ("aac", "mono")),
    "g1_opus_dtx.mkv": (True, [0.4, 1.1, 1.9], ("aac", "mono")),
    "g4_many.mp4": (True, [0.4, 1.1, 1.9], ("aac", "mono")),
    "d1_ad.mpg": (True, [0.4, 1.1, 1.9], ("ac3", "mono")),
    "c71_8k.wav": (False, [0.4], ("aac", "7.1")),
    "quad.wav": (False, [0.4], ("aac", "quad")),
    "o.caf": (False, [0.4065, 1.1065, 1.9065], ("aac", "mono")),  # the file does not tell its lead-in of 6.5 ms
}


@pytest.mark.parametrize("name", CASES)
def test_cases_that_went_wrong(lip_sync: LipSyncPipeline, shared: Path, tmp_path: Path, name: str) -> None:
    cases = shared / "data" / "cases"
    if not (cases / name).is_file():
        pytest.skip(f"needs ../shared/data/cases/{name}, which is not there")
    own, expected, kept = CASES[name]
    source, audio = (cases / name, None) if own else (cases / "base.mp4", cases / name)
    report = lip_sync(source, audio, tmp_path / "out.mp4", seed=1)
    wave, rate, _ = stored(report.output)
    heard = clicks(wave, rate)
    assert heard == pytest.approx(expected, abs=5e-3)
    with av.open(str(report.output)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.layout.name) == kept
