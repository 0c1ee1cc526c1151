"""Samplers by name: other ways through the same noise schedule, all from diffusers."""

from typing import Any

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.diffusion.scheduler_names import DDIM, SCHEDULERS
from latentsync.errors import UserError

_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


def make_scheduler(name: str, schedule: NoiseSchedule) -> Any:
    """A diffusers scheduler of this name with the schedule's betas. Raises UserError for an unknown name.

    "lcm" is meant for networks distilled for it (Luo et al. 2023) and draws noise in its steps.
    """
    ddim = schedule.scheduler()
    if name == DDIM:
        return ddim
    if name not in _OTHERS:
        raise UserError(f"scheduler={name} is unknown; use one of {', '.join(SCHEDULERS)}")
    import diffusers

    kind, settings = _OTHERS[name]
    shared = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "timestep_spacing"}
    config = {key: value for key, value in ddim.config.items() if key in shared}
    return getattr(diffusers, kind)(**config, steps_offset=1, **settings)
