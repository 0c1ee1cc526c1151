"""SIGTERM unwinds: `with` blocks clean up."""

import os
import signal
import threading

import pytest

from latentsync.work.stopping import Terminated, unwind_on_sigterm


def test_sigterm_runs_the_cleanup_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def work() -> None:
        with unwind_on_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(5)
            finally:
                cleaned.append(True)

    with pytest.raises(Terminated):
        work()
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_it_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with unwind_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
