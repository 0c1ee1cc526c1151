"""The parity suite itself: it takes manifests of the same form that it has never seen, and a wrong answer fails."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_folder import COMMITTED, GoldenFolder, fill
from test_parity_ddim import test_sampler_ends_in_the_published_latents as check_ddim
from test_parity_unet import NUM_TOKENS
from test_parity_unet import test_unet_answers_as_published as check_unet

from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.sampler import Sampler
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.models.unet import UNet3DConditionModel

REPOSITORY = Path(__file__).resolve().parents[2]
SALT, FRAMES, SIDE = 5, 2, 8
CHANGES = {
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "layers_per_block": 2,
    "cross_attention_dim": 24,
    "use_motion_module": True,
    "motion_module_decoder_only": True,
}


def make_folder(folder: Path, inputs_salt: int = SALT) -> GoldenFolder:
    """Goldens of another U-Net, under other names, answered by this repository."""
    formula = GoldenFolder(COMMITTED).formula

    def tensor(name: str, *shape: int) -> torch.Tensor:
        return torch.from_numpy(formula.tensor(name, shape, inputs_salt))

    config = {**json.loads((COMMITTED / "manifest.json").read_text())["unet_spatial"]["config"], **CHANGES}
    unet = UNet3DConditionModel(**config)
    table = {k: list(v.shape) for k, v in unet.state_dict().items() if not k.endswith(".pos_encoder.pe")}
    weights = {key: torch.from_numpy(value) for key, value in formula.weights(table, SALT).items()}
    fill(unet, weights, may_lack=".pos_encoder.pe")
    shape = (FRAMES, SIDE, SIDE)
    width = config["cross_attention_dim"]
    with torch.inference_mode():
        output = unet(
            tensor("wide.sample", 2, 13, *shape),
            torch.tensor([981, 17]),
            tensor("wide.audio", 2, FRAMES, NUM_TOKENS, width),
        )
        latents = Sampler(unet, NoiseSchedule().scheduler())(
            tensor("noise", 1, 4, 1, SIDE, SIDE).expand(-1, -1, FRAMES, -1, -1),
            KnownLatents(
                (tensor("mask", 1, 1, *shape) > 0).float(), tensor("masked", 1, 4, *shape), tensor("ref", 1, 4, *shape)
            ),
            tensor("audio", 1, FRAMES, NUM_TOKENS, width),
            num_inference_steps=2,
            guidance_scale=3.0,
        )
    ddim = {"unet": "wide", "steps": 2, "guidance_scale": 3.0, "timesteps": [501, 1]}
    manifest = {
        "wide": {"config": config, "salt": SALT, "state_dict": table, "arrays": {"output": []}},
        "short_run": {"config": ddim, "salt": SALT, "arrays": {"latents": []}},
        "smell": {"config": {"nose": "real"}, "arrays": {"odour": [[3], "float32"]}},
    }
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.savez(folder / "wide.npz", output=output.numpy())
    np.savez(folder / "short_run.npz", latents=latents.numpy())
    return GoldenFolder(folder)


@pytest.mark.parametrize("inputs_salt", [SALT, 0])
def test_other_networks_under_other_names_are_checked(tmp_path: Path, inputs_salt: int) -> None:
    folder = make_folder(tmp_path / "others", inputs_salt)
    assert folder.names("unet") == ["wide"]
    assert folder.names("ddim") == ["short_run"]
    check_unet(folder.golden("wide"))
    check_ddim(folder.golden("short_run"))


@pytest.mark.parametrize(("name", "check"), [("wide", check_unet), ("short_run", check_ddim)])
def test_a_changed_answer_fails(tmp_path: Path, name: str, check) -> None:
    folder = make_folder(tmp_path / "changed")
    golden = folder.golden(name)
    ((key, answer),) = golden.arrays.items()
    answer.flat[0] += 2e-3 * np.abs(answer).max()
    np.savez(folder.path / f"{name}.npz", **{key: answer})
    with pytest.raises(AssertionError, match="differs by"):
        check(golden)


def test_every_committed_golden_is_known() -> None:
    assert GoldenFolder(COMMITTED).names(None) == []


@pytest.mark.slow
def test_command_line_takes_a_folder_and_reports_what_it_knew(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "others").path
    shutil.copy(COMMITTED / "formula.py", folder)
    command = [sys.executable, "-m", "pytest", "tests/parity", "-q", "-p", "no:cacheprovider", "--goldens", str(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stdout
    assert "known (2): wide, short_run" in result.stdout
    assert "not known (1): smell" in result.stdout
    assert "3 passed" in result.stdout


@pytest.mark.slow
def test_folder_without_manifest_is_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/parity/test_parity_mel.py", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "--goldens", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 4
    assert "no manifest.json there" in result.stderr
    assert "Traceback" not in result.stderr
