"""All checks in turn: `python train.py experiment=syncnet_… doctor=true`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import lightning
import torch

from latentsync.data.datamodule import ClipDataModule
from latentsync.errors import UserError
from latentsync.training.doctor.clips import check_mouth, check_offset, check_silence, measure, sampled
from latentsync.training.doctor.finding import Finding
from latentsync.training.doctor.network import STEPS, Pairs, check_embeddings, check_one_batch
from latentsync.training.doctor.pairs import check_batch, check_negatives
from latentsync.training.doctor.picture import picture
from latentsync.training.syncnet import SyncNetModule
from latentsync.work.files import write_whole, written_whole

CLIPS = 64  # looked at
PAIRS = 16  # learnt by heart


def examine(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    trainer: lightning.Trainer,
    folder: Path,
    steps: int = STEPS,
) -> list[Finding]:
    """Print a line a check as it ends; write `folder`/doctor.json and doctor.png. Nothing of the module changes.

    steps: at most so many to learn one batch by heart.
    Raises UserError for anything but a SyncNet, and for data that cannot be read.
    """
    if not isinstance(module, SyncNetModule) or not isinstance(data, ClipDataModule):
        raise UserError(
            "doctor=true examines the training of a SyncNet; use experiment=syncnet_pixel_16 or another of its kind"
        )
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        print(finding, flush=True)

    shards = data.train_set()
    clips = measure(sampled(shards, CLIPS))
    for check in (check_silence, check_offset, check_mouth):
        tell(check(clips))
    windows = data.windows
    share = module.negatives_from_other_clips
    tell(check_negatives(shards.num_frames, windows.num_frames, windows.reference_distance, share))
    tell(check_batch(data.batch_size, trainer.accumulate_grad_batches, trainer.world_size))
    try:
        pairs = first_pairs(module.to(trainer.strategy.root_device), data)
    finally:
        data.teardown("fit")
    tell(check_embeddings(module, pairs))
    finding, curves = check_one_batch(module, pairs, steps)
    tell(finding)
    with written_whole(folder / "doctor.png") as part:
        picture(clips, curves).savefig(part, format="png", dpi=110)
    write_whole(folder / "doctor.json", json.dumps([asdict(found) for found in findings], indent=1) + "\n")
    return findings


def first_pairs(module: SyncNetModule, data: ClipDataModule) -> Pairs:
    """Up to PAIRS training clips in and out of sync, on the module's device."""
    device = module.device
    generator = torch.Generator(device).manual_seed(module.seed)
    parts: list[Pairs] = []
    batches: Iterator = iter(data.train_dataloader())
    while sum(len(part.mel) for part in parts) < PAIRS:
        batch = next(batches, None)
        if batch is None:
            break
        batch = data.transfer_batch_to_device(batch, device, 0)
        positive, negative = module.windows(batch, generator)
        parts.append(Pairs(positive, negative, batch.mel))
    if not parts:
        raise UserError("doctor=true: the training shards give no batch; lower data.batch_size")
    return Pairs(
        *(torch.cat([getattr(part, name) for part in parts])[:PAIRS] for name in ("positive", "negative", "mel"))
    )
