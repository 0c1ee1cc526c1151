"""SyncNet's log-mel equals the published one."""

from golden_folder import Golden, assert_close, under_either_reading

from latentsync.media.mel import log_mel

KIND = "mel"


@under_either_reading
def test_mel_is_the_published_one(golden: Golden) -> None:
    wave = golden.formula.wave(golden.config["seconds"], golden.config["rate"], golden.input_salt)
    assert_close(log_mel(wave), golden.arrays["mel"], absolute=1e-3, what="mel")
