"""Frames of several videos in rows under each other, as one PNG: `python -m eval.contact_sheet`; mouths in motion."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from omegaconf import DictConfig

from configs.compose import command
from eval.video import Faces
from latentsync.errors import UserError
from latentsync.face.alignment import FaceAligner, canvas_size, crop_with
from latentsync.face.landmarks import select_largest
from latentsync.media.frames import read_frames, read_frames_at
from latentsync.media.rates import FPS
from latentsync.media.stills import write_picture

_LABEL_HEIGHT = 18
# Of the upright canvas: what a mouth in motion is shown with.
_SHOWN_ROWS, _SHOWN_COLUMNS = (0.42, 0.92), (0.12, 0.88)


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
    return _strips({label: [frames[i] for i in chosen] for label, frames in rows.items()}, width)


def _strips(rows: Mapping[str, Sequence[np.ndarray]], width: int) -> np.ndarray:
    strips = []
    for label, frames in rows.items():
        height = round(frames[0].shape[0] * width / frames[0].shape[1])
        cells = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
        strips += [_label(label, len(cells) * width), np.concatenate(cells, axis=1)]
    return np.concatenate(strips, axis=0)


def _label(text: str, width: int) -> np.ndarray:
    strip = np.full((_LABEL_HEIGHT, width, 3), 255, np.uint8)
    place = (4, _LABEL_HEIGHT - 5)
    return np.asarray(cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA))


def mouths_in_motion(
    people: Sequence[tuple[str, Sequence[Path]]], faces: Faces, resolution: int, count: int = 16, width: int = 120
) -> np.ndarray:
    """One image (H, W, 3) uint8 RGB: for each person `count` successive mouths of the source, the generated video and
    the driving speech's own, from where the last moves most.

    people: (label, (source, generated, true) videos); faces: in source and true videos, the generated one being cut
    as its source is. resolution: of the aligned faces. width: of a mouth in the sheet, in pixels.
    """
    rows = {}
    for label, (source, generated, true) in people:
        shown, made = _mouths([source, generated], faces, resolution)
        (spoken,) = _mouths([true], faces, resolution)
        length = min(len(shown), len(made), len(spoken))
        first = _liveliest(spoken[:length], count)
        for name, mouths in (("source", shown), ("generated", made), ("true frames of the speech", spoken)):
            rows[f"{label}: {name}"] = mouths[first : first + min(count, length)]
    return _strips(rows, width)


def _mouths(videos: Sequence[Path], faces: Faces, resolution: int) -> list[list[np.ndarray]]:
    """The lower faces of videos that show one head, all aligned as the first; frames without a face are left out."""
    finder, aligner = faces.open(videos[0]), FaceAligner(resolution)
    width, height = canvas_size(2 * resolution)
    rows, columns = (
        slice(*(round(share * side) for share in part))
        for part, side in ((_SHOWN_ROWS, height), (_SHOWN_COLUMNS, width))
    )
    found: list[list[np.ndarray]] = [[] for _ in videos]
    for index, images in enumerate(_together(videos)):
        face = select_largest(finder.find(images[0], index / FPS))
        if face is None:
            continue
        matrix = aligner.align(images[0], face.landmarks3).matrix
        for mouths, image in zip(found, images):
            upright = cv2.resize(crop_with(image, matrix, resolution), canvas_size(2 * resolution))
            mouths.append(upright[rows, columns])
    return found


def _together(videos: Sequence[Path]) -> Iterator[list[np.ndarray]]:
    for frames in zip(*(read_frames_at(video) for video in videos)):
        yield [frame.image for frame in frames]


def _liveliest(mouths: Sequence[np.ndarray], count: int) -> int:
    """Where the `count` successive pictures begin that change most."""
    change = [float(np.abs(one.astype(np.int16) - other).mean()) for one, other in pairwise(mouths)]
    starts = range(max(1, len(mouths) - count + 1))
    return max(starts, key=lambda start: sum(islice(change, start, start + count - 1)))


def evaluation_rows(clips: Path, people: int) -> dict[str, list[np.ndarray]]:
    """Input, generated and truth of the first people in the clips folder of `eval.lip_sync`. Raises UserError."""
    made = sorted((clips / "cross").glob("seed_*"))
    names = sorted(path.stem for path in made[0].glob("*.mp4")) if made else []
    if not names:
        raise UserError(f"input '{clips}': no cross/seed_…/*.mp4 in it; run `python -m eval.lip_sync` first")
    labels = {"unchanged": "input", made[0].name: "generated", "true": "the driving speech's own face"}
    return {
        f"{name}: {label}": [frame.image for frame in read_frames(clips / "cross" / part / f"{name}.mp4")]
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
