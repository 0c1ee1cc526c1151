"""Which GPU is this process's own: a runner's choice for its worker, torchrun's, or the first that it sees."""

import os

OWN = "LATENTSYNC_GPU"  # number of a worker's own GPU, put into its environment by the runner that made it


def own_device(name: str) -> str:
    """A device's name with the own GPU's number in the place of "cuda"; "cuda:N" means N, "cpu" the processor."""
    return f"cuda:{own_gpu()}" if name == "cuda" else name


def own_gpu() -> int:
    """Number of this process's own GPU, among those that it sees.

    Under torchrun (LOCAL_RANK) processes take one each, and share them in turn where there are more processes.
    """
    chosen = os.environ.get(OWN)
    if chosen is not None:
        return int(chosen)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    return rank % max(1, visible_gpus()) if rank else 0


def shared_out() -> list[int]:
    """The GPUs that this process may give to its workers: all that it sees, under torchrun its own one."""
    if not visible_gpus():
        return []
    return [own_gpu()] if OWN in os.environ or "LOCAL_RANK" in os.environ else list(range(visible_gpus()))


def visible_gpus() -> int:
    """How many there are for this process (CUDA_VISIBLE_DEVICES)."""
    import torch  # takes seconds to import

    return torch.cuda.device_count()
