"""Fetching remote shards while the clips before them are trained on."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from latentsync.data.order import Batches
from latentsync.data.remote_shards import RemoteShard
from latentsync.data.shards import ShardSet
from latentsync.storage.download import Stopped
from latentsync.storage.node_cache import GB
from latentsync.work.prefetch import prefetched

MOST_AHEAD = 64  # shards
SHARE_AHEAD = 4  # a quarter of the cache may be filled ahead of need: what is being read must not be pushed out

log = logging.getLogger(__name__)
Uses = list[tuple[int, int, RemoteShard]]
"""(first batch, last batch, shard), in the order of the first batches."""


@contextmanager
def fetched_ahead(shards: ShardSet, batches: Batches) -> Iterator[Callable[[int], None]]:
    """Inside, a thread fetches the shards of `batches` in the order in which they are needed, some ahead of the batch
    that was `reached` last. A shard that another process of the node is fetching is left to that one, so that the ranks
    of a node fetch several at a time, and each shard once. Where no shard is remote this does nothing.

    `reached(batch)` raises UserError where a shard cannot be had.
    """
    spans = batches.spans(shards.shard_numbers) if shards.remote and len(batches) else []
    known = [(first, last, shards.shards[number]) for first, last, number in spans]
    uses = [(first, last, shard) for first, last, shard in known if isinstance(shard, RemoteShard)]
    if not uses:
        yield lambda batch: None
        return
    _warn_of_small_cache(uses)
    stopped = threading.Event()

    def fetches() -> Iterator[RemoteShard]:
        for _, _, shard in uses:
            with suppress(Stopped):
                shard.cache.fetch(shard.file, wait=False, stopped=stopped.is_set)
            yield shard

    fetched = prefetched(fetches(), _ahead(uses))
    taken = 0

    def reached(batch: int) -> None:
        nonlocal taken
        while taken < len(uses) and uses[taken][0] <= batch:
            next(fetched)
            taken += 1

    try:
        reached(0)
        yield reached
    finally:
        stopped.set()
        fetched.close()


def _ahead(uses: Uses) -> int:
    largest = max(1, *(shard.bytes for _, _, shard in uses))
    return int(np.clip(uses[0][2].cache.limit // (SHARE_AHEAD * largest), 1, MOST_AHEAD))


def _warn_of_small_cache(uses: Uses) -> None:
    """Say so where the shuffle has more shards open at once than the cache holds."""
    changes = np.zeros(max(last for _, last, _ in uses) + 2, np.int64)
    for first, last, shard in uses:
        changes[first] += shard.bytes
        changes[last + 1] -= shard.bytes
    most, limit = int(np.cumsum(changes).max()), uses[0][2].cache.limit
    if most > limit:
        log.warning(
            "data.cache_gb=%g: the shuffle has shards of %.3g GB open, which will be fetched more than once an epoch; "
            "raise it or lower data.shuffle_buffer",
            limit / GB,
            most / GB,
        )
