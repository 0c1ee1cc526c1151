"""Settings that cannot go together, found in the configuration before anything is built."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentsync.errors import UserError

LIP_SYNC = "latentsync.training.lipsync.LipSyncModule"
SYNCNET = "latentsync.training.syncnet.SyncNetModule"


def check_config(config: Mapping[str, Any]) -> None:
    """Raise UserError, naming the keys, for a resolved training configuration that cannot be trained."""
    target = config["model"].get("_target_")
    if target == LIP_SYNC:
        check_resolution(config["resolution"], config["model"]["unet"])
        check_dropout(config["model"]["audio_dropout"])
        check_frozen_dtype(config["model"]["frozen_dtype"], str(config["trainer"]["precision"]))
        check_sync_frames(config["num_frames"], config["model"]["objective"])
    elif target == SYNCNET:
        frames = frames_of_syncnet(config["model"]["syncnet"])
        if frames is not None and frames != config["num_frames"]:
            raise UserError(
                f"model.syncnet takes {frames} frames, but num_frames={config['num_frames']}; give num_frames={frames}"
            )


def check_resolution(resolution: Any, unet: Mapping[str, Any]) -> None:
    """The VAE halves the picture three times, the U-Net once less than it has levels, and has to come back to it."""
    levels = len(unet["block_out_channels"])
    side = 8 * 2 ** (levels - 1)
    if not isinstance(resolution, int) or resolution < side or resolution % side:
        raise UserError(
            f"resolution={resolution}: not a multiple of {side} (8 for the VAE times {side // 8} for the U-Net's "
            f"{levels} levels)"
        )


def check_dropout(audio_dropout: Any) -> None:
    """A probability below one."""
    if isinstance(audio_dropout, bool) or not isinstance(audio_dropout, int | float) or not 0 <= audio_dropout < 1:
        raise UserError(f"model.audio_dropout={audio_dropout} is not a probability below 1")


def check_frozen_dtype(frozen_dtype: str, precision: str) -> None:
    """Networks kept in 16 bits need their inputs cast to it, which mixed precision of the same type does."""
    wanted = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}.get(frozen_dtype)
    if wanted is not None and precision != wanted:
        raise UserError(
            f"model.frozen_dtype={frozen_dtype} needs trainer.precision={wanted}, not {precision}; set one of the two"
        )


def check_sync_frames(num_frames: Any, objective: Mapping[str, Any]) -> None:
    """The SyncNet of the sync loss looks at as many frames as a training clip has."""
    path = (objective.get("sync_loss") or {}).get("path")
    if not objective.get("sync") or path is None:
        return
    description = Path(path) / "config.json"
    if not description.is_file():
        return  # the loader of the SyncNet says how to get it
    frames = frames_of_syncnet(json.loads(description.read_text()))
    if frames is not None and frames != num_frames:
        raise UserError(
            f"model.objective.sync_loss: the SyncNet '{path}' takes {frames} frames, but num_frames={num_frames}; "
            f"give num_frames={frames}, another SyncNet, or model.objective.sync=0"
        )


def frames_of_syncnet(syncnet: Mapping[str, Any]) -> int | None:
    """How many frames a SyncNet takes, by its own word or its vision encoder's channels; None if neither tells."""
    if isinstance(syncnet.get("num_frames"), int):
        return syncnet["num_frames"]
    channels = (syncnet.get("visual_encoder") or {}).get("in_channels")
    each = 4 if syncnet.get("latent_space") else 3
    return channels // each if isinstance(channels, int) and channels % each == 0 else None
