"""Train: `python train.py experiment=demo` (or stage1, stage2, …); every configuration key can be overridden."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from configs.compose import command
from latentsync.errors import UserError

if TYPE_CHECKING:
    import lightning

LONG_RUN = 1000  # steps; a longer run without validation is hardly meant


def run(config: DictConfig) -> float | None:
    """Build data, module and trainer as configured, and fit; leaves checkpoints, logs and config.yaml in `run_dir`.

    Told to stop (SIGTERM, SIGUSR1, Ctrl-C), saves after the step in hand and exits 0 (130 after Ctrl-C).
    Returns the last value of the metric named by `optimize`, for a search. Raises UserError if nothing of that name
    was logged.
    """
    if config.plan:
        print(plan(config))
        return None
    from latentsync.training.preemption import Preempted, stopping_at_once

    try:
        with stopping_at_once():
            trainer = train(config)
    except Preempted as stop:
        print(f"{stop}; resume=auto goes on from there", file=sys.stderr)
        sys.exit(stop.exit_code)
    return searched_metric(trainer, config.optimize)


def train(config: DictConfig) -> lightning.Trainer:
    """The run itself; returns its trainer."""
    import lightning  # here, so that a mistake on the command line is answered at once
    from hydra.utils import instantiate

    from latentsync.training.history import wandb_id
    from latentsync.training.resume import RunState, find_checkpoint, finish

    run_dir = Path(config.run_dir)
    checkpoint = find_checkpoint(config.resume, run_dir / "checkpoints")
    if "wandb" in config.logger and config.logger.wandb.id is None:
        config.logger.wandb.id = wandb_id(checkpoint)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    build = partial(instantiate, _convert_="all")  # plain lists and dicts, so that models can save their configuration
    data, module = build(config.data), build(config.model)
    state = RunState(OmegaConf.to_yaml(config, resolve=True), run_dir / "config.yaml")
    named_callbacks = build(config.callbacks)
    if not config.trainer.enable_progress_bar:
        named_callbacks.pop("progress", None)  # Lightning refuses the two together
    callbacks, loggers = [state, *named_callbacks.values()], list(build(config.logger).values())
    trainer = build(config.trainer, callbacks=callbacks, logger=loggers)
    if trainer.is_global_zero and config.resume is not None:
        print(f"goes on from {checkpoint}" if checkpoint else f"no checkpoint in {run_dir}: starts anew", flush=True)
    if trainer.is_global_zero and checkpoint is None:
        tell_what_is_left_out(config)
    if config.doctor:
        from latentsync.training.doctor.examine import examine

        examine(module, data, trainer, run_dir)
        return trainer
    if config.validate_first and checkpoint is None:
        trainer.validate(module, data, verbose=False)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if not state.trained:
        finish(trainer, module, data)
    if trainer.is_global_zero:
        print(f"run folder: {run_dir}")
    return trainer


def tell_what_is_left_out(config: DictConfig) -> None:
    """Say what a new run goes without, where a run of that kind seldom means to."""
    if config.model.get("unet") and config.model.unet.get("weights", "") is None:
        print("the U-Net starts from random numbers; model.unet.weights=… gives it a start", flush=True)
    if config.data.get("val_shards", "") is None and config.trainer.max_steps > LONG_RUN:
        print("no validation in this long run: data.val_shards is not given", flush=True)


def plan(config: DictConfig) -> str:
    """What the run will need, as a table: nothing is loaded, and the run folder is not touched."""
    from hydra.utils import instantiate

    from latentsync.training.plan.estimate import estimate, shapes_only
    from latentsync.training.plan.networks import without_files
    from latentsync.training.plan.report import plan_text

    settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    data, trainer = settings["data"], settings["trainer"]
    with shapes_only():
        module = instantiate(without_files(settings["model"]), _convert_="all")
        found = estimate(module, data, trainer["precision"], trainer["accumulate_grad_batches"])
    clips = f"{data['batch_size']} clips of {data['num_frames']} frames at {data['resolution']}²"
    return plan_text(found, f"plan of {config.name}: {clips} on each device, precision {trainer['precision']}")


def searched_metric(trainer: lightning.Trainer, name: str | None) -> float | None:
    """The last logged value of the metric `name`. Raises UserError, with the names there are, if it is unknown."""
    if name is None:
        return None
    if name not in trainer.callback_metrics:
        known = ", ".join(sorted(trainer.callback_metrics))
        raise UserError(f"optimize={name}: no such metric was logged; there are {known}")
    return float(trainer.callback_metrics[name])


if __name__ == "__main__":
    command("train", run)
