"""Batches of clip windows from shards: several workers and ranks, no duplicates, exact resume.

Shards are plain webdataset tars and each clip is read with webdataset's tar reader, but at the place that the index
tells, not as a stream. A stream ties the order of the clips to the number of workers, ranks and shards, resumes by
reading again all that was read, and leaves a rank without a batch when a clip is bad; training on many preemptible
machines needs the opposite. With a `shuffle_buffer` smaller than the data, reading stays near-sequential in a shard.
"""

import logging
import signal
import weakref
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from latentsync.data.fetch_ahead import fetched_ahead
from latentsync.data.order import Batches, epoch_order, evaluation_batches, training_batches
from latentsync.data.sample import BadSample, ClipBatch, ClipWindow, collate
from latentsync.data.shards import ShardSet, check_share, reasons
from latentsync.data.windows import ClipWindows, clip_generator
from latentsync.errors import UserError

MAX_SUBSTITUTES = 16
SUBSTITUTES_OF_SHARD = 8  # the first ones: a clip of another shard may mean fetching that shard
FEWEST_TRIED = 20  # a share of bad clips says nothing before so many were tried

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRequest:
    """Which clips to read, as windows of which epoch."""

    epoch: int
    clips: tuple[int, ...]


@dataclass
class BatchAnswer:
    """The batch, or None when some place of it stayed empty, and key -> reason of the clips set aside on the way.

    mistake: message of a UserError (e.g. an audio encoder that is not there); it ends the run, in the main process.
    """

    batch: ClipBatch | None
    set_aside: dict[str, str] = field(default_factory=dict)
    mistake: str | None = None

    def pin_memory(self) -> "BatchAnswer":
        """Called by torch's DataLoader when asked to pin."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


class ClipDataset(Dataset):
    """Reads requested batches; runs in the loader's workers.

    In the place of a clip that cannot be used another one is read, chosen by (seed, epoch, key), of the same shard if
    it has a good one, so that batches keep their size and no rank waits for another.
    """

    def __init__(self, shards: ShardSet, windows: ClipWindows) -> None:
        self.shards = shards
        self.windows = windows

    def __getitem__(self, request: BatchRequest) -> BatchAnswer:
        set_aside: dict[str, str] = {}
        try:
            found = [self._window(clip, request.epoch, set_aside) for clip in request.clips]
            windows = [window for window in found if window is not None]
            return BatchAnswer(collate(windows) if len(windows) == len(found) else None, set_aside)
        except UserError as error:
            return BatchAnswer(None, set_aside, str(error))

    def _window(self, clip: int, epoch: int, set_aside: dict[str, str]) -> ClipWindow | None:
        key = self.shards.key(clip)
        substitutes = clip_generator(self.windows.seed, epoch, f"substitutes of {key}")
        tried_first = clip
        for attempt in range(MAX_SUBSTITUTES):
            try:
                return self.windows(self.shards.read(clip), epoch)
            except BadSample as error:
                set_aside[self.shards.key(clip)] = str(error)
            near = attempt < SUBSTITUTES_OF_SHARD
            pool = self.shards.neighbours(tried_first) if near else range(len(self.shards))
            clip = pool[int(substitutes.integers(len(pool)))]
        return None


class ClipLoader:
    """Iterable of ClipBatch for one rank.

    shuffle: True for training: each iteration goes on where the last one stopped, and an epoch ends when every clip was
    taken once (up to an incomplete last step). False for evaluation: every iteration is the same, all clips in order.
    shuffle_buffer: see `order.epoch_order`. max_bad_share: share of the clips tried that may turn out unusable.
    `len()` is the number of batches of a whole epoch on this rank. `set_aside` maps key -> reason.
    Raises UserError: fewer clips than one step needs; while iterating, too many clips that cannot be used.
    """

    def __init__(
        self,
        shards: ShardSet,
        windows: ClipWindows,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        shuffle: bool = True,
        shuffle_buffer: int = 4096,
        max_bad_share: float = 0.5,
        pin_memory: bool = False,
    ) -> None:
        needed = batch_size * world_size if shuffle else world_size
        if len(shards) < needed:
            raise UserError(
                f"{shards.name}: {len(shards)} usable clips, but one step on {world_size} ranks takes {needed}; "
                "lower batch_size or give more clips"
            )
        self.shards = shards
        self.seed = windows.seed
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.shuffle_buffer = shuffle_buffer
        self.max_bad_share = max_bad_share
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.epoch = 0
        self.position = 0  # clips of this epoch that all ranks together have consumed
        self.set_aside: dict[str, str] = {}
        self._tried = np.zeros(len(shards), dtype=bool)
        self._plan = _Plan()
        self._dataset = ClipDataset(shards, windows)
        self._workers: DataLoader | None = None
        self._iteration: weakref.ref[Generator] | None = None

    def __len__(self) -> int:
        if self.shuffle:
            return len(self.shards) // (self.batch_size * self.world_size)
        return len(evaluation_batches(len(self.shards), self.batch_size, self.rank, self.world_size))

    def __iter__(self) -> Iterator[ClipBatch]:
        iteration = self._batches()
        self._iteration = weakref.ref(iteration)
        return iteration

    def close(self) -> None:
        """End the worker processes; iterating again starts new ones.

        Left to the garbage collector, torch waits five seconds for each worker of a loader that is part of a cycle.
        """
        iteration = None if self._iteration is None else self._iteration()
        if iteration is not None:
            iteration.close()
        self._workers = None

    def _batches(self) -> Generator[ClipBatch, None, None]:
        if self.shuffle and self._steps_left() == 0:  # resumed with more ranks just before the end of an epoch
            self._next_epoch()
        batches = self._plan.batches = self._planned()
        self._plan.epoch = self.epoch
        if self._workers is None:
            self._workers = self._start_workers()
        answers = iter(self._workers)  # before the fetching thread: it forks
        with fetched_ahead(self.shards, batches) as reached:
            for number, (request, answer) in enumerate(zip(self._plan, answers, strict=True)):
                reached(number)
                self._account(request, answer)
                assert answer.batch is not None  # _account has raised otherwise
                if self.shuffle:
                    # Moved on before the batch is handed out: who saves the state after a step has consumed that batch.
                    self.position += self.batch_size * self.world_size
                    if self._steps_left() == 0:
                        self._next_epoch()
                yield answer.batch

    def _start_workers(self) -> DataLoader:
        return DataLoader(
            self._dataset,
            sampler=self._plan,  # type: ignore[arg-type]  # requests take the place of indices
            batch_size=None,
            collate_fn=_as_is,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
            # Its own generator: otherwise each new iteration would draw from torch's global one.
            generator=torch.Generator(),
            worker_init_fn=_outlast_stop_signals,
        )

    def _planned(self) -> Batches:
        if self.shuffle:
            order = epoch_order(self.shards.shard_numbers, self.seed, self.epoch, self.shuffle_buffer)
            return training_batches(order, self.position, self.batch_size, self.rank, self.world_size)
        return evaluation_batches(len(self.shards), self.batch_size, self.rank, self.world_size)

    def _steps_left(self) -> int:
        return (len(self.shards) - self.position) // (self.batch_size * self.world_size)

    def _next_epoch(self) -> None:
        self.epoch += 1
        self.position = 0
        if self.set_aside:
            counts = Counter(self.set_aside.values())
            log.warning("%s: %d clips set aside so far (%s)", self.shards.name, counts.total(), reasons(counts))

    def _account(self, request: BatchRequest, answer: BatchAnswer) -> None:
        if answer.mistake is not None:
            raise UserError(answer.mistake)
        self._tried[list(request.clips)] = True
        for key, reason in answer.set_aside.items():
            if key not in self.set_aside:
                self.set_aside[key] = reason
                log.warning("clip '%s' set aside: %s", key, reason)
        counts = Counter(self.set_aside.values())
        if answer.batch is None:
            check_share(counts, counts.total(), self.max_bad_share, self.shards.name)
        if counts:
            # Substitutes are clips tried too.
            tried = max(int(self._tried.sum()), counts.total(), min(FEWEST_TRIED, len(self.shards)))
            check_share(counts, tried, self.max_bad_share, self.shards.name)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands; the same on every rank. Lightning stores it in checkpoints."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "shuffle_buffer": self.shuffle_buffer,
            "clips": self.shards.fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state, also with another batch size or number of ranks: no clip of the epoch comes twice.

        With other clips, another seed or shuffle_buffer the epoch starts anew, with a warning.
        """
        own = self.state_dict()
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        changed = [name for name in ("seed", "shuffle_buffer", "clips") if state[name] != own[name]]
        if changed and self.position:
            log.warning(
                "%s: %s changed since the checkpoint; its epoch starts anew", self.shards.name, ", ".join(changed)
            )
            self.position = 0


class _Plan:
    """The requests that the workers are to answer, as a torch sampler."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batches = evaluation_batches(0, 1, 0, 1)

    def __iter__(self) -> Iterator[BatchRequest]:
        epoch = self.epoch
        return (BatchRequest(epoch, clips) for clips in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _as_is(answer: Any) -> Any:
    return answer


def _outlast_stop_signals(worker: int) -> None:
    """Schedulers and terminals signal every process of a job, but a worker that dies takes the run's last step along.

    The main process ends its workers itself; one that has to be told twice is stuck, and goes.
    """

    def once(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, once)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
