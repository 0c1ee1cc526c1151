"""A mismatch between weights and configuration is an error that says which of the two to change."""

import pytest

from latentsync.errors import UserError
from latentsync.weights.guard import Fit, check_audio_width, check_fit

CONFIG = {"cross_attention_dim": 384, "in_channels": 13, "use_motion_module": True, "resolution": 256}
HAVE = Fit.of(CONFIG)


def test_what_is_told_goes_into_metadata_and_the_rest_is_left_out() -> None:
    assert HAVE.as_metadata() == {
        "resolution": "256",
        "audio_width": "384",
        "in_channels": "13",
        "temporal_layers": "all",
    }


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"resolution": 512}, "resolution=256"),
        ({"cross_attention_dim": 768}, "cross_attention_dim=384"),
        ({"in_channels": 9}, "in_channels=13"),
        ({"motion_module_decoder_only": True}, "motion_module_decoder_only=false"),
        ({"use_motion_module": False}, "use_motion_module=true"),
    ],
)
def test_each_mismatch_names_the_setting_to_change(change: dict, setting: str) -> None:
    with pytest.raises(UserError, match="change the configuration") as error:
        check_fit(HAVE, Fit.of({**CONFIG, **change}), "weights 'w.pt'")
    assert setting in str(error.value)
    assert "w.pt" in str(error.value)


def test_what_published_files_do_not_say_is_not_compared() -> None:
    silent = Fit.of({**CONFIG, "resolution": None})
    check_fit(silent, HAVE, "weights")
    check_fit(HAVE, silent, "weights")
    with pytest.raises(UserError, match="width 384, the audio encoder gives 64"):
        check_audio_width(HAVE, 64, "weights")
