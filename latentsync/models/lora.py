"""LoRA adapters of the U-Net (Hu et al. 2021), in peft's format: kept apart, or merged into the weights."""

import copy
import difflib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import peft
from peft.tuners.lora import LoraModel
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.weight_files import load_safetensors, named, save_safetensors
from latentsync.work.files import write_whole

NAME = "default"
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MARK = ".lora_"  # in the names of an adapter's parameters


def add_adapter(unet: UNet3DConditionModel, config: peft.LoraConfig) -> LoraModel:
    """Put an adapter beside the layers that `config` names, in place; it changes nothing until it is trained.

    Raises UserError for a name that no layer has.
    """
    check_targets(unet, sorted(config.target_modules or []))
    try:
        return LoraModel(unet, {NAME: config}, NAME)
    except ValueError as error:
        raise UserError(f"lora: {str(error).splitlines()[0]}") from error


def lora_config(rank: int, alpha: float, targets: Sequence[str], dropout: float = 0.0) -> peft.LoraConfig:
    """An adapter of `rank` on the layers whose names end in one of `targets`, scaled by alpha / rank; dropout: share of
    its input that is left out in training. Raises UserError for settings out of range."""
    given = not isinstance(targets, str) and len(targets) > 0 and all(isinstance(name, str) for name in targets)
    for name, value, good, advice in (
        ("rank", rank, isinstance(rank, int) and rank >= 1, "a whole number from 1"),
        ("alpha", alpha, _is_number(alpha) and alpha > 0, "a number above 0"),
        ("dropout", dropout, _is_number(dropout) and 0 <= dropout < 1, "0 to below 1"),
        ("targets", targets, given, "a list of ends of layers' names, such as [to_q, to_v]"),
    ):
        if isinstance(value, bool) or not good:
            raise UserError(f"lora: {name}={value}: give {advice}")
    return peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), lora_dropout=dropout)  # type: ignore[arg-type]


def check_targets(unet: UNet3DConditionModel, targets: Sequence[str]) -> None:
    """Raise UserError for the first target that is the end of no layer's name, with the nearest that is."""
    layers = [name for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    ends = {re.search(r"[^.]+(\.\d+)?$", name)[0] for name in layers}  # type: ignore[index]  # "to_q", "to_out.0"
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            near = difflib.get_close_matches(target, ends, 1, 0.4)
            hint = f"the nearest is '{near[0]}'" if near else f"there are {', '.join(sorted(ends))}"
            raise UserError(f"lora: targets: no layer's name ends in '{target}'; {hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def save_adapter(unet: UNet3DConditionModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors of an adapted network."""
    config: peft.LoraConfig = unet.peft_config[NAME]  # type: ignore[index, assignment]
    state: dict[str, Tensor] = peft.get_peft_model_state_dict(unet, adapter_name=NAME)
    save_safetensors(state, folder / WEIGHTS_FILE, {})
    settings = {
        "peft_type": "LORA",
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules or []),
        "lora_dropout": config.lora_dropout,
    }
    write_whole(folder / CONFIG_FILE, json.dumps(settings, indent=2) + "\n")


def load_adapter(unet: UNet3DConditionModel, folder: Path) -> LoraModel:
    """Put the adapter in `folder` beside the layers of `unet`. Raises UserError if it is none, or does not fit."""
    if not (folder / CONFIG_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise UserError(f"adapter '{folder}': there is no {CONFIG_FILE} and {WEIGHTS_FILE} in there")
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text())
        config = lora_config(settings["r"], settings["lora_alpha"], settings["target_modules"])
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"adapter '{folder}': {CONFIG_FILE} does not describe a LoRA adapter") from error
    tuner = add_adapter(unet, config)
    state = load_safetensors(folder / WEIGHTS_FILE)
    own: dict[str, Tensor] = peft.get_peft_model_state_dict(unet, adapter_name=NAME)
    wrong = [key for key in own.keys() | state.keys() if key not in own or key not in state]
    wrong += [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if wrong:
        raise UserError(f"adapter '{folder}' was not made for this U-Net: {named(sorted(wrong))}")
    peft.set_peft_model_state_dict(unet, state, adapter_name=NAME)
    return tuner


def merged(tuner: LoraModel) -> UNet3DConditionModel:
    """A copy of the adapted network as an ordinary one, the adapter added to the weights."""
    whole = copy.deepcopy(tuner).merge_and_unload()
    assert isinstance(whole, UNet3DConditionModel)
    return whole
