"""The report counts what the manifest says, shows a bounded number of pictures, and holds for any manifest."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from configs.compose import load_config
from data_prep.manifest import MANIFEST_NAME, Row, read_manifest, write_manifest
from data_prep.report import histogram, offset_histograms, render, run, write_report
from latentsync.errors import UserError

PIXEL = b"\xff\xd8\xff\xdb-not-looked-at"


def row(number: int, fate: str = "accepted", **values: Any) -> Row:
    base = {"row_id": f"r{number:06d}", "source": f"{number % 7}.mp4", "source_id": "0", "level": "clip", "fate": fate}
    return {**base, "start": 0.0, "end": 60.0, "crop_face_width": 100.0 + number % 50, **values}


def written(folder: Path, rows: list[Row]) -> Path:
    folder.mkdir(exist_ok=True)
    write_manifest(folder / MANIFEST_NAME, rows, {"crop_face_width": (120.0, None)})
    return folder


def cells(page: str, first: str) -> list[str]:
    """The table row that begins with `first`, without its markup."""
    found = re.search(rf"<tr><td>{re.escape(first)}</td>(.*?)</tr>", page, re.S)
    assert found is not None, first
    return re.findall(r"<td[^>]*>([^<]*)</td>", found[1])


def test_funnel_counts_what_each_stage_reached_and_turned_down(tmp_path: Path) -> None:
    rows = [row(number) for number in range(3)]
    rows += [
        row(3, "rejected", stage="faces", reason="no face"),
        row(4, "rejected", stage="offset", reason="not in sync"),
    ]
    rows += [row(5, "failed", reason="time limit")]
    page = write_report(written(tmp_path, rows)).read_text()
    assert cells(page, "shots") == ["5", "5.0 min", "0", "0.0 min"]
    assert cells(page, "faces") == ["5", "5.0 min", "1", "1.0 min"]
    assert cells(page, "crop")[0] == "4"
    assert cells(page, "offset")[2:] == ["1", "1.0 min"]
    assert cells(page, "no face") == ["faces", "1", "1.0 min"]
    assert cells(page, "time limit") == ["", "1", "1.0 min"]
    assert "3 clips, 3.0 min, out of 6 sources and 5 candidates (5.0 min)" in " ".join(page.split())


def test_empty_manifest_makes_a_report(tmp_path: Path) -> None:
    page = write_report(written(tmp_path, [])).read_text()
    assert "0 clips" in page
    assert "Nothing was measured" in page


def test_many_candidates_keep_the_report_small(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "one.jpg").write_bytes(PIXEL)
    rows = [row(number, thumbnail="thumbnails/one.jpg") for number in range(20_000)]
    for rejected in rows[::2]:
        rejected |= {"fate": "rejected", "stage": "crop", "reason": "face too small"}
    page = write_report(written(tmp_path, rows), examples=5).read_text()
    assert page.count("data:image/jpeg") == 10
    assert len(page) < 200_000
    assert re.search(r"face too small <span[^>]*>5 of 10000<", page)


def test_names_are_escaped_and_pictures_that_are_gone_left_out(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "a.jpg").write_bytes(PIXEL)
    rows = [row(0, source="<script>alert(1)</script>.mp4", thumbnail="thumbnails/a.jpg")]
    rows += [row(1, thumbnail="thumbnails/gone.jpg")]
    page = write_report(written(tmp_path, rows)).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/jpeg") == 1


def decoded(address: str) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(address.partition(",")[2])))[..., :3]


def test_thresholds_are_drawn_into_their_histogram() -> None:
    values, accepted = np.linspace(0, 10, 200), np.ones(200, bool)
    red = [
        int(((picture[..., 0] > 0.7) & (picture[..., 1] < 0.3)).sum())
        for picture in (decoded(histogram("x", values, accepted, limit)) for limit in ((None, None), (3.0, 8.0)))
    ]
    assert red[0] == 0
    assert red[1] > 100


@pytest.mark.parametrize("values", [[np.nan, 1.0], [5.0, 5.0], [np.inf, 2.0], [-1e300, 1e300]])
def test_histogram_of_odd_values_is_a_picture(values: list[float]) -> None:
    assert decoded(histogram("x", np.array(values), np.ones(2, bool), (None, 4.0))).ndim == 3


def test_offsets_have_no_picture_where_none_was_measured(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, [row(0), row(1, offset_frames=3.0, offset_after=0.0)]))
    assert offset_histograms(manifest["offset_frames"][:1], manifest["offset_after"][:1]) is None
    assert "before and after" in render(manifest, {}, tmp_path)


def test_clips_whose_sync_was_not_checked_are_counted_apart_in_the_first_lines(tmp_path: Path) -> None:
    checked = {"offset_frames": 0.0, "offset_after": 0.0}
    rows = [row(0), row(1), row(2, **checked), row(3, "rejected", stage="crop", reason="face too small")]
    page = " ".join(write_report(written(tmp_path, rows)).read_text().split())
    first = page[page.index("<h1>") : page.index("<h2>")]
    assert "was not checked</strong> (syncnet=none) in 2 of these clips, 2.0 min" in first
    assert "1 were checked" in first
    page = write_report(written(tmp_path / "checked", [row(0, **checked)])).read_text()
    assert "not checked" not in page


def test_captions_say_nothing_where_there_is_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "a.jpg").write_bytes(PIXEL)
    shown = {"thumbnail": "thumbnails/a.jpg"}
    rows = [row(0, **shown), row(1, "rejected", stage="crop", reason="blurred", detail="it is 3", **shown)]
    page = write_report(written(tmp_path, rows)).read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.S)
    assert captions == ["0.mp4, 0.0 s", "1.mp4, 0.0 s<br>it is 3"]
    assert "nan" not in page


def test_parts_of_a_split_are_counted(tmp_path: Path) -> None:
    rows = [row(0, split="train"), row(7, split="train"), row(1, split="val"), row(2, "failed", split="test")]
    page = " ".join(write_report(written(tmp_path, rows)).read_text().split())
    assert "train: 2 clips, 2.0 min, from 1 sources; val: 1 clips, 1.0 min, from 1 sources; test: 0 clips" in page


def test_command_wants_a_prepared_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the output folder"):
        run(load_config("data_prep/report", [f"output={tmp_path}"]))
