"""A split keeps what belongs together in one part, and adding sources moves none."""

import pytest

from data_prep.split import Split
from latentsync.errors import UserError

NAMES = [f"id{number % 150:03d}/video/{number}.mp4" for number in range(3000)]


def test_shares_are_met_on_the_average_and_another_seed_is_another_split() -> None:
    split = Split("source", val=0.1, test=0.2)
    parts = [split.part(name) for name in NAMES]
    assert abs(parts.count("val") - 300) < 60  # three deviations and a half
    assert abs(parts.count("test") - 600) < 80
    assert parts == [Split("source", val=0.1, test=0.2).part(name) for name in NAMES]
    assert parts != [Split("source", val=0.1, test=0.2, seed=1).part(name) for name in NAMES]


def test_another_share_of_one_part_moves_nothing_between_the_others() -> None:
    before, after = Split("source", val=0.1, test=0.1), Split("source", val=0.3, test=0.1)
    for name in NAMES:
        if before.part(name) != after.part(name):
            assert (before.part(name), after.part(name)) == ("train", "val")


@pytest.mark.parametrize("speaker", [None, r"^(id\d+)/", r"id\d+"])
def test_a_speaker_is_in_one_part(speaker: str | None) -> None:
    split = Split("speaker", val=0.2, test=0.2, speaker=speaker)
    found: dict[str, set[str | None]] = {}
    for name in NAMES:
        found.setdefault(name.partition("/")[0], set()).add(split.part(name))
    assert all(len(parts) == 1 for parts in found.values())
    assert {part for parts in found.values() for part in parts} == {"train", "val", "test"}


def test_names_that_look_alike_go_to_one_part() -> None:
    split = Split("source", val=0.45, test=0.45)
    for number in range(40):
        assert split.part(f"caf\u00e9{number}.mp4") == split.part(f"cafe\u0301{number}.mp4")


def test_parts_without_a_source_are_told() -> None:
    split = Split("source", val=0.1, test=0.0)
    assert split.empty(name for name in NAMES if split.part(name) == "train") == ["val"]
    assert Split("source").empty(NAMES) == []
    assert Split().empty(["a.mp4"]) == []
    assert Split().part("a.mp4") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "clip"}, "split.by=clip: choose source or speaker"),
        ({"by": "source", "val": 1.0}, "split.val=1.0: give a share"),
        ({"by": "source", "test": -0.1}, "split.test=-0.1: give a share"),
        ({"by": "source", "val": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"by": "speaker", "speaker": "("}, "no regular expression"),
    ],
)
def test_what_cannot_be_split_by_is_refused(given: dict, said: str) -> None:
    with pytest.raises(UserError) as told:
        Split(**given)
    assert said in str(told.value)


def test_a_source_whose_speaker_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'talk\.mp4' lies in no folder.*split\.speaker=REGEX"):
        Split("speaker").part("talk.mp4")
    with pytest.raises(UserError, match=r"finds no speaker in the name of source 'a/talk\.mp4'"):
        Split("speaker", speaker=r"id\d+").part("a/talk.mp4")
