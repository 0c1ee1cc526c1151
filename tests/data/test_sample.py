"""The sample contract: what goes into a shard comes out of it, and what breaks the contract is named."""

import json

import numpy as np
import pytest
import torch
from tiny_clips import metadata, tiny_clip

from latentsync.data.sample import BadSample, ClipWindow, check_key, collate, from_members, to_members, validate
from latentsync.errors import UserError


def test_members_are_named_as_in_the_contract_and_come_back_equal():
    mel = np.linspace(-4, 4, 80 * 40, dtype=np.float32).reshape(80, 40)
    tokens = np.arange(12 * 5 * 8, dtype=np.float32).reshape(12, 5, 8) / 7
    latents = np.ones((12, 2, 8, 4, 4), dtype=np.float32) / 3
    sample = tiny_clip("a-1", mel=mel, audio_tokens=tokens, latents=latents, context=b"a wider video")
    members = to_members(sample)
    assert set(members) == {"mp4", "wav", "json", "context.mp4", "mel.npy", "audio_tokens.npy", "latents.npy"}
    back = from_members("a-1", members)
    assert (back.key, back.video, back.audio, back.metadata) == (
        sample.key,
        sample.video,
        sample.audio,
        sample.metadata,
    )
    assert back.context == b"a wider video"
    np.testing.assert_array_equal(back.mel, mel)
    np.testing.assert_array_equal(back.audio_tokens, tokens.astype(np.float16))
    np.testing.assert_array_equal(back.latents, latents.astype(np.float16))
    assert (back.mel.dtype, back.audio_tokens.dtype, back.latents.dtype) == (np.float32, np.float16, np.float16)


def test_flac_is_told_from_wav_and_anything_else_refused():
    assert "flac" in to_members(tiny_clip("a", audio=b"fLaC...."))
    with pytest.raises(BadSample, match="neither wav nor flac"):
        to_members(tiny_clip("a", audio=b"ID3"))


@pytest.mark.parametrize("key", ["", "a/b", "..", "a.b", "__meta__", "a b", "-x", "ü", "a" * 81, "a\n", "a\\b"])
def test_unsafe_keys_are_refused(key):
    with pytest.raises(UserError, match="clip key"):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "clip_000012-003", "sha=ab+c@2", "_x"])
def test_plain_keys_are_accepted(key):
    assert set(to_members(tiny_clip(key))) == {"mp4", "wav", "json"}


@pytest.mark.parametrize("name", ["source", "start", "end", "fps", "resolution", "num_frames", "software_version"])
def test_each_required_metadata_key_is_asked_for(name):
    lacking = metadata()
    del lacking[name]
    with pytest.raises(BadSample, match=f"lacks '{name}'"):
        validate(lacking)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": "25"},
        {"fps": 0},
        {"fps": float("nan")},
        {"num_frames": 12.5},
        {"num_frames": True},
        {"resolution": -1},
        {"start": 3.0, "end": 2.0},
        {"start": -1.0},
        {"source": None},
    ],
)
def test_metadata_out_of_range_is_named(change):
    with pytest.raises(BadSample, match=next(iter(change))):
        validate(metadata(**change))


def test_offset_confidence_and_own_keys_are_welcome():
    sample = tiny_clip("a")
    sample.metadata |= {"offset": 0, "confidence": 4.5, "note": "mine"}
    assert from_members("a", to_members(sample)).metadata == sample.metadata


def test_missing_members_and_damaged_ones_are_reasons():
    members = to_members(tiny_clip("a", mel=np.zeros((80, 40))))
    for gone, reason in (("mp4", "mp4"), ("wav", "wav or flac"), ("json", "json")):
        with pytest.raises(BadSample, match=f"member missing: {reason}"):
            from_members("a", {name: data for name, data in members.items() if name != gone})
    with pytest.raises(BadSample, match="not JSON"):
        from_members("a", {**members, "json": b"{"})
    with pytest.raises(BadSample, match="not a JSON object"):
        from_members("a", {**members, "json": b"[]"})
    with pytest.raises(BadSample, match=r"mel\.npy"):
        from_members("a", {**members, "mel.npy": members["mel.npy"][:100]})


def test_arrays_are_never_unpickled(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    members = {**to_members(tiny_clip("a")), "mel.npy": (tmp_path / "evil.npy").read_bytes()}
    with pytest.raises(BadSample, match=r"mel\.npy"):
        from_members("a", members)


def test_equal_samples_give_equal_bytes():
    again = dict(reversed(metadata().items()))
    assert to_members(tiny_clip("a")) == to_members(tiny_clip("a", metadata=again))
    assert json.loads(to_members(tiny_clip("a"))["json"]) == metadata()


def test_batch_shapes_and_optional_parts():
    def window(key: str, **parts) -> ClipWindow:
        return ClipWindow(key, 3, 8, mel=torch.zeros(80, 52), **parts)

    full = {
        "audio_tokens": torch.zeros(4, 5, 8),
        "target": torch.zeros(4, 3, 32, 32),
        "target_moments": torch.zeros(4, 8, 4, 4),
        "truth": {"opening": torch.ones(4)},
    }
    batch = collate([window("a", **full), window("b", **full)])
    assert batch.keys == ["a", "b"]
    assert len(batch) == 2
    assert batch.start_frames.tolist() == [3, 3]
    assert batch.reference_starts.tolist() == [8, 8]
    assert batch.mel.shape == (2, 1, 80, 52)
    assert batch.audio_tokens.shape == (2, 4, 5, 8)
    assert batch.target.shape == (2, 4, 3, 32, 32)
    assert batch.target_moments.shape == (2, 4, 8, 4, 4)
    assert batch.reference is None
    assert batch.truth["opening"].shape == (2, 4)
    assert collate([window("a", **full), window("b", **{**full, "truth": {}})]).truth is None


def test_pixels_travel_as_bytes_and_become_numbers_once() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(4, 3, 1, 256)
    clip = ClipWindow("a", 0, 4, mel=torch.zeros(80, 52), target=levels, reference=levels.flip(-1))
    batch = collate([clip, clip])
    assert batch.target.dtype == batch.reference.dtype == torch.uint8
    there = batch.on_device()
    assert torch.equal(there.target[1, 2, 0, 0], torch.arange(256) / 127.5 - 1)
    assert torch.equal(there.reference, there.target.flip(-1))
    assert torch.equal(there.on_device().target, there.target)
    without = collate([ClipWindow("a", 0, 4, mel=torch.zeros(80, 52))] * 2).on_device()
    assert without.target is None
