"""Frames of several videos in rows under each other, as one PNG: `python -m eval.contact_sheet`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from omegaconf import DictConfig

from configs.compose import command
from latentsync.errors import UserError
from latentsync.media.frames import read_frames
from latentsync.media.stills import write_picture

_LABEL_HEIGHT = 18


def contact_sheet(rows: Mapping[str, Sequence[np.ndarray]], columns: int = 8, width: int = 160) -> np.ndarray:
    """One image (H, W, 3) uint8 RGB: a labelled row for each video, `columns` frames at even times.

    rows: label -> F frames (h, w, 3) uint8 RGB; videos may differ in size and length. The times are those of the
    shortest, so that a column shows one moment. width: of a frame in the sheet, in pixels.
    """
    if not rows or not all(rows.values()):
        raise ValueError("a contact sheet needs rows with frames")
    count = min(len(frames) for frames in rows.values())
    # The middles of equal parts: neither the first frame nor the last says much.
    chosen = [int((column + 0.5) * count / columns) for column in range(columns)]
    strips = []
    for label, frames in rows.items():
        height = round(frames[0].shape[0] * width / frames[0].shape[1])
        cells = [cv2.resize(frames[i], (width, height), interpolation=cv2.INTER_AREA) for i in chosen]
        strips += [_label(label, columns * width), np.concatenate(cells, axis=1)]
    return np.concatenate(strips, axis=0)


def _label(text: str, width: int) -> np.ndarray:
    strip = np.full((_LABEL_HEIGHT, width, 3), 255, np.uint8)
    place = (4, _LABEL_HEIGHT - 5)
    return np.asarray(cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA))


def evaluation_rows(clips: Path, people: int) -> dict[str, list[np.ndarray]]:
    """Input, generated and truth of the first people in the clips folder of an evaluation. Raises UserError."""
    names = sorted(path.name.removesuffix("_generated.mp4") for path in clips.glob("*_generated.mp4"))
    if not names:
        raise UserError(f"input '{clips}': no *_generated.mp4 in it; run `python -m eval.lip_sync` first")
    labels = {"input": "input", "generated": "generated", "truth": "the driving speech's own face"}
    return {
        f"{name}: {label}": [frame.image for frame in read_frames(clips / f"{name}_{part}.mp4")]
        for name in names[:people]
        for part, label in labels.items()
    }


def run(config: DictConfig) -> None:
    """`python -m eval.contact_sheet input=runs/eval/clips output=runs/eval/contact_sheet.png`"""
    output = Path(config.output)
    if output.suffix.lower() != ".png":
        raise UserError(f"output '{output}': give a .png")
    if not output.parent.is_dir():
        raise UserError(f"output '{output}': folder '{output.parent}' does not exist; create it first")
    for name in ("people", "columns", "width"):
        if not isinstance(config[name], int) or not 1 <= config[name] <= 1000:
            raise UserError(f"{name}={config[name]}: give 1 to 1000")
    rows = evaluation_rows(Path(config.input), config.people)
    write_picture(output, contact_sheet(rows, config.columns, config.width))
    print(f"contact sheet: {output}")


if __name__ == "__main__":
    command("eval/contact_sheet", run)
