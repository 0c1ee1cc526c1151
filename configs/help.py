"""What `--help` says: a program's purpose and examples, its keys with their comments, its groups with their options."""

import re
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent
_GROUP = re.compile(r"^\s*- (?:override )?/?([\w/]+)(?:@\w+)?: *([\w.-]+)")
EXAMPLES = {
    "infer": (
        "python infer.py input=talk.mp4 audio=speech.wav output=out.mp4 weights=latentsync-1.6",
        "python infer.py input=face.png audio=speech.wav face=largest seed=7",
        "python infer.py manifest=jobs.csv output_dir=out runner=local runner.num_workers=2",
    ),
    "train": (
        "python train.py experiment=demo",
        "python train.py experiment=stage2 data.train_shards=shards/train resume=auto",
        "python train.py --multirun experiment=demo seed=1,2,3",
    ),
    "data_prep/prepare": (
        "python -m data_prep.prepare input=raw output=prepared",
        "python -m data_prep.prepare input=raw output=prepared syncnet=none limits.crop_yaw=[null,60]",
        "python -m data_prep.prepare input=raw output=prepared runner=ray runner.num_workers=32",
    ),
    "data_prep/precompute": (
        "python -m data_prep.precompute input=prepared/shards output=shards audio_encoder=whisper-tiny",
        "python -m data_prep.precompute input=prepared/shards output=shards autoencoder=demo mel=false",
        "python -m data_prep.precompute input=prepared/shards output=shards audio_encoder=demo resume=true",
    ),
    "data_prep/inspect": (
        "python -m data_prep.inspect shards",
        "python -m data_prep.inspect shards verify=true runner.num_workers=8",
        "python -m data_prep.inspect shards contact_sheet=sheet.png sheet_clips=120",
    ),
    "data_prep/report": (
        "python -m data_prep.report prepared",
        "python -m data_prep.report prepared examples=50",
        "python -m data_prep.report output=prepared examples=0",
    ),
    "data_prep/sample": (
        "python -m data_prep.sample output=sample",
        "python -m data_prep.sample output=sample picture=true seconds=8",
        "python -m data_prep.sample output=sample identity=100060 speaker=100061 seed=9",
    ),
    "data_prep/synthesize": (
        "python -m data_prep.synthesize output=heads",
        "python -m data_prep.synthesize output=heads num_clips=384 num_workers=8 resume=true",
        "python -m data_prep.synthesize output=heads_val split=held_out num_clips=16",
    ),
    "eval/evaluate": (
        "python -m eval.evaluate weights=latentsync-1.6 shards=shards/test",
        "python -m eval.evaluate videos=generated reference=true",
        "python -m eval.evaluate weights=runs/stage2/checkpoints/last.ckpt shards=shards/test protocol=cross",
    ),
    "eval/compare": (
        "python -m eval.compare runs/eval/a/results.json runs/eval/b/results.json",
        "python -m eval.compare runs=runs/eval",
        "python -m eval.compare runs=runs/eval varies=[generation.guidance_scale]",
    ),
    "eval/contact_sheet": (
        "python -m eval.contact_sheet",
        "python -m eval.contact_sheet input=runs/eval/clips output=sheet.png",
        "python -m eval.contact_sheet people=4 columns=12",
    ),
}


def help_text(config_name: str) -> str:
    """The text for `configs/<config_name>.yaml`, made from that file: comments say what keys are."""
    lines = (CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    purpose = [line.lstrip("# ") for line in lines if line.startswith("#") and not line.startswith("# @")]
    keys = [line for line in _without_blocks(lines, ("defaults", "hydra")) if not line.startswith("#")]
    text = [*purpose, "", "Keys (key=value on the command line; what is shown is the default):", ""]
    text += [f"  {line}".rstrip() for line in "\n".join(keys).strip("\n").splitlines()]
    groups = _groups(lines)
    if groups:
        text += ["", "Groups (group=option); what an option sets is in configs/<group>/<option>.yaml:", ""]
        text += [f"  {name}={default}: {', '.join(_options(name))}" for name, default in groups.items()]
    if config_name in EXAMPLES:
        text += ["", "Examples:", "", *(f"  {example}" for example in EXAMPLES[config_name])]
    return "\n".join(
        [*text, "", "--cfg job shows the whole configuration, --multirun runs lists of values one by one."]
    )


def _without_blocks(lines: list[str], names: tuple[str, ...]) -> list[str]:
    """The lines of a YAML file less those of some keys at its top."""
    kept, inside = [], False
    for line in lines:
        if line and not line[0].isspace() and not line.startswith("#"):
            inside = line.split(":")[0] in names
        if not inside:
            kept.append(line)
    return kept


def _groups(lines: list[str]) -> dict[str, str]:
    """Group -> the default option, from the defaults list."""
    found = (_GROUP.match(line) for line in lines)
    return {match[1]: match[2] for match in found if match and not match[1].startswith("hydra")}


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
