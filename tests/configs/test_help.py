"""`--help` explains this program: every key with its comment, the groups, three examples that compose."""

import shlex

import pytest

from configs.compose import check_overrides, load_config, name_first_argument
from configs.help import CONFIGS, EXAMPLES, help_text
from latentsync.errors import UserError


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_names_every_key_group_and_example(name: str) -> None:
    text = help_text(name)
    assert len(EXAMPLES[name]) == 3
    assert all(example in text for example in EXAMPLES[name])
    assert "hydra:" not in text
    assert "defaults:" not in text
    for line in (CONFIGS / f"{name}.yaml").read_text().splitlines():
        key, _, comment = line.partition("#")
        if key.strip() and not line.startswith(("#", " ", "defaults", "hydra")):
            assert key.strip() in text
            assert comment.strip() in text


def test_help_lists_the_options_of_a_group() -> None:
    assert "runner=apart: " in help_text("infer")
    assert "trainer=default:" in help_text("train")
    assert "fsdp" in help_text("train")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_help_compose(name: str) -> None:
    first = {"data_prep/inspect": "shards", "data_prep/report": "output", "eval/compare": "results"}
    for example in EXAMPLES[name]:
        words = shlex.split(example)
        given = words[
            words.index(next(word for word in words if word.startswith(("infer", "train", "data_prep", "eval")))) + 1 :
        ]
        if name == "eval/compare":
            given = [word for word in given if "=" in word]
        elif name in first:
            given = name_first_argument(first[name], given)
        check_overrides(name, [word for word in given if word != "--multirun"], "--multirun" in given)


@pytest.mark.parametrize(
    ("key", "near"), [("data.batchsize", "data.batch_size"), ("data.foo", "data."), ("model.bar", "model.")]
)
def test_unknown_key_deep_in_a_group_gets_the_nearest_there(key: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown key '{key}'; the nearest known is '{near}"):
        load_config("train", [f"{key}=1"])
