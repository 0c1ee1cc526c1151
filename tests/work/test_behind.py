"""A thread behind does all that it is handed, in order; its errors come back; who stops does not wait for the rest."""

import threading
from collections.abc import Callable

import pytest

from latentsync.work.behind import behind


def test_a_clean_end_waits_until_all_is_done_in_order_by_another_thread() -> None:
    done: list[tuple[int, bool]] = []
    here = threading.get_ident()
    with behind(lambda number: done.append((number, threading.get_ident() == here)), 2) as hand_over:
        for number in range(50):
            hand_over(number)
    assert done == [(number, False) for number in range(50)]


def test_no_more_than_what_may_wait_is_taken() -> None:
    go, begun, handed = threading.Event(), threading.Event(), []

    def do(number: int) -> None:
        begun.set()
        assert go.wait(5)

    def hand_all(hand_over: Callable[[int], None]) -> None:
        for number in range(10):
            hand_over(number)
            handed.append(number)

    with behind(do, 3) as hand_over:
        hand_over(-1)
        assert begun.wait(5)
        other = threading.Thread(target=hand_all, args=(hand_over,))
        other.start()
        other.join(0.3)
        assert handed == [0, 1, 2], "one in hand, three waiting"
        go.set()
        other.join(5)
    assert handed == list(range(10))


def test_an_error_comes_back_and_nothing_after_it_is_done() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError("here")
        done.append(number)

    def hand_all(numbers: range, waiting: int) -> None:
        with behind(do, waiting) as hand_over:
            for number in numbers:
                hand_over(number)

    with pytest.raises(ZeroDivisionError, match="here"):
        hand_all(range(1000), 1)
    with pytest.raises(ZeroDivisionError, match="here"):
        hand_all(range(2, 3), 5)  # the last one: its error comes at the end
    assert done == [0, 1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_waits_is_dropped_when_the_block_is_left_by_an_exception(stop: type[BaseException]) -> None:
    go, done = threading.Event(), []

    def do(number: int) -> None:
        assert go.wait(5)
        done.append(number)

    def stopped_early() -> None:
        with behind(do, 8) as hand_over:
            for number in range(5):
                hand_over(number)
            threading.Timer(0.2, go.set).start()  # the one in hand ends while the block is being left
            raise stop

    with pytest.raises(stop):
        stopped_early()
    assert done in ([0], [])
    assert not [thread for thread in threading.enumerate() if thread.name == "behind"]
