"""Reading ahead gives the same items, passes errors on in their place, is bounded, and ends with its reader."""

import threading
import time
from collections.abc import Iterator

import pytest

from latentsync.work.prefetch import prefetched


def test_items_come_in_order_while_the_source_works_ahead() -> None:
    fetched: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            fetched.append(number)
            yield number

    items = prefetched(source(), 4)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(fetched) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(fetched) == 6, "one taken, four in the queue, one waiting to get in"
    assert list(items) == list(range(1, 20))


def test_error_of_the_source_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("here")

    items = prefetched(source(), 4)
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError, match="here"):
        next(items)


def test_thread_ends_when_nobody_reads_any_more() -> None:
    def source() -> Iterator[int]:
        yield from range(1000)

    before = threading.active_count()
    items = prefetched(source(), 2)
    next(items)
    items.close()
    assert threading.active_count() == before
