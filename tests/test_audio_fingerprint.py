"""Words of a sound survive noise, loudness, another rate and a cut; other sounds have others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from data_prep.fingerprints.audio_fingerprint import (
    HASH_HOP_S,
    agreement,
    audio_fingerprint,
    audio_fingerprint_of_blocks,
)
from tests.helpers.sounds import SOUND_RATE_HZ, noise_with_bands


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 500), gain=st.floats(0.2, 2.0), cut=st.integers(0, 16_000))
def test_a_copy_agrees_at_its_offset(seed: int, gain: float, cut: int) -> None:
    original = noise_with_bands(seed)
    noise = np.random.default_rng(seed + 1).normal(0, 0.001, original.size)
    copy = (original * gain + noise).clip(-1, 1).astype(np.float32)[cut:]
    first, second = (
        audio_fingerprint(original, SOUND_RATE_HZ),
        audio_fingerprint(copy, SOUND_RATE_HZ),
    )
    offset = round(cut / SOUND_RATE_HZ / HASH_HOP_S)
    agreed, heard_s = agreement(first, second, offset)
    assert agreed > 0.5
    assert heard_s > 2.0


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 500))
def test_other_sounds_agree_by_chance_only(seed: int) -> None:
    first, second = (
        audio_fingerprint(noise_with_bands(seed), SOUND_RATE_HZ),
        audio_fingerprint(noise_with_bands(seed + 900), SOUND_RATE_HZ),
    )
    assert max(agreement(first, second, offset)[0] for offset in range(-100, 101)) < 0.3


def test_the_rate_does_not_matter() -> None:
    sound = noise_with_bands(3)
    up = resample_poly(sound.astype(float), 3, 1).clip(-1, 1).astype(np.float32)
    assert (
        agreement(audio_fingerprint(sound, SOUND_RATE_HZ), audio_fingerprint(up, 48_000), 0)[0]
        > 0.9
    )


def test_a_long_sound_is_as_if_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise_with_bands(5, 13.0)
    whole = audio_fingerprint(sound, SOUND_RATE_HZ)
    monkeypatch.setattr("data_prep.fingerprints.audio_fingerprint._BLOCK_S", 4)
    in_pieces = audio_fingerprint(sound, SOUND_RATE_HZ)
    assert in_pieces.hashes.size == whole.hashes.size
    assert agreement(whole, in_pieces, 0)[0] > 0.95  # a resampler begins anew at each piece


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 80_000), max_size=6))
def test_a_sound_in_pieces_has_the_words_of_the_whole(cuts: list[int]) -> None:
    sound = noise_with_bands(5, 13.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.fingerprints.audio_fingerprint._BLOCK_S", 4)
        whole = audio_fingerprint(sound, SOUND_RATE_HZ)
        found = audio_fingerprint_of_blocks(np.split(sound, sorted(cuts)), SOUND_RATE_HZ)
    assert np.array_equal(found.hashes, whole.hashes)
    assert np.array_equal(found.audible, whole.audible)


def test_silence_is_not_heard_and_a_click_has_no_words() -> None:
    assert (
        audio_fingerprint(np.zeros(3 * SOUND_RATE_HZ, np.float32), SOUND_RATE_HZ).audible_s == 0.0
    )
    assert audio_fingerprint(np.ones(100, np.float32), SOUND_RATE_HZ).hashes.size == 0
    nothing = audio_fingerprint(np.zeros(0, np.float32), SOUND_RATE_HZ)
    assert agreement(nothing, nothing, 0) == (0.0, 0.0)
