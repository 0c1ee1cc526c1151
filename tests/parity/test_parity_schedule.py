"""Noise schedule, noising and one-step clean estimate equal the published ones."""

import torch
from golden_folder import Golden, assert_close, under_either_reading

from latentsync.diffusion.schedule import NoiseSchedule

KIND = "schedule"


@under_either_reading
def test_schedule_equals_the_published_one(golden: Golden) -> None:
    arrays = golden.arrays
    x0, eps, pred = (golden.tensor(name, *arrays["noisy"].shape) for name in ("x0", "eps", "pred"))
    timesteps = torch.tensor(golden.config["timesteps"])
    schedule = NoiseSchedule(num_train_timesteps=len(arrays["alphas_cumprod"]))
    noisy = schedule.add_noise(x0, eps, timesteps)
    assert_close(schedule.alphas_cumprod, arrays["alphas_cumprod"], relative=1e-5, what="alphas_cumprod")
    assert_close(noisy, arrays["noisy"], relative=1e-5, what="noisy")
    clean = schedule.clean_estimate(noisy, pred, timesteps)
    assert_close(clean, arrays["clean_estimate"], relative=1e-5, what="clean_estimate")
