"""The manifest: what is written is read back, and what is not in the contract is refused."""

from pathlib import Path

import pytest

from data_prep.manifest import COLUMNS, STAGES, read_limits, read_manifest, write_manifest
from latentsync.errors import UserError

ROW = {
    "row_id": "b-1",
    "source": "b.mp4",
    "source_id": "b",
    "level": "clip",
    "start": 1.0,
    "fate": "accepted",
    "shot": 0,
}


def test_rows_come_back_in_order_with_nulls_for_what_was_not_measured(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "row_id": "b-0", "start": 0.5, "crop_yaw": 12.5}, {**ROW, "row_id": "a-0", "source": "a.mp4"}]
    write_manifest(tmp_path / "manifest.parquet", rows, {"crop_yaw": (None, 45.0)})
    table = read_manifest(tmp_path)
    assert list(table.columns) == list(COLUMNS)
    assert table["row_id"].tolist() == ["a-0", "b-0", "b-1"]
    assert table["crop_yaw"].tolist()[1] == 12.5
    assert table["crop_yaw"].isna().tolist() == [True, False, True]
    assert read_limits(tmp_path / "manifest.parquet") == {"crop_yaw": (None, 45.0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.parquet"]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name, rows in (("one", [ROW, {**ROW, "row_id": "x"}]), ("two", [{**ROW, "row_id": "x"}, ROW])):
        write_manifest(tmp_path / name, rows, {})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_columns_of_measurements_begin_with_a_stage() -> None:
    assert {name.partition("_")[0] for name in COLUMNS if name.partition("_")[0] in STAGES} == set(STAGES)


def test_unknown_column_is_a_bug_and_a_strange_file_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column"):
        write_manifest(tmp_path / "m", [{**ROW, "colour": "red"}], {})
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.parquet").write_text("no")
    with pytest.raises(UserError, match="not a Parquet file"):
        read_manifest(tmp_path)
