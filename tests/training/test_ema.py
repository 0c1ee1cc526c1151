"""The average of the weights: its formula, its place in validation, export and checkpoints."""

from pathlib import Path

import lightning
import pytest
import torch
from run_process import write_tiny_shards
from tiny_module import TinyModule, tiny_data
from torch import Tensor

from latentsync.errors import UserError
from latentsync.training.ema import WeightEMA, averaged_weights


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("shards"), 5)


def fit(shards: Path, average: WeightEMA, **options: object) -> tuple[TinyModule, lightning.Trainer]:
    torch.manual_seed(0)
    module = TinyModule()
    settings = {"max_steps": 6, "val_check_interval": 3, "check_val_every_n_epoch": None, **options}
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, callbacks=[average], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **settings,
    )  # fmt: skip
    trainer.fit(module, tiny_data(shards))
    return module, trainer


def expected(weights: list[Tensor], decay: float) -> Tensor:
    average = torch.zeros(3)
    for step, weight in enumerate(weights, start=1):
        now = min(decay, (1 + step) / (10 + step))
        average = now * average + (1 - now) * weight
    return average


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.9999])
def test_average_follows_its_formula_after_every_optimizer_step(decay: float, shards: Path) -> None:
    average = WeightEMA(decay)
    module, _ = fit(shards, average)
    assert torch.allclose(average.average["weight"], expected(module.trajectory, decay))
    assert average.average.keys() == {"weight"}  # the frozen one is not copied


def test_accumulated_batches_count_as_one_step(shards: Path) -> None:
    average = WeightEMA(0.5)
    module, _ = fit(shards, average, accumulate_grad_batches=2, max_steps=3)
    ends = [module.trajectory[index] for index in (1, 3, 4)]  # the epoch's fifth batch is a step of its own
    assert average.updates == 3
    assert torch.allclose(average.average["weight"], expected(ends, 0.5))


def test_validation_sees_the_average_and_training_goes_on_from_its_own_weights(shards: Path) -> None:
    plain, _ = fit(shards, WeightEMA(0.5), limit_val_batches=0)
    module, _ = fit(shards, WeightEMA(0.5))
    assert torch.equal(plain.weight, module.weight)
    assert len(module.validated) == 12  # a sanity check of two, two validations of five
    assert not module.validated[0].any()
    assert torch.allclose(module.validated[2], expected(module.trajectory[:3], 0.5))
    assert torch.allclose(module.validated[-1], expected(module.trajectory, 0.5))


def test_export_sees_the_average_if_there_is_one(shards: Path) -> None:
    average = WeightEMA(0.5)
    module, trainer = fit(shards, average)
    own = module.weight.detach().clone()
    with averaged_weights(trainer, module):
        assert torch.equal(module.weight, average.average["weight"])
    assert torch.equal(module.weight, own)
    trainer.callbacks = []
    with averaged_weights(trainer, module):
        assert torch.equal(module.weight, own)


def test_average_is_kept_in_float32_when_the_weights_are_not(shards: Path) -> None:
    average, module = WeightEMA(0.5), TinyModule()
    module.weight.data = module.weight.data.bfloat16()
    average.average = {"weight": torch.full((3,), 1.001)}
    average.put_in(module)
    assert module.weight.dtype == torch.bfloat16
    average.put_back(module)
    assert average.average["weight"].dtype == torch.float32


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range_is_named(decay: float) -> None:
    with pytest.raises(UserError, match=r"callbacks\.ema\.decay"):
        WeightEMA(decay)


def test_average_of_other_weights_is_refused(shards: Path) -> None:
    average = WeightEMA()
    average.load_state_dict({"updates": 3, "average": {"other": torch.zeros(2)}})
    with pytest.raises(UserError, match=r"resume with the model\.trainable"):
        fit(shards, average)
