"""The command line: what the experiments say, and what a mistake is answered."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from configs.compose import check_overrides, load_config
from latentsync.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(path.stem for path in (REPOSITORY / "configs" / "experiment").glob("*.yaml"))
PUBLISHED = {  # batch a GPU, resolution, trained names, weights of noise, perceptual, trepa, sync
    "stage1": (24, 256, ["all"], (1, 0, 0, 0)),
    "stage2": (4, 256, ["motion_modules.", "attentions."], (1, 0.1, 10, 0.05)),
    "stage2_efficient": (4, 256, ["motion_modules.", "attn2."], (1, 0.1, 0, 0.05)),
    "stage1_512": (8, 512, ["all"], (1, 0, 0, 0)),
    "stage2_512": (4, 512, ["motion_modules.", "attentions."], (1, 0.1, 10, 0.05)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_have_the_published_settings(name: str) -> None:
    config = load_config("train", [f"experiment={name}"])
    batch_size, resolution, trainable, weights = PUBLISHED[name]
    objective = config.model.objective
    assert config.data.batch_size == batch_size
    assert config.data.resolution == config.model.resolution == resolution
    assert list(config.model.trainable) == trainable
    assert (objective.noise, objective.perceptual, objective.trepa, objective.sync) == weights
    assert config.model.optimizer.lr == 1e-5
    assert config.model.lr_scheduler.num_warmup_steps == 0
    assert (config.trainer.gradient_clip_val, config.trainer.precision) == (1.0, "16-mixed")
    before = {"stage1": "sd15-unet", "stage2": f"runs/{name.replace('stage2', 'stage1')}/checkpoints/last.ckpt"}
    before["stage2_efficient"] = "runs/stage1/checkpoints/last.ckpt"
    assert config.model.unet.weights == before.get(name, before[name[:6]])
    assert config.model.unet.use_motion_module == name.startswith("stage2")
    assert config.model.unet.get("motion_module_decoder_only", False) == (name == "stage2_efficient")
    assert (config.model.mixed_noise_alpha, config.model.audio_dropout, config.num_frames) == (1.0, 0.0, 16)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_key_of_an_experiment_is_an_argument_of_what_it_builds(name: str) -> None:
    config = load_config("train", [f"experiment={name}"])
    checked = [check_node(node) for node in nodes(config) if "_target_" in node]
    assert len(checked) >= 6


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.startswith("demo_")])
def test_experiment_file_says_by_itself_what_made_the_run(name: str) -> None:
    folder = REPOSITORY / "configs" / "experiment"
    said, parent = DictConfig({}), name
    while parent:  # a file, and those of this folder that it says it is like
        file = OmegaConf.load(folder / f"{parent}.yaml")
        said = OmegaConf.merge(file, said)
        parent = next((entry for entry in file.get("defaults", []) if isinstance(entry, str)), None)
    made = ["model.optimizer.lr", "trainer.max_steps", "data.batch_size", "resolution"]
    made += [] if "syncnet" in name or "vae" in name else ["model.unet.weights", "model.trainable"]
    if name == "lora":
        made.remove("model.trainable")  # the adapter
    missing = [key for key in made if OmegaConf.select(said, key, default="not said") == "not said"]
    assert not missing


def nodes(config: DictConfig):
    """Every mapping of a configuration."""
    yield config
    for key in config:
        child = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from nodes(child)


def check_node(node: DictConfig) -> str:
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = {key for key in node if not key.startswith("_")} - set(parameters)
    assert free or not unknown, f"{node['_target_']} takes no {sorted(unknown)}"
    return node["_target_"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("traner.max_steps=3", "'traner.max_steps'.*nearest known is 'trainer.max_steps'"),
        ("resoluton=3", "'resoluton'.*nearest known is 'resolution'"),
        ("model.unet.weigts=x", "nearest known is 'model.unet.weights'"),
        ("experiment=stage3", "experiment=stage3 is unknown.*stage"),
        ("model/unet=stge2", "nearest known is 'stage2'"),
        ("+foo=3", "unknown key 'foo'"),
        ("foo", "key=value"),
        ("trainer.max_steps=1,2", "--multirun"),
    ],
)
def test_mistaken_override_is_named_with_the_nearest_known(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        check_overrides("train", [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "override", "said"),
    [
        ("infer", "runner.num_worker=2", "nearest known is 'runner.num_workers'"),
        ("eval/evaluate", "runner.num_worker=2", "nearest known is 'runner.num_workers'"),
        ("eval/evaluate", "metrics.fvd.protocl=1", "unknown key 'metrics.fvd.protocl'"),
        ("eval/compare", "foo=1", "unknown key 'foo'; known are .*runs"),
        ("eval/lip_sync", "foo.bar=1", "unknown key 'foo.bar'; known are .*num_identities"),
        ("data_prep/prepare", "measure.finder.knd=json", "nearest known is 'measure.finder.kind'"),
        ("data_prep/prepare", "split.speakr=a", "nearest known is 'split.speaker'"),
        ("data_prep/augment", "looks.foo=1", "known are .*copies"),
    ],
)
def test_every_command_names_the_nearest_key(command: str, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_overrides(command, [override])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=stge1"], "experiment=stge1 is unknown"),
        (["experiment=demo_video_encoder", "trainer.precision=foo", "run_dir=RUN"], "trainer"),
        (["experiment=demo_stage1", "resume=nowhere.ckpt", "run_dir=RUN"], "nowhere.ckpt"),
    ],
)
def test_mistake_gets_one_line_and_exit_code_2(overrides: list[str], said: str, tmp_path: Path) -> None:
    words = [word.replace("RUN", str(tmp_path / "run")) for word in overrides]
    done = subprocess.run(
        [sys.executable, "train.py", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
