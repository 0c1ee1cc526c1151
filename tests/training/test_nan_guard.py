"""A loss that is not a number: what is kept, what is said, and whether the run goes on."""

from pathlib import Path
from types import SimpleNamespace

import lightning
import pytest
import torch
from tiny_lipsync import batch, module
from torch.utils.data import DataLoader

from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.losses.objective import ObjectiveResult
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.nan_guard import NanGuard


def spoilt() -> ClipBatch:
    one = batch(seed=2)
    one.audio_tokens[0, 3, 1, 2] = float("nan")
    return one


def fit(lip_sync: LipSyncModule, batches: list[ClipBatch]) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(lip_sync, DataLoader(batches, batch_size=None))
    return trainer


def test_run_stops_names_the_term_and_keeps_the_batch(tmp_path: Path) -> None:
    lip_sync = module(nan_guard=NanGuard(str(tmp_path / "nan")))
    with pytest.raises(UserError, match=r"step 1: loss term noise=nan is not finite; the batch is kept in .*skip"):
        fit(lip_sync, [batch(), spoilt()])
    kept = torch.load(tmp_path / "nan" / "step_00000001_rank_0.pt", weights_only=True)
    assert kept["keys"] == ["clip0"]
    assert torch.equal(kept["target"], spoilt().target)
    assert kept["audio_tokens"].isnan().sum() == 1
    assert kept["losses"].keys() == {"noise"}
    assert [path.name for path in (tmp_path / "nan").iterdir()] == ["step_00000001_rank_0.pt"]


def test_skipped_step_leaves_the_weights_as_if_the_batch_had_not_been_there(tmp_path: Path) -> None:
    def weights(batches: list[ClipBatch]) -> dict[str, torch.Tensor]:
        lip_sync = module(zero_outputs=False, trainable=["attn2."], nan_guard=NanGuard(str(tmp_path / "nan"), "skip"))
        trainer = fit(lip_sync, batches)
        assert trainer.state.finished
        return lip_sync.state_dict()

    with_bad, without = weights([batch(seed=0), spoilt(), batch(seed=1)]), weights([batch(seed=0), batch(seed=1)])
    assert all(torch.equal(with_bad[name], without[name]) for name in without)
    assert all(value.isfinite().all() for value in with_bad.values())


def test_many_skipped_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    lip_sync = module(nan_guard=NanGuard(str(tmp_path), "skip", max_skipped=2))
    with pytest.raises(UserError, match="2 steps in a row were skipped: the weights are likely damaged"):
        fit(lip_sync, [spoilt() for _ in range(5)])


@pytest.mark.parametrize(
    ("action", "precision", "stops"),
    [
        ("auto", "16-mixed", False),
        ("auto", "bf16-mixed", True),
        ("auto", "32-true", True),
        ("skip", "32-true", False),
        ("stop", "16-mixed", True),
    ],
)
def test_only_where_overflows_are_usual_is_a_step_skipped_unasked(
    action: str, precision: str, stops: bool, tmp_path: Path
) -> None:
    strategy = SimpleNamespace(reduce_boolean_decision=lambda finite, all: finite)
    trainer = SimpleNamespace(precision=precision, strategy=strategy)
    stepping = SimpleNamespace(trainer=trainer, global_step=3, global_rank=0)
    bad = torch.tensor(float("inf"))
    result = ObjectiveResult(bad, {"noise": bad}, {"noise": bad})
    guard = NanGuard(str(tmp_path), action)
    if stops:
        with pytest.raises(UserError, match="step 3: loss term noise=inf is not finite"):
            guard.passes(stepping, batch(), result)
    else:
        assert not guard.passes(stepping, batch(), result)


def test_other_actions_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.nan_guard\.action=ignore: give auto, stop or skip"):
        NanGuard("nan", "ignore")
