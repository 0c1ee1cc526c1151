"""The runner on Ray: the same shards as with local processes, whatever becomes of its actors."""

import sys
from pathlib import Path

import pytest
from clean_process import Forker
from runner_jobs import ray_outcomes

from configs.compose import load_config
from latentsync.errors import UserError

ray_runner = pytest.importorskip("latentsync.work.ray_runner")
pytest.importorskip("ray", reason="needs the extra `ray`")


@pytest.mark.slow
def test_items_that_raise_die_and_hang_give_one_outcome_each(forker: Forker, tmp_path: Path) -> None:
    found = forker.call(ray_outcomes, folder=tmp_path, kinds=["raise", "die once", "die", "hang", "a"], time_limit=2.0)
    assert found["raise"] == (None, "ValueError: cannot work")
    assert found["die once"] == ("die once done", None)
    assert found["die"] == (None, "its worker process died (signal SIGKILL)")
    assert found["hang"] == (None, "no progress within the time limit of 2 s")
    assert found["a"] == ("a done", None)


def test_configuration_names_the_arguments() -> None:
    config = load_config("data_prep/prepare", ["input=a", "output=b", "runner=ray", "runner.gpus=0.25"]).runner
    made = ray_runner.RayRunner(**{name: value for name, value in config.items() if name != "_target_"})
    assert (made.num_workers, made.gpus, made.address) == (2, 0.25, None)


@pytest.mark.parametrize("settings", [{"num_workers": 0}, {"gpus": -1}, {"time_limit": 0}, {"attempts": 0}])
def test_settings_out_of_range_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(UserError, match=f"runner.{next(iter(settings))}"):
        ray_runner.RayRunner(**settings)


def test_ray_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'latentsync-in-lightning\[ray\]'"):
        ray_runner.RayRunner()
