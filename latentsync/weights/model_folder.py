"""A model as one folder: the U-Net with the parts it goes with, inside or by name, `model.json` and a model card.

config.json, diffusion_pytorch_model.safetensors   the U-Net, as diffusers lays it out
vae/, audio_encoder/                               parts that no name stands for
model.json, README.md
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentsync.errors import UserError
from latentsync.models.weight_files import readable
from latentsync.weights.adapter import load_autoencoder
from latentsync.weights.companions import MODEL_FILE, PLACES, Companions, Part, find_part
from latentsync.weights.registry import NAMES
from latentsync.weights.whisper import load_audio_encoder
from latentsync.work.files import write_whole

PARTS = ("ours", "all")


def complete_folder(
    folder: Path,
    told: Companions,
    beside: Path | None = None,
    parts: str = "ours",
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Add to a folder that holds a U-Net what makes it a whole model; returns a line.

    told: the parts it was trained with; beside: the folder that their sources may lie in. parts: "ours": those that
    have a name that `fetch` knows are named, others are put inside; "all": all of them are put inside. facts: for the
    card, e.g. {"steps": 1000}. Raises UserError where a part is not to be found.
    """
    if parts not in PARTS:
        raise UserError(f"export.parts={parts}: give one of {', '.join(PARTS)}")
    settled: dict[str, Any] = {part: _settle(folder, part, getattr(told, part), beside, parts) for part in PLACES}
    complete = replace(told, **settled)
    write_whole(folder / MODEL_FILE, json.dumps(complete.as_dict(), indent=2) + "\n")
    write_whole(folder / "README.md", model_card(folder.name, complete, facts or {}))
    named = [f"{part} {told.source if told else 'not told'}" for part, told in settled.items()]
    return f"{folder}: {', '.join(named)}"


def _settle(folder: Path, part: str, told: Part | None, beside: Path | None, parts: str) -> Part | None:
    if told is None or (parts == "ours" and told.source in NAMES):
        return told
    path, target = find_part(part, told.source, beside), folder / PLACES[part][0]
    if path.resolve() != target.resolve():
        if part == "autoencoder":
            load_autoencoder(path).vae.save_pretrained(target)
        else:
            load_audio_encoder(path).save_pretrained(target)
        readable(target)
    return Part(PLACES[part][0], told.fingerprint)


def model_card(name: str, told: Companions, facts: Mapping[str, Any]) -> str:
    """README.md of a model's folder, with the header that the Hugging Face hub reads."""
    rows = {
        "resolution": f"{told.resolution} px" if told.resolution else "not told",
        "frames in a window": told.num_frames or "not told",
        **{part.replace("_", " "): _described(getattr(told, part)) for part in PLACES},
        "face alignment": told.alignment or "not told",
        "generated region": told.mask or "not told",
        "noise schedule": ", ".join(f"{k} {v}" for k, v in (told.schedule or {}).items()) or "not told",
        **facts,
    }
    table = "\n".join(f"| {what} | {value} |" for what, value in rows.items())
    return f"""---
library_name: latentsync-in-lightning
pipeline_tag: video-to-video
tags: [lip-sync, latent-diffusion, audio]
---
# {name}

A lip-sync model for LatentSync-in-Lightning (LatentSync, arXiv 2412.09262).

    python infer.py weights=FOLDER input=talk.mp4 audio=speech.wav output=out.mp4

| | |
| --- | --- |
{table}

What it was trained on, whom it works for and what its use is limited to: to be written by those who trained it. The
licence follows from the data and from the weights that training started from.
"""


def _described(part: Part | None) -> str:
    if part is None:
        return "not told"
    return f"{part.source} (fingerprint {part.fingerprint or 'not told'})"
