"""Turn a command line into a configuration: an unknown key or value gets one line and exit code 2."""

import difflib
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.help import help_text
from latentsync.errors import UserError
from latentsync.work.stopping import stopped_with

CONFIGS = Path(__file__).resolve().parent


def command(config_name: str, run: Callable[[DictConfig], object], stopped: str = "stopped") -> None:
    """Run a Hydra entry point: `run` gets the composed configuration `configs/<config_name>.yaml` plus overrides.

    A `UserError`, wherever it was raised, becomes one line on stderr and exit code 2; any other exception is a bug
    and keeps its traceback. Ctrl-C and SIGTERM print the line `stopped`; exit code 130 or 143. `--help` explains the
    program; all of Hydra's other flags (`--multirun`, `--cfg job`) work.
    """
    arguments = get_args_parser().parse_known_args(sys.argv[1:])[0]
    if arguments.help:
        print(help_text(config_name))
        return
    try:
        check_overrides(config_name, arguments.overrides, arguments.multirun)
    except UserError as error:
        _refuse(error)

    def task(config: DictConfig) -> object:
        try:
            return run(config)  # a search reads it
        except UserError as error:
            _refuse(error)
        except InstantiationException as error:
            _refuse(_instantiation_mistake(error))
        except OmegaConfBaseException as error:
            _refuse(UserError(f"config: {error}"))

    with stopped_with(stopped):
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(task)()


def name_first_argument(key: str, arguments: list[str]) -> list[str]:
    """The command line `arguments` with a first one that has no "=" and is no flag taken as the value of `key`."""
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        return arguments
    quoted = arguments[0].replace("\\", "\\\\").replace('"', '\\"')
    return [f'{key}="{quoted}"', *arguments[1:]]


def load_config(config_name: str, overrides: Iterable[str] = ()) -> DictConfig:
    """Compose `configs/<config_name>.yaml` with `overrides` ("key=value") from Python. Raises UserError as above."""
    overrides = list(overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        try:
            return compose(config_name, overrides=overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise _explain(config_name, error, overrides) from error
        except TypeError as error:
            if not (match := re.fullmatch(r"Index '(\w+)' \(str\) is not an int", str(error))):
                raise
            inside = next((text for text in overrides if f".{match[1]}" in text.partition("=")[0]), match[1])
            raise _unknown_key(config_name, inside.partition("=")[0], overrides) from error  # a key in a list


def check_overrides(config_name: str, overrides: list[str], multirun: bool = False) -> None:
    """Raise UserError if an override names an unknown key or option, with the nearest known one.

    Lists of values ("key=1,2") are checked by Hydra itself when `multirun` is on, and refused when it is not.
    """
    if not overrides:
        return
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(
            f"argument '{error.override}' is not of the form key=value (quote values with special "
            f"characters: 'key=\"a value\"')"
        ) from error
    single = []
    for text, override in zip(overrides, parsed):
        key = override.key_or_group
        if override.is_sweep_override():
            if not multirun:
                raise UserError(f"argument '{text}' gives several values; add --multirun to run them all")
        elif key.split(".")[0].split("@")[0] != "hydra" and not key.startswith("hydra/"):
            if override.is_add() and "." not in key and not (CONFIGS / key).is_dir():
                raise _unknown_key(config_name, key, overrides)  # nothing would read it
            single.append(text)
    load_config(config_name, single)


def _explain(config_name: str, error: Exception, overrides: list[str]) -> UserError:
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(config_name, match[1], overrides)
    if match := re.search(r"(?:Could not find|In '[^']+': Could not find) '([^']+)'", text):
        group, _, name = match[1].rpartition("/")
        known = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
        return UserError(f"{group or 'config'}={name} is unknown{_nearest(name, known)}; known: {', '.join(known)}")
    if match := re.search(r"Could not (?:append|override)[^'\"]*['\"]?([\w./@]+)", text):
        return _unknown_key(config_name, match[1], overrides)
    if match := re.search(r"Key '([^']+)' is not in struct", text):
        return _unknown_key(config_name, match[1], overrides)
    return UserError(f"config: {text}")


def _unknown_key(config_name: str, key: str, overrides: list[str]) -> UserError:
    """With the nearest known key; of one that is like none, also with all that are in its group, or at the top."""
    known = _known_keys(config_name, [text for text in overrides if "=" in text and text.split("=")[0] in _options()])
    group, _, name = key.rpartition(".")
    beside = [other.rpartition(".")[2] for other in known if group and _is_key_of(other, group)]
    tails = {other.rpartition(".")[2]: other for other in known}
    close = [f"{group}.{near}" for near in difflib.get_close_matches(name, beside, 1, 0.4)]
    if not close and not beside:
        close = difflib.get_close_matches(key, known, 1, 0.6)
    close = close or [tails[near] for near in difflib.get_close_matches(name, list(tails), 1, 0.6)]
    if close:
        return UserError(f"unknown key '{key}'; the nearest known is '{close[0]}'")
    if not beside:
        first = [other for other in known if "." not in other and other != "hydra"]
        return UserError(f"unknown key '{key}'; known are {', '.join(first)}")
    near = f"{group}.{difflib.get_close_matches(name, beside, 1, 0.0)[0]}"
    return UserError(f"unknown key '{key}'; the nearest known is '{near}'; '{group}' has {', '.join(beside)}")


def _is_key_of(key: str, group: str) -> bool:
    return key.rpartition(".")[0] == group and not key.endswith("_")  # `_target_` is not for users


def _options() -> set[str]:
    """The names of all groups."""
    return {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*") if path.is_dir()}


def _known_keys(config_name: str, choices: list[str]) -> list[str]:
    """Every key there is with these choices of options; without them where they do not go together."""
    for chosen in (choices, []):
        GlobalHydra.instance().clear()
        with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
            try:
                return sorted(_leaves(compose(config_name, overrides=chosen)))
            except (HydraException, OmegaConfBaseException):
                continue
    return []


def _leaves(config: DictConfig, prefix: str = "") -> Iterable[str]:
    for key in config:
        name = f"{prefix}{key!s}"
        yield name
        child = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(child, DictConfig) and child._content is not None and not isinstance(child._content, str):
            yield from _leaves(child, f"{name}.")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.4)
    return f"; the nearest known is '{close[0]}'" if close else ""


def _instantiation_mistake(error: InstantiationException) -> UserError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    if isinstance(cause, (TypeError, ValueError)) or type(cause).__name__ == "MisconfigurationException":
        key = re.search(r"full_key: (\S+)", str(error))
        return UserError(f"config{f' {key[1]!r}' if key else ''}: {cause}")
    raise error


def _refuse(error: UserError | ConfigCompositionException) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
