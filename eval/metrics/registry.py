"""Metrics by name."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from eval.metrics.metric import Metric
from latentsync.errors import UserError
from latentsync.work.gpus import own_device

# Group -> class; a group gives one number or several.
METRICS = {
    "similarity": "eval.metrics.similarity.Similarity",
    "lpips": "eval.metrics.similarity.LpipsDistance",
    "lmd": "eval.metrics.mouth_landmarks.MouthLandmarks",
    "csim": "eval.metrics.identity.IdentitySimilarity",
    "fid": "eval.metrics.fid.FaceFid",
    "fvd": "eval.metrics.fvd.FaceFvd",
    "sync_v2": "eval.metrics.sync.SyncV2",
    "sync_stable": "eval.metrics.sync.SyncStable",
    "flicker": "eval.metrics.flicker.WarpedFlicker",
    "leak": "eval.metrics.silence.SilenceLeak",
    "mouth_truth": "eval.metrics.mouth_truth.MouthTruth",
    "mouth_track": "eval.metrics.mouth_track.MouthTracks",
    "mouth_region": "eval.metrics.mouth_region.MouthRegion",
    "region_lpips_alex": "eval.metrics.region_lpips.RegionLpips",
    "region_lpips_vgg": "eval.metrics.region_lpips.RegionLpips",
    "untouched": "eval.metrics.untouched.Untouched",
}


def check_names(names: Sequence[str]) -> None:
    """Raises UserError for a name that is not known, and for none."""
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(f"metrics={list(names)}: give some of {', '.join(METRICS)}")


def make_metric(name: str, options: Mapping[str, Any]) -> Metric:
    """Raises UserError for missing weights, and for options that the metric does not have."""
    module, _, kind = METRICS[name].rpartition(".")
    own = {option: own_device(value) if option == "device" else value for option, value in options.items()}
    try:
        return getattr(importlib.import_module(module), kind)(**own)
    except TypeError as error:
        raise UserError(f"options.{name}: {error}") from error
