"""Every channel counts; what a mix would hide is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.audio.channel_mix import ChannelLevels, finite_only, mix_channels, mix_weights


@given(st.integers(1, 64))
def test_channels_without_loudspeakers_count_the_same(n: int) -> None:
    weights = mix_weights(None, n)
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights, 1 / n)


def test_loudspeakers_are_mixed_as_ffmpeg_does_and_effects_left_out() -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    expected = np.array([0.7071, 0.7071, 1, 0, 0.5, 0.5])
    assert np.allclose(mix_weights(names, 6), expected / expected.sum(), atol=1e-4)
    assert mix_weights(("LFE",), 1).tolist() == [1.0]


def test_stereo_in_opposite_phase_cancels_and_other_stereo_does_not() -> None:
    tone = np.sin(np.arange(8000) * 0.1).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(2, 8000)).astype(np.float32)
    for second, cancels in ((-tone, True), (-0.9 * tone, True), (tone, False), (0 * tone, False)):
        levels = ChannelLevels()
        levels.add(np.stack([tone, second]), mix_weights(None, 2))
        assert levels.cancel(mix_weights(None, 2)) == cancels
    levels = ChannelLevels()
    levels.add(noise, mix_weights(None, 2))
    assert not levels.cancel(mix_weights(None, 2))


def test_what_is_no_number_leaves_the_mix_to_the_others() -> None:
    channels = np.array([[0.5, np.nan, np.inf, 1e30], [0.1, 0.2, np.nan, -np.inf]], np.float32)
    mono, missing = mix_channels(channels, mix_weights(None, 2))
    assert mono.tolist() == pytest.approx([0.3, 0.2, 0, 0])
    assert missing is not None
    assert missing.tolist() == [False, False, True, True]
    assert np.isfinite(finite_only(channels)).all()
    assert mix_channels(channels[:, :1], mix_weights(None, 2))[1] is None
