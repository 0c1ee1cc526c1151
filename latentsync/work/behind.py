"""Writing behind: pasting and encoding go on in a thread while the network works."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """The last thing in the queue."""


@contextmanager
def behind(do: Callable[[Item], object], waiting: int) -> Iterator[Callable[[Item], None]]:
    """A thread that does `do` with each item that it is handed, in their order; gives what hands them over.

    Handing over blocks while `waiting` items wait. What `do` raises is raised by the next handing over, or at the end;
    no later item is done. A clean end waits until all is done; after an exception in the block, Ctrl-C among them, what
    waits is dropped, and only the item in hand is waited for.
    """
    handed: queue.Queue[Item | _End] = queue.Queue(maxsize=waiting)
    errors: list[BaseException] = []
    dropped = threading.Event()

    def work() -> None:
        while not isinstance(item := handed.get(), _End):  # goes on after an error, so that nobody waits for room
            if not errors and not dropped.is_set():
                try:
                    do(item)
                except BaseException as error:  # it goes to whoever hands over
                    errors.append(error)

    def hand_over(item: Item) -> None:
        if errors:
            raise errors[0]
        handed.put(item)

    thread = threading.Thread(target=work, name="behind", daemon=True)
    thread.start()
    try:
        yield hand_over
    except BaseException:
        dropped.set()
        raise
    finally:
        handed.put(_End())
        thread.join()
    if errors:
        raise errors[0]
