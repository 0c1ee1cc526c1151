"""The names of the samplers, apart from what makes them, so that a mistake is answered without importing torch."""

DDIM = "ddim"  # as published
SCHEDULERS = (DDIM, "dpmsolver++", "unipc", "euler", "lcm")
