"""The diffusion arithmetic: schedule, noise, guidance and sampler."""
