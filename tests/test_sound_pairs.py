"""Copies of sounds are found among others by shared words, at their offsets."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.fingerprints.sound import NOTHING_HEARD, sound_print
from pipeline.auditing import sound_pairs
from pipeline.auditing.sound_pairs import same_sounds
from tests.test_fingerprints_sound import _RATE_HZ, _sound


def _all(first: int, second: int) -> bool:
    return True


def test_copies_are_found_and_nothing_else() -> None:
    sounds = [_sound(seed) for seed in range(12)]
    noise = np.random.default_rng(0).normal(0, 0.001, sounds[0].size)
    copy = (sounds[3] * 0.5 + noise).astype(np.float32)[9_600:]
    prints = [sound_print(each, _RATE_HZ) for each in [*sounds, copy, np.zeros_like(copy)]]
    found = list(same_sounds([*prints, NOTHING_HEARD], _all))
    assert [(each.first, each.second) for each in found] == [(3, 12)]
    assert abs(found[0].offset_s - 0.6) < 0.03
    assert found[0].agreement > 0.5


def test_pairs_that_nobody_asked_for_are_left_out() -> None:
    print_ = sound_print(_sound(1), _RATE_HZ)
    assert list(same_sounds([print_, print_], lambda a, b: False)) == []
    assert len(list(same_sounds([print_, print_], _all))) == 1
    assert list(same_sounds([], _all)) == []


def test_a_copy_is_found_past_copies_that_nobody_asked_for() -> None:
    prints = [sound_print(_sound(1), _RATE_HZ)] * 20
    found = list(same_sounds(prints, lambda a, b: (a, b) == (0, 19)))
    assert [(each.first, each.second) for each in found] == [(0, 19)]


@pytest.mark.parametrize(("n_clips", "n_found"), [(2, 1), (3, 0), (6, 0)])
def test_a_beep_that_many_recordings_begin_with_makes_them_not_one(
    n_clips: int, n_found: int
) -> None:
    def silent(seconds: float) -> np.ndarray:
        return np.zeros(int(seconds * _RATE_HZ), np.float32)

    for beep in (
        [_sound(1, 0.6), silent(3)],
        [_sound(1, 0.5), silent(1)],
        [_sound(1, 0.5), silent(9), _sound(2, 0.5)],
        [_sound(1, 1.2), silent(8)],
    ):
        prints = [sound_print(np.concatenate(beep), _RATE_HZ)] * n_clips
        assert len(list(same_sounds(prints, _all))) == n_found
    prints = [sound_print(_sound(1, 0.8), _RATE_HZ)] * n_clips  # short, but not in silence
    assert len(list(same_sounds(prints, _all))) >= n_clips - 1
    long = np.concatenate([_sound(1, 4.0), silent(6)])
    prints = [sound_print(long, _RATE_HZ)] * n_clips
    assert len(list(same_sounds(prints, _all))) >= n_clips - 1


def test_an_endless_tone_is_not_everywhere() -> None:
    """Two different recordings of steady tones share words by the thousand, not by time."""
    t = np.arange(4 * _RATE_HZ) / _RATE_HZ
    draw = np.random.default_rng(0)
    tones = [
        (0.1 * np.sin(2 * np.pi * 700 * t) + draw.normal(0, 0.006, t.size)).astype(np.float32)
        for _ in range(2)
    ]
    assert list(same_sounds([sound_print(tone, _RATE_HZ) for tone in tones], _all)) == []


def test_a_hundred_copies_are_all_joined() -> None:
    prints = [sound_print(_sound(1, 2.0), _RATE_HZ)] * 100
    pairs = {(each.first, each.second) for each in same_sounds(prints, _all)}
    assert {(k, k + 1) for k in range(99)} <= pairs


@pytest.mark.parametrize("at_once", [40, 700, 3000])
def test_what_is_found_does_not_depend_on_how_much_is_counted_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    sounds = [_sound(seed % 7, 2.0 + seed % 3) for seed in range(20)]
    prints = [sound_print(each, _RATE_HZ) for each in sounds]
    wanted = list(same_sounds(prints, _all))
    assert len(wanted) > 10
    monkeypatch.setattr(sound_pairs, "_ENTRIES_AT_ONCE", at_once)
    monkeypatch.setattr(sound_pairs, "_OF_ONE_CLIP", 2 * at_once)
    assert list(same_sounds(prints, _all)) == wanted
