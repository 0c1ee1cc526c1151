"""Sweeps: every one composes into runs of their own, and a real multirun leaves a run folder for each of its jobs."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_clips import LoudnessTokens

from configs.compose import CONFIGS, load_config
from data_prep.synthesize import synthesize

REPOSITORY = CONFIGS.parent
SWEEPS = sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml"))
VARIANTS = sorted(path.stem for path in (CONFIGS / "ablation").glob("*.yaml"))
BASE = {"learning_rate": ["experiment=stage1"], "optuna_objective": ["experiment=demo"]}
SHARDS = ["data.train_shards=train", "data.val_shards=val"]


def hydra_config(*overrides: str) -> dict:
    """Hydra's own part of the configuration."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        config = compose("train", overrides=[*overrides], return_hydra_config=True)
    return OmegaConf.to_container(config.hydra, resolve=False)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_sweep_needs_no_flag_and_its_parameters_are_known_keys(sweep: str) -> None:
    base = BASE.get(sweep, [])
    chosen = hydra_config(*base, f"sweep={sweep}")
    assert chosen["mode"].name == "MULTIRUN"
    for key, values in chosen["sweeper"]["params"].items():
        first = "0.5" if "(" in values else values.split(",")[0]
        load_config("train", [*base, *SHARDS, f"{key}={first}"])  # raises for an unknown key or choice


def test_ablation_runs_every_variant_at_two_seeds_in_folders_of_their_own() -> None:
    params = hydra_config("sweep=ablation_losses")["sweeper"]["params"]
    assert sorted(params["ablation"].split(",")) == VARIANTS
    seeds = params["seed"].split(",")
    assert len(seeds) == 2
    pairs = [*((variant, seeds[0]) for variant in VARIANTS), (VARIANTS[0], seeds[1])]
    runs = [
        load_config("train", ["experiment=ablation", f"ablation={variant}", f"seed={seed}"]) for variant, seed in pairs
    ]
    assert len({config.run_dir for config in runs}) == len(pairs)


@pytest.mark.parametrize(
    ("variant", "weights"),
    [
        ("full", {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.05}),
        ("noise_only", {"noise": 1.0, "perceptual": 0.0, "trepa": 0.0, "sync": 0.0}),
        ("no_syncnet", {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.0}),
        ("no_trepa", {"noise": 1.0, "perceptual": 0.1, "trepa": 0.0, "sync": 0.05}),
        ("no_lpips", {"noise": 1.0, "perceptual": 0.0, "trepa": 10.0, "sync": 0.05}),
    ],
)
def test_variant_changes_the_weights_that_it_is_named_for_and_no_other(variant: str, weights: dict) -> None:
    objective = load_config("train", ["experiment=ablation", f"ablation={variant}"]).model.objective
    assert {name: objective[name] for name in weights} == weights


@pytest.mark.parametrize(
    ("launcher", "target"), [("processes", "joblib_launcher.JoblibLauncher"), ("slurm", "SlurmLauncher")]
)
def test_launcher_composes(launcher: str, target: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra `sweeps`")
    assert hydra_config(f"hydra/launcher={launcher}")["launcher"]["_target_"].endswith(target)


@pytest.mark.slow
def test_multirun_leaves_a_finished_run_for_every_value(tmp_path: Path) -> None:
    shards = synthesize(
        tmp_path / "shards", 4, resolution=64, seconds=2.0, audio_encoder=LoudnessTokens(), progress=False
    )
    result = subprocess.run(
        [
            sys.executable, "train.py", "--multirun", "experiment=demo", "model.optimizer.lr=1e-3,1e-4",
            f"hydra.sweep.dir={tmp_path}/sweep", f"run_dir={tmp_path}/runs/lr${{model.optimizer.lr}}",
            "objective@model.objective=stage1", "resolution=64", f"data.train_shards={shards}", "data.val_shards=null",
            "data.num_workers=0", "model.unet.weights=null", "model.trainable=[all]",
            "model.unet.block_out_channels=[32,32,32,32]",
            "model.unet.cross_attention_dim=16", "callbacks=training_only", "trainer.max_steps=2",
            "trainer.enable_progress_bar=false",
        ],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    runs = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in runs] == ["lr0.0001", "lr0.001"]
    for run in runs:
        assert (run / "losses.png").is_file()
        assert OmegaConf.load(run / "config.yaml").model.optimizer.lr == float(run.name.removeprefix("lr"))
