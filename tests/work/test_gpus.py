"""Which GPU is whose: torchrun's, a runner's, Ray's; "cuda:N" always means N. Only the number of GPUs is made up."""

import os

import pytest
import torch
from hydra.utils import instantiate
from runner_jobs import gpus_of_workers

from configs.compose import load_config
from latentsync.work.gpus import OWN, own_device, shared_out
from latentsync.work.local_runner import LocalRunner


@pytest.fixture(autouse=True)
def nobodys_choice(monkeypatch):
    for name in (OWN, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)


def test_alone_it_is_the_first_one(eight):
    assert own_device("cuda") == "cuda:0"
    assert shared_out() == list(range(8))


@pytest.mark.parametrize(("rank", "gpu"), [(0, 0), (3, 3), (7, 7), (11, 3)])
def test_under_torchrun_each_process_has_its_own(eight, monkeypatch, rank, gpu):
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    assert own_device("cuda") == f"cuda:{gpu}"
    assert shared_out() == [gpu]


def test_a_process_that_sees_one_gpu_takes_it_whatever_its_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert own_device("cuda") == "cuda:0"


@pytest.mark.parametrize("name", ["cpu", "cuda:5", "mps", "auto"])
def test_a_device_that_is_named_is_that_one(eight, monkeypatch, name):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(name) == name


def test_auto_is_one_worker_for_each_gpu_and_each_has_another(eight, forker):
    assert LocalRunner("auto").num_workers == 8
    given = forker.call(gpus_of_workers, visible=8, workers="auto", jobs=8, environment={})
    assert sorted(given) == [f"cuda:{number}" for number in range(8)]


def test_more_workers_than_gpus_share_them_out_in_turn(forker):
    given = forker.call(gpus_of_workers, visible=2, workers=4, jobs=4, environment={})
    assert sorted(given) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]


def test_under_torchrun_the_worker_of_a_process_has_the_gpu_of_that_process(eight, monkeypatch, forker):
    monkeypatch.setenv("LOCAL_RANK", "6")
    assert LocalRunner("auto").num_workers == 1
    assert forker.call(gpus_of_workers, visible=8, workers=1, jobs=1, environment={"LOCAL_RANK": "6"}) == ["cuda:6"]


def test_without_gpus_auto_is_as_many_as_the_cores_allow(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert [LocalRunner("auto", threads=threads).num_workers for threads in (1, 4, 100, None)] == [12, 3, 1, 1]


def test_auto_can_be_said_on_the_command_line(eight):
    assert instantiate(load_config("infer", ["runner=local", "runner.num_workers=auto"]).runner).num_workers == 8
