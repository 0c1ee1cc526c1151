"""Loading: nothing runs code, damage gives one line, and no key goes unnoticed."""

import contextlib
import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from latentsync.errors import UserError
from latentsync.models.weight_files import (
    folder_weights,
    load_state,
    load_strict,
    preferred,
    save_safetensors,
    state_of,
)


class Touch:
    """Unpickling an instance creates a file: what a hostile weights file could do."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.path,))


def small_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(40, 30, generator=generator), "a.bias": torch.randn(40, generator=generator)}


@pytest.fixture(params=["zip", "legacy", "safetensors"])
def weights_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"weights.{'safetensors' if request.param == 'safetensors' else 'pt'}"
    if request.param == "safetensors":
        save_safetensors(small_state(), path, {})
    else:
        torch.save(small_state(), path, _use_new_zipfile_serialization=request.param == "zip")
    return path


def assert_one_line(error: pytest.ExceptionInfo[UserError], path: Path) -> None:
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)


def test_every_format_loads_what_was_saved(weights_file: Path) -> None:
    loaded = load_state(weights_file)
    assert all(torch.equal(loaded[key], value) for key, value in small_state().items())


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file_gives_one_line(weights_file: Path, kept: float) -> None:
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError) as error:
        load_state(weights_file)
    assert_one_line(error, weights_file)


@pytest.mark.parametrize("kept", [0.6, 0.99])
def test_truncated_file_says_how_long_it_is_and_should_be(weights_file: Path, kept: float) -> None:
    content = weights_file.read_bytes()
    tensors = sum(value.nbytes for value in small_state().values())
    cut = int(len(content) * kept) if weights_file.suffix == ".safetensors" else int(tensors * kept)
    weights_file.write_bytes(content[:cut])
    if content[:2] != b"PK" and weights_file.suffix == ".pt":
        return  # the format before zip tells no length
    whole = f"{len(content):,}" if weights_file.suffix == ".safetensors" else f"at least {tensors:,}"
    with pytest.raises(UserError, match=f"truncated: {cut:,} bytes, it should have {whole}; fetch or copy it again"):
        load_state(weights_file)


def test_zip_that_lacks_bytes_before_its_end_record_is_measured_by_it(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "weights.pt")
    content = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(content[:2000] + content[2500:])
    with pytest.raises(UserError, match=f"{len(content) - 500:,} bytes, it should have {len(content):,};"):
        load_state(tmp_path / "weights.pt")


def test_table_of_a_cut_file_is_read_without_running_it(tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "executed"
    torch.save({"state_dict": small_state(), "extra": Touch(trace)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="it should have at least"):
        load_state(path)
    assert not trace.exists()


@pytest.mark.parametrize("saved_as", ["zip", "safetensors"])
def test_one_flipped_bit_in_the_numbers_is_noticed(saved_as: str, tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if saved_as == "safetensors" else "weights.pt")
    state = {"weight": torch.full((1000,), 1.5)}
    save_safetensors(state, path, {}) if saved_as == "safetensors" else torch.save(state, path)
    content = bytearray(path.read_bytes())
    place = content.rindex(state["weight"].numpy().tobytes()[:400])
    content[place + 200] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged") as error:
        load_state(path)
    assert_one_line(error, path)


@pytest.mark.parametrize("place", [0, 3, 9, 20, 60])
def test_flipped_header_never_escapes_as_a_traceback(weights_file: Path, place: int) -> None:
    content = bytearray(weights_file.read_bytes())
    content[place] ^= 0x15
    weights_file.write_bytes(bytes(content))
    with contextlib.suppress(UserError):  # or it loads: some fields are looked at by no reader
        assert load_state(weights_file)


@pytest.mark.parametrize("how", ["pickle", "torch", "torch legacy"])
def test_file_made_to_execute_something_is_refused_and_nothing_runs(how: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "executed"
    hostile = {"state_dict": Touch(trace)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(hostile, protocol=2))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(UserError) as error:
        load_state(path)
    assert not trace.exists()
    assert_one_line(error, path)
    assert "refused" in str(error.value)


def test_absent_file_and_other_content_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_state(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match=r"text\.pt"):
        load_state(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list"):
        load_state(tmp_path / "list.pt")


@pytest.mark.parametrize("holder", ["state_dict", "model_state_dict", "model", "module", None])
def test_published_nestings_are_opened(holder: str | None) -> None:
    state = small_state()
    content = state if holder is None else {holder: state, "global_step": 7}
    assert state_of(content).keys() == state.keys()
    parallel = {f"module.{key}": value for key, value in state.items()}
    assert state_of({holder: parallel} if holder else parallel).keys() == state.keys()
    with pytest.raises(UserError, match="no tensors"):
        state_of({"epoch": 3})


def test_strict_loading_lists_missing_unexpected_and_misshapen_keys() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    state = dict(module.state_dict())
    load_strict(module, state, "whole.pt")
    del state["0.bias"]
    state["2.weight"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(2, 5)
    with pytest.raises(UserError) as error:
        load_strict(module, state, "broken.pt")
    for words in ("broken.pt", "1 missing (0.bias)", "1 unexpected (2.weight)", "1.weight [2, 5] instead of [2, 4]"):
        assert words in str(error.value)


def test_folder_shards_are_joined_and_paths_out_of_the_folder_refused(tmp_path: Path) -> None:
    state = small_state()
    for number, key in enumerate(state):
        safetensors.torch.save_file({key: state[key]}, tmp_path / f"model-{number}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {k: f"model-{n}.safetensors" for n, k in enumerate(state)}}))
    assert folder_weights(tmp_path).keys() == state.keys()
    index.write_text(json.dumps({"weight_map": {"a.bias": "../elsewhere.safetensors"}}))
    with pytest.raises(UserError, match="out of the folder"):
        folder_weights(tmp_path)
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        folder_weights(tmp_path / "empty")


def test_full_precision_file_is_preferred_to_its_variants() -> None:
    names = ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"]
    assert preferred([Path(name) for name in names]).name == "diffusion_pytorch_model.safetensors"
