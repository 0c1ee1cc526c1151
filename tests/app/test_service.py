"""The service behind every front door: limits, one at a time, cancelling, folders that never meet."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stand_in import stand_in_pipeline
from latentsync.app.service import Cancelled, Limits, LipSyncService
from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions

OPTIONS = LipSyncOptions(seed=1)


@pytest.fixture
def service() -> Any:
    with LipSyncService(stand_in_pipeline()) as made:
        yield made


def test_requests_at_once_have_folders_of_their_own_and_all_succeed(service: LipSyncService, talk: Any) -> None:
    folders = [service.new_folder() for _ in range(3)]
    reports: dict[int, Any] = {}

    def work(number: int) -> None:
        reports[number] = service.run(talk.video, talk.audio, folders[number], OPTIONS)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({report.output for report in reports.values()}) == 3
    contents = {report.output.read_bytes() for report in reports.values()}
    assert len(contents) == 1, "the same request gives the same video, whoever else asks"
    assert all([path.name for path in folder.iterdir()] == ["output.mp4"] for folder in folders)


def test_the_networks_serve_one_request_at_a_time(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = stand_in_pipeline()
    running, most = [0], [0]
    run = pipeline.run

    def counted(*arguments: Any) -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.05)
        try:
            return run(*arguments)
        finally:
            running[0] -= 1

    monkeypatch.setattr(pipeline, "run", counted)
    with LipSyncService(pipeline) as service:
        folders = [service.new_folder() for _ in range(4)]
        threads = [
            threading.Thread(target=service.run, args=(talk.video, talk.audio, folder, OPTIONS)) for folder in folders
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert most == [1]


def test_cancelling_leaves_nothing_and_lets_the_next_one_in(service: LipSyncService, talk: Any) -> None:
    folder, cancel = service.new_folder(), threading.Event()
    shares: list[float] = []

    def tell(share: float) -> None:
        shares.append(share)
        cancel.set()

    with pytest.raises(Cancelled):
        service.run(talk.video, talk.audio, folder, OPTIONS, tell, cancel)
    assert list(folder.iterdir()) == []
    assert service.run(talk.video, talk.audio, folder, OPTIONS).output.is_file()


def test_who_waits_can_cancel_too(service: LipSyncService, talk: Any) -> None:
    cancel = threading.Event()
    cancel.set()
    with service._turn, pytest.raises(Cancelled):
        service.run(talk.video, talk.audio, service.new_folder(), OPTIONS, None, cancel)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_bytes=1000), "input: 0 MB is more than the 0 MB allowed"),
        (Limits(max_seconds=0.5), "1 s is more than the 0.5 s allowed"),
        (Limits(max_pixels=100), "pixels are more than allowed"),
    ],
)
def test_limits_are_told(limits: Limits, said: str, talk: Any) -> None:
    with LipSyncService(stand_in_pipeline(), limits) as service, pytest.raises(UserError) as error:
        service.run(talk.video, talk.audio, service.new_folder(), OPTIONS)
    assert said in str(error.value)


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(UserError, match="max_seconds=0"):
        Limits(max_seconds=0)


def test_closing_removes_every_folder(talk: Any) -> None:
    service = LipSyncService(stand_in_pipeline())
    folder = service.new_folder()
    service.run(talk.video, talk.audio, folder, OPTIONS)
    service.close()
    assert not Path(folder).exists()
    assert not Path(folder).parent.exists()
