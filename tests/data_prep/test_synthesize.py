"""Claims about making synthetic shards."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from data_prep.synthesize import synthesize
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.mel import log_mel
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.synthetic.mouth import measure_mouth_opening

SMALL = {"num_clips": 3, "resolution": 64, "seconds": 1.0, "progress": False}


def members(shard) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def test_a_shard_holds_clips_with_sound_and_truth(tmp_path):
    synthesize(tmp_path / "out", **{**SMALL, "resolution": 128})
    (shard,) = sorted((tmp_path / "out").glob("*.tar"))
    files = members(shard)
    key = next(name.removesuffix(".json") for name in files if name.endswith(".json"))
    metadata = json.loads(files[f"{key}.json"])
    reader = ClipReader(files[f"{key}.mp4"])
    wave, rate = decode_audio(files[f"{key}.wav"])
    assert len(reader) == metadata["num_frames"] == 25
    assert (len(wave), rate) == (16000, 16000)
    np.testing.assert_array_equal(np.load(io.BytesIO(files[f"{key}.mel.npy"])), log_mel(wave))
    measured = measure_mouth_opening(reader.read(np.arange(25)))
    assert np.corrcoef(measured, metadata["truth"]["opening"])[0, 1] > 0.97


def test_stored_audio_tokens_are_those_of_the_stored_sound(tmp_path):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    encoder = AudioEncoder.from_config(**sizes).eval()
    synthesize(tmp_path / "out", audio_encoder=encoder, **{**SMALL, "num_clips": 1})
    files = members(next((tmp_path / "out").glob("*.tar")))
    (tokens,) = (np.load(io.BytesIO(data)) for name, data in files.items() if name.endswith("audio_tokens.npy"))
    (wave,) = (decode_audio(data)[0] for name, data in files.items() if name.endswith("wav"))
    with torch.no_grad():
        expected = encoder.frame_tokens(encoder.hidden_states(wave), 25)
    assert tokens.shape == (25, 20, 16)
    np.testing.assert_array_equal(tokens, expected.half().numpy())


@pytest.mark.slow
def test_shards_do_not_depend_on_the_number_of_workers(tmp_path):
    shards = []
    for workers in (1, 2):
        synthesize(tmp_path / str(workers), num_workers=workers, **SMALL)
        (shard,) = (tmp_path / str(workers)).glob("*.tar")
        shards.append(shard.read_bytes())
    assert shards[0] == shards[1]


def test_a_run_goes_on_where_it_stopped(tmp_path):
    synthesize(tmp_path / "parts", **{**SMALL, "num_clips": 2})
    synthesize(tmp_path / "parts", resume=True, **SMALL)
    synthesize(tmp_path / "whole", **SMALL)
    parts: dict[str, bytes] = {}
    for shard in sorted((tmp_path / "parts").glob("*.tar")):
        parts |= members(shard)
    (whole,) = (tmp_path / "whole").glob("*.tar")
    assert parts == members(whole)


def test_held_out_shards_show_other_people(tmp_path):
    people = {}
    for split in ("train", "held_out"):
        synthesize(tmp_path / split, split=split, **SMALL)
        (shard,) = (tmp_path / split).glob("*.tar")
        files = members(shard)
        people[split] = {json.loads(data)["truth"]["identity_seed"] for name, data in files.items() if "json" in name}
    assert len(people["train"]) == len(people["held_out"]) == 3
    assert not people["train"] & people["held_out"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"num_clips": 0}, "num_clips=0"),
        ({"resolution": 60}, "resolution=60"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"split": "test"}, "split='test': choose one of train, held_out"),
        ({"num_workers": 0}, "num_workers=0"),
        ({"num_identities": 10**9}, "num_identities"),
    ],
)
def test_arguments_out_of_range_get_one_line_and_leave_nothing(tmp_path, argument, message):
    with pytest.raises(UserError, match=message):
        synthesize(tmp_path / "out", **{**SMALL, **argument})
    assert not (tmp_path / "out").exists()
