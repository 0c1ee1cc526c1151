"""What the server of `run_process` imports once, before any run is forked from it."""

import decord  # noqa: F401
import diffusers  # noqa: F401
import hydra.utils  # noqa: F401
import lightning  # noqa: F401
import torch

import train  # noqa: F401

torch.set_num_threads(1)
