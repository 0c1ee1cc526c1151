"""Train: `python train.py experiment=demo` (or stage1, stage2, …); every configuration key can be overridden."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from configs.compose import command
from latentsync.errors import UserError

if TYPE_CHECKING:
    import lightning


def run(config: DictConfig) -> float | None:
    """Build data, module and trainer as configured, and fit; leaves checkpoints, logs and config.yaml in `run_dir`.

    Returns the last value of the metric named by `optimize`, for a search. Raises UserError if nothing of that name
    was logged.
    """
    run_dir = Path(config.run_dir)
    checkpoint = find_checkpoint(config.resume, run_dir)

    import lightning  # here, so that a mistake on the command line is answered at once
    from hydra.utils import instantiate

    if checkpoint is not None:
        check_checkpoint(checkpoint)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    build = partial(instantiate, _convert_="all")  # plain lists and dicts, so that models can save their configuration
    data, module = build(config.data), build(config.model)
    callbacks, loggers = list(build(config.callbacks).values()), list(build(config.logger).values())
    trainer = build(config.trainer, callbacks=callbacks, logger=loggers)
    if trainer.is_global_zero:
        save_config(config, run_dir / "config.yaml")
    if config.validate_first and checkpoint is None:
        trainer.validate(module, data, verbose=False)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        print(f"run folder: {run_dir}")
    return searched_metric(trainer, config.optimize)


def searched_metric(trainer: lightning.Trainer, name: str | None) -> float | None:
    """The last logged value of the metric `name`. Raises UserError, with the names there are, if it is unknown."""
    if name is None:
        return None
    if name not in trainer.callback_metrics:
        known = ", ".join(sorted(trainer.callback_metrics))
        raise UserError(f"optimize={name}: no such metric was logged; there are {known}")
    return float(trainer.callback_metrics[name])


def find_checkpoint(resume: str | None, run_dir: Path) -> str | None:
    """The checkpoint to go on from: None, a path, or with `last` the newest of the run folder. Raises UserError."""
    if resume is None:
        return None
    path = run_dir / "checkpoints" / "last.ckpt" if resume == "last" else Path(resume)
    if not path.is_file():
        raise UserError(f"resume={resume}: there is no checkpoint '{path}'; leave resume out to start anew")
    return str(path)


def check_checkpoint(path: str) -> None:
    """Raise UserError unless a run can go on from the file: weights alone, or half a file, are not enough."""
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # mapped: no tensor is read
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            f"resume={path}: not a checkpoint, or cut off; give another, or leave resume out to start anew"
        ) from error
    if not isinstance(content, dict) or not {"state_dict", "loops", "optimizer_states"} <= content.keys():
        raise UserError(f"resume={path}: holds no training state; to start from its weights: model.unet.weights={path}")


def save_config(config: DictConfig, path: Path) -> None:
    """Write the resolved configuration, so that the run can be repeated from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(OmegaConf.to_yaml(config, resolve=True))
    temporary.replace(path)


if __name__ == "__main__":
    command("train", run)
