"""What a worker does with a source."""

from pathlib import Path

from data_prep.av_offset import ScorerMaker
from data_prep.candidate import Rejected
from data_prep.manifest import Limits
from data_prep.parts import Measuring, Parts
from data_prep.source_pass import SourcePass
from data_prep.sources import Source
from data_prep.store import Record, Store
from latentsync.work.runner import Alive


class Preparation:
    """`work` of a runner; returns the seconds that each stage took.

    output: the run's folder; make_scorer: loads the sync scorer, None leaves that stage out; limits: candidates that
    they reject are encoded only if keep_rejected.
    """

    def __init__(
        self,
        output: Path,
        store: Store,
        measuring: Measuring,
        limits: Limits,
        make_scorer: ScorerMaker | None,
        keep_rejected: bool,
    ) -> None:
        self.output, self.store, self.limits, self.keep_rejected = output, store, limits, keep_rejected
        self._measuring, self._make_scorer = measuring, make_scorer
        self._parts: Parts | None = None

    @property
    def modules(self) -> list[str]:
        """What a worker imports, for runners that can do so once for all of them."""
        return [__name__, *([self._make_scorer.module] if self._make_scorer else [])]

    def __call__(self, source: Source, alive: Alive) -> dict[str, float]:
        """See the class. Raises OSError where the results cannot be written, UserError for what no source would escape:
        weights that are missing, settings out of range."""
        if self._parts is None:
            self._parts = Parts(self._measuring, self._make_scorer)
        encoded = None if self.keep_rejected else self.limits
        earlier = self.store.earlier(source)
        with self.store.writing(source) as folder:
            work = SourcePass(source, folder, self.output, self._parts, encoded, earlier)
            try:
                work.run(alive)
            except Rejected as rejected:
                work.reject(rejected)
            self.store.write(source, folder, Record(work.rows, work.clock.seconds))
        return work.clock.seconds
