"""A pipeline in a process of its own: what kills it fails one request, with the signal, and the next one is served."""

import threading
from pathlib import Path
from typing import Any

import pytest
from deadly_jobs import Deadly

from latentsync.app.pipeline_apart import PipelineApart
from latentsync.app.service import Cancelled, LipSyncService
from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions

OPTIONS = LipSyncOptions(seed=1)


@pytest.mark.slow
def test_a_request_that_kills_its_process_fails_alone(talk: Any, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.mp4"
    deadly.write_bytes(talk.video.read_bytes())
    with LipSyncService(PipelineApart(Deadly())) as service:
        assert service.guidance_scale == 1.0
        folder = service.new_folder()
        with pytest.raises(UserError, match=r"its worker process died \(signal SIGSEGV\); try other files"):
            service.run(deadly, talk.audio, folder, OPTIONS)
        assert list(folder.iterdir()) == [], "nothing half written is left"

        with pytest.raises(UserError, match=r"no such file"):
            service.run(tmp_path / "missing.mp4", talk.audio, folder, OPTIONS)

        shares: list[float] = []
        report = service.run(talk.video, talk.audio, folder, OPTIONS, shares.append)
        assert report.output.is_file()
        assert report.num_frames == 20

        cancel = threading.Event()

        def tell(share: float) -> None:
            cancel.set()

        other = service.new_folder()
        with pytest.raises(Cancelled):
            service.run(talk.video, talk.audio, other, OPTIONS, tell, cancel)
        assert list(other.iterdir()) == []
        assert service.run(talk.video, talk.audio, other, OPTIONS).output.is_file(), "the next one is served"
