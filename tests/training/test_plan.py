"""The plan of a run: shapes without memory tell what real tensors take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_lipsync import FRAMES, SIDE, batch, module, tiny_sync_loss, tiny_trepa
from torch import nn

from configs.compose import load_config
from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.losses.perceptual import PerceptualLoss
from latentsync.training.plan.estimate import Estimate, empty_batch, estimate, loss_of, shapes_only
from latentsync.training.plan.live_bytes import LiveBytes
from latentsync.training.plan.networks import without_files
from latentsync.training.plan.report import plan_text
from train import plan, run

DATA = {"batch_size": 1, "num_frames": FRAMES, "resolution": SIDE, "pixels": True, "latents": False}


def objective() -> Objective:
    return Objective(trepa=10.0, trepa_loss=tiny_trepa, sync=0.05, sync_loss=tiny_sync_loss)


def test_live_bytes_of_a_chain_of_layers_are_those_of_its_closed_form() -> None:
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64, bias=False), nn.Sigmoid()) for _ in range(5)])
    inputs = torch.zeros(1000, 64)
    with LiveBytes() as live:
        outputs = layers(inputs)
        # each layer keeps its sigmoid's output; a matrix product's own output is let go
        assert live.now == 5 * inputs.nbytes
        assert live.peak == 6 * inputs.nbytes
        outputs.sum().backward()
        del outputs
    gradients = sum(p.grad.nbytes for p in layers.parameters())
    assert live.now == gradients


@pytest.mark.parametrize("checkpointing", [False, True])
def test_fake_tensors_take_what_real_ones_take(checkpointing: bool) -> None:
    real = module(objective, gradient_checkpointing=checkpointing)
    with LiveBytes() as live:
        loss_of(real, batch()).backward()
    gradients = sum(p.grad.nbytes for p in real.parameters() if p.grad is not None)
    with shapes_only():
        found = estimate(module(objective, gradient_checkpointing=checkpointing), DATA, "32-true")
    assert found.activations + found.gradients == pytest.approx(live.peak, rel=0.03)
    assert found.gradients == gradients
    assert found.optimizer == pytest.approx(2 * gradients, rel=0.01)  # AdamW
    assert found.weights == pytest.approx(sum(t.nbytes for t in (*real.parameters(), *real.buffers())), rel=0.01)


def test_levers_lower_the_peak() -> None:
    def activations(precision: str = "32-true", **options: object) -> Estimate:
        with shapes_only():
            return estimate(module(objective, **options), DATA, precision)

    plain, trained = activations(), activations(trainable=["attn2."])
    half = activations("bf16-mixed", frozen_dtype="bfloat16")
    assert half.activations < 0.8 * plain.activations
    assert half.weights < plain.weights
    assert trained.gradients < 0.2 * plain.gradients
    assert trained.optimizer < 0.2 * plain.optimizer


def test_published_experiments_are_planned_without_any_file() -> None:
    settings = ["experiment=stage2", "model.autoencoder.path=nowhere", "model.objective.sync_loss.path=nowhere"]
    text = plan(load_config("train", settings))
    assert "plan of stage2: 4 clips of 16 frames at 256²" in text
    assert text.split("unet")[1].split()[:4] == ["1267.1", "M", "674.8", "M"]
    assert "401.3 M" in text  # StableSyncNet as published
    assert "1011.6 M" in text  # VideoMAE v2 giant
    peak = float(text.split("peak of a step")[1].split()[0])
    assert 20 < peak < 45  # the published system needs 30 GB


def test_plan_is_printed_and_leaves_no_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(load_config("train", ["experiment=syncnet_demo", "plan=true", f"run_dir={tmp_path / 'run'}"]))
    printed = capsys.readouterr().out
    assert "syncnet" in printed
    assert "peak of a step" in printed
    assert not (tmp_path / "run").exists()


def test_files_are_replaced_wherever_they_are_named() -> None:
    model = {
        "unet": {"_target_": "latentsync.weights.initial.build_unet", "weights": "sd15-unet", "in_channels": 13},
        "losses": [{"_target_": "latentsync.losses.perceptual.PerceptualLoss", "net": "vgg", "weights_path": "x"}],
    }
    made = without_files(model)
    assert made["unet"]["weights"] is None
    assert made["losses"][0]["_target_"] == "latentsync.losses.perceptual.PerceptualLoss.untrained"
    assert model["unet"]["weights"] == "sd15-unet"
    assert sum(p.numel() for p in PerceptualLoss.untrained("squeeze").parameters()) > 7e5


def test_other_modules_are_refused() -> None:
    import lightning

    with pytest.raises(UserError, match="plan=true: only the training of the U-Net and of SyncNet"):
        estimate(lightning.LightningModule(), DATA, "32-true")


def test_batches_have_the_configured_shapes_and_the_table_adds_up() -> None:
    stored = empty_batch(module(), {**DATA, "pixels": False, "latents": True, "batch_size": 3})
    assert stored.target is None
    assert stored.target_moments.shape == (3, FRAMES, 8, SIDE // 8, SIDE // 8)
    found = Estimate({}, batch=1, gradients=2, optimizer=4, activations=int(5e9))
    assert found.peak == 5_000_000_007
    assert "5.00 GB" in plan_text(found, "title")


MEASURE = """
import ctypes, re, sys
import torch
import os
import subprocess
import sys
from pathlib import Path
from test_plan import DATA, batch, estimate, loss_of, module, objective, shapes_only

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

clips, recomputing = int(sys.argv[1]), sys.argv[2] == "True"
real, data = module(objective, gradient_checkpointing=recomputing), batch(clips)
optimizer = real.configure_optimizers()["optimizer"]
loss_of(real, batch()).backward()  # libraries set themselves up
real.zero_grad(set_to_none=True)
ctypes.CDLL("libc.so.6").malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
loss_of(real, data).backward()
optimizer.step()
measured = 1024 * (kilobytes("VmHWM") - before)
with shapes_only():
    plan = estimate(module(objective, gradient_checkpointing=recomputing), {**DATA, "batch_size": clips}, "32-true")
print(measured, plan.activations + plan.gradients)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads peaks from Linux' /proc")
@pytest.mark.parametrize(("clips", "recomputing"), [(4, False), (16, True)])
def test_planned_peak_is_the_measured_one_within_15_percent(clips: int, recomputing: bool) -> None:
    places = [str(Path(__file__).parent), *sys.path]
    # Blocks go back to the system when they are let go, so that what is resident is what is alive.
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(clips), str(recomputing)], env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    measured, planned = (float(number) for number in done.stdout.split()[-2:])
    assert planned == pytest.approx(measured, rel=0.15)
