"""Reading ahead: decoding and face finding go on in a thread while the network works."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_POLL = 0.1  # seconds


class _End:
    """The last thing in the queue; error: what the source raised, None at its proper end."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(source: Iterator[Item], ahead: int) -> Generator[Item, None, None]:
    """The items of `source` in order, up to `ahead` of them fetched beforehand by a thread of its own.

    What the source raises is raised here, after the items before it. When this generator is closed the thread stops
    before the next item, and is waited for.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_POLL)
                return
            except queue.Full:
                continue

    def fetch() -> None:
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # it goes to whoever takes the items
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=fetch, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
