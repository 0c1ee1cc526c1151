"""Where and how precisely to compute, in the user's words."""

import torch

from latentsync.errors import UserError

_PRECISIONS = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}


def choose_device(device: torch.device | str = "auto") -> torch.device:
    """`auto` (an accelerator if there is one, else the CPU) or a device by name. Raises UserError for an absent one."""
    if device == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device={device}: cannot be used ({reason}); try device=auto or device=cpu") from error
    return chosen


def choose_dtype(precision: torch.dtype | str | int = 32) -> torch.dtype:
    """32, 16 or bf16 (or a torch type) to a floating-point type. Raises UserError for another one."""
    if isinstance(precision, torch.dtype):
        return precision
    if str(precision) not in _PRECISIONS:
        raise UserError(f"precision={precision} is unknown; use one of {', '.join(_PRECISIONS)}")
    return _PRECISIONS[str(precision)]
