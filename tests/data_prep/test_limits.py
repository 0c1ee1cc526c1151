"""Limits: the first stage whose limit is broken turns a candidate down; nothing is judged that was not measured."""

import pytest

from configs.compose import load_config
from data_prep.limits import LIMITED, judge, parse_limits
from data_prep.manifest import COLUMNS
from latentsync.errors import UserError

LIMITS = {"crop_face_width": (50.0, None), "offset_frames": (-6.0, 6.0), "offset_confidence": (3.0, None)}
GOOD = {"crop_face_width": 80.0, "offset_frames": 2.0, "offset_confidence": 5.0}


def test_candidate_within_all_limits_is_accepted_ends_included() -> None:
    assert judge(GOOD, LIMITS)["fate"] == "accepted"
    assert judge({**GOOD, "offset_frames": -6.0, "crop_face_width": 50.0}, LIMITS)["fate"] == "accepted"


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        ({"crop_face_width": 49.9}, "crop", "face too small"),
        ({"offset_frames": 7.0}, "offset", "sound too early"),
        ({"offset_frames": -7.0}, "offset", "sound too late"),
        ({"offset_confidence": 2.9}, "offset", "not in sync"),
        ({"offset_confidence": float("nan")}, "offset", "not in sync"),
        ({"offset_confidence": 0.0, "crop_face_width": 1.0}, "crop", "face too small"),
    ],
)
def test_first_stage_that_is_broken_gives_the_reason(change: dict, stage: str, reason: str) -> None:
    row = judge({**GOOD, **change}, LIMITS)
    assert (row["fate"], row["stage"], row["reason"]) == ("rejected", stage, reason)


def test_detail_holds_the_numbers() -> None:
    assert judge({**GOOD, "crop_face_width": 20.0}, LIMITS)["detail"] == "crop_face_width is 20, least is 50"
    talker = judge({"speaker_rival": 0.3}, {"speaker_rival": (None, 0.0)})
    assert talker["detail"] == "speaker_rival is 0.3, greatest is 0"


def test_what_was_not_measured_is_not_judged_and_earlier_fates_stay() -> None:
    assert judge({"crop_face_width": 80.0}, LIMITS)["fate"] == "accepted"
    rejected = {"fate": "rejected", "stage": "faces", "reason": "no face"}
    assert judge(rejected, LIMITS) == rejected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"crop_width": [1, 2]}, "limits.crop_width: no such measurement"),
        ({"crop_face_width": 50}, "give \\[least, greatest\\]"),
        ({"crop_face_width": [50]}, "give \\[least, greatest\\]"),
        ({"crop_face_width": ["wide", None]}, "give \\[least, greatest\\]"),
        ({"crop_face_width": [None, 50]}, "a greatest value is not a limit here"),
    ],
)
def test_mistaken_limits_are_refused_by_name(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_limits(config)


def test_published_limits_are_the_default_and_every_limit_is_a_column() -> None:
    config = load_config("data_prep/prepare", ["input=a", "output=b"]).limits
    limits = parse_limits({str(name): value if value is None else list(value) for name, value in config.items()})
    assert limits["offset_confidence"] == (3, None)
    assert limits["offset_frames"] == (-6, 6)
    assert limits["crop_face_width"] == (50, None)
    assert limits["crop_face_height"] == (80, None)
    assert limits["quality_iqa"] == (40, None)
    assert set(config) == set(LIMITED) <= set(COLUMNS)
