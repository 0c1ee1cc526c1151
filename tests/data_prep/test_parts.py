"""What preparation needs is looked for before anything is loaded or opened."""

import importlib.util
from pathlib import Path

import pytest
from raw_heads import measuring

from data_prep import face_tracks
from data_prep.av_offset import ScorerMaker
from data_prep.parts import Measuring, check_needs
from latentsync.errors import UserError


def refused(measured: Measuring, maker: ScorerMaker | None = None) -> str:
    with pytest.raises(UserError) as told:
        check_needs(measured, maker)
    return str(told.value)


@pytest.mark.parametrize(
    ("target", "fetch"),
    [
        ("eval.syncnet_v2.SyncNetV2Scorer", "fetch syncnet-v2"),
        ("data_prep.stable_syncnet_scorer.StableSyncNetScorer", "fetch stable-syncnet"),
    ],
)
def test_a_missing_syncnet_names_fetch_and_switch_and_is_not_imported(
    target: str, fetch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} is imported"))
    said = refused(measuring(), ScorerMaker(target, {"weights": str(tmp_path / "none")}))
    assert fetch in said
    assert "syncnet=none" in said
    check_needs(measuring(), ScorerMaker(target, {"weights": str(tmp_path)}))


def test_a_missing_landmarker_is_told_unless_landmarks_lie_beside_the_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_tracks, "_model", lambda: tmp_path / "none.task")
    assert "fetch face-landmarker" in refused(measuring(finder={"kind": "mediapipe"}))
    check_needs(measuring(finder={"kind": "json"}), None)


@pytest.mark.skipif(importlib.util.find_spec("pyiqa") is not None, reason="pyiqa is installed")
def test_a_missing_quality_model_is_told() -> None:
    assert "latentsync-in-lightning[quality]" in refused(measuring(hyperiqa=True))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clips": {"min_seconds": 5, "max_seconds": 6}}, "measure.clips"),
        ({"shots": {"threshold": 0}}, "measure.shots"),
        ({"finder": {"kind": "eyes"}}, "measure.finder.kind=eyes: choose mediapipe or json"),
        ({"finder": {"num_faces": 0}}, "num_faces from 1"),
        ({"tracks": {"max_gap": -1}}, "max_gap from 0"),
    ],
)
def test_settings_out_of_range_are_told(changes: dict, said: str) -> None:
    assert said in refused(measuring(**changes))
