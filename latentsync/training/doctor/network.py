"""Checks of the network: do its embeddings differ from clip to clip, and can it learn one batch by heart?"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.training.doctor.finding import Finding, Verdict
from latentsync.training.syncnet import SyncNetModule, pair_loss

STEPS = 80
LEARNT, STUCK = 0.35, 0.6  # loss; 0.693 is a coin
FASTER = 10.0  # times the learning rate, if the batch is not learnt at the configured one


@dataclass(frozen=True)
class Pairs:
    """One batch, in and out of sync: positive, negative (B, F, C, H, W); mel (B, 1, 80, 52)."""

    positive: Tensor
    negative: Tensor
    mel: Tensor


@torch.no_grad()
def check_embeddings(module: SyncNetModule, pairs: Pairs) -> Finding:
    """Embeddings that are the same for all clips, not finite, or zero carry nothing."""
    syncnet = module.syncnet
    vision, audio = syncnet(syncnet.fold(pairs.positive), pairs.mel)
    values = {}
    for name, embedding in (("picture", vision.float()), ("sound", audio.float())):
        if not embedding.isfinite().all():
            text = f"those of the {name} are not finite: use trainer.precision=32, or lower model.optimizer.lr"
            return Finding("embeddings", "bad", text)
        if (embedding.norm(dim=1) < 1e-3).any():
            return Finding("embeddings", "bad", f"those of the {name} are zero: dead units; start anew, lower the rate")
        values[f"{name}_spread"] = float((embedding - embedding.mean(0)).norm(dim=1).mean())
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in values.items())
    if min(values.values()) < 1e-5:
        text = f"{figures}: the same for every clip; has the network collapsed, or is its input constant?"
        return Finding("embeddings", "bad", text, values)
    return Finding("embeddings", "ok", f"{figures} (0: the same for every clip)", values)


def check_one_batch(module: SyncNetModule, pairs: Pairs, steps: int = STEPS) -> tuple[Finding, dict[str, list[float]]]:
    """Train a copy of the network on one batch alone, `steps` at most; returns the losses by learning rate, too."""
    curves: dict[str, list[float]] = {}
    lowest = float("inf")
    for faster in (1.0, FASTER):
        rate, losses = learn(module, pairs, faster, steps)
        curves[f"lr {rate:g}"] = losses
        lowest = min(losses)
        values = {"lowest_loss": lowest, "steps": len(losses), "lr": rate}
        figures = f"loss {losses[0]:.2f} → {lowest:.2f} in {len(losses)} steps on {len(pairs.mel)} clips at lr {rate:g}"
        if lowest < LEARNT and faster == 1:
            return Finding("one batch", "ok", figures, values), curves
        if lowest < LEARNT:
            text = f"{figures}, but not at the configured lr {rate / FASTER:g}: raise it, or allow for many more steps"
            return Finding("one batch", "suspicious", text, values), curves
    verdict: Verdict = "bad" if lowest > STUCK else "suspicious"
    text = f"{figures}: the network cannot tell even these apart; look at the checks above, then at the architecture"
    return Finding("one batch", verdict, text, values), curves


def learn(module: SyncNetModule, pairs: Pairs, faster: float, steps: int) -> tuple[float, list[float]]:
    """Steps on one batch with the configured optimizer at `faster` times its rate, until learnt: rate and losses."""
    student = copy.deepcopy(module.syncnet).train().requires_grad_(True)
    optimizer = module.make_optimizer(list(student.parameters()))
    for group in optimizer.param_groups:
        group["lr"] *= faster
    frames = student.fold(torch.cat([pairs.positive, pairs.negative]))
    mel = pairs.mel.repeat(2, 1, 1, 1)
    synced = torch.arange(len(mel), device=mel.device) < len(pairs.mel)
    losses: list[float] = []
    while len(losses) < steps and (not losses or losses[-1] > LEARNT / 2):
        optimizer.zero_grad()
        vision, audio = student(frames, mel)
        loss = pair_loss(torch.nn.functional.cosine_similarity(vision, audio), synced)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(optimizer.param_groups[0]["lr"]), losses
