"""The runner on Ray: the same shards as with local processes, whatever becomes of its actors."""

import sys
from pathlib import Path

import pandas
import pytest
from clean_process import Forker
from raw_heads import measuring
from runner_jobs import ray_outcomes

from configs.compose import load_config
from data_prep.manifest import read_manifest
from data_prep.prepare import prepare
from latentsync.errors import UserError

ray_runner = pytest.importorskip("data_prep.ray_runner")
pytest.importorskip("ray", reason="needs the extra `ray`")


@pytest.mark.slow
def test_items_that_raise_die_and_hang_give_one_outcome_each(forker: Forker, tmp_path: Path) -> None:
    found = forker.call(ray_outcomes, folder=tmp_path, kinds=["raise", "die once", "die", "hang", "a"], time_limit=2.0)
    assert found["raise"] == (None, "ValueError: cannot work")
    assert found["die once"] == ("die once done", None)
    assert found["die"][0] is None
    assert found["die"][1].startswith("its worker process died")
    assert found["hang"] == (None, "no progress within the time limit of 2 s")
    assert found["a"] == ("a done", None)


@pytest.mark.slow
def test_ray_gives_the_shards_of_local_processes(heads: Path, tmp_path: Path, forker: Forker) -> None:
    from data_prep.runner import LocalRunner

    arguments = {"input": heads, "measuring": measuring(), "limits": {}, "clips_per_shard": 1}
    local, ray = tmp_path / "local", tmp_path / "ray"
    forker.call(prepare, output=local, runner=LocalRunner(2, start_method="fork"), **arguments)
    forker.call(prepare, output=ray, runner=ray_runner.RayRunner(2), **arguments)
    shards = [{path.name: path.read_bytes() for path in (out / "shards").iterdir()} for out in (local, ray)]
    assert len(shards[0]) == 4
    assert shards[0] == shards[1]
    pandas.testing.assert_frame_equal(read_manifest(local), read_manifest(ray))


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
