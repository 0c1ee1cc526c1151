"""A mismatch between weights and configuration is an error that says which of the two to change."""

import pytest

from latentsync.errors import UserError
from latentsync.weights.guard import Fit, check_audio_width

CONFIG = {"cross_attention_dim": 384, "in_channels": 13, "use_motion_module": True, "resolution": 256}
HAVE = Fit.of(CONFIG)


def test_what_is_told_goes_into_metadata_and_the_rest_is_left_out() -> None:
    assert HAVE.as_metadata() == {
        "resolution": "256",
        "audio_width": "384",
        "in_channels": "13",
        "temporal_layers": "all",
    }


def test_audio_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="width 384, the audio encoder gives 64"):
        check_audio_width(HAVE, 64, "weights")
    check_audio_width(HAVE, 384, "weights")
