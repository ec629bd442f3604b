from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.video.sampling import (
    NO_FRAME,
    clamp_to_picture,
    evenly,
    frame_shown_at,
    step_count,
    target_times_s,
)

durations = st.floats(0.001, 20_000)
rates = st.sampled_from([0.1, 0.5, 1.0, 2.0, 2.5, 3.0, 6.0, 12.5, 25.0, 30.0])


@given(durations, rates)
def test_every_middle_lies_inside_and_none_is_left_out(duration_s: float, rate: float) -> None:
    n = step_count(duration_s, rate)
    wanted = target_times_s(0, n + 1, rate)
    assert n >= 1
    if n > 1:
        assert wanted[n - 1] < duration_s + 1e-6
    assert wanted[n] >= duration_s - 1e-6


@given(st.floats(0.02, 500), rates, st.floats(-3, 3), st.floats(0.01, 500))
def test_sampler_never_leaves_the_video_and_is_monotone(
    total_s: float, rate: float, start_s: float, length_s: float
) -> None:
    end_s = start_s + length_s
    wanted = target_times_s(0, step_count(total_s, rate), rate)
    looked = clamp_to_picture(wanted, 1 / rate, start_s, end_s)
    seen = looked[~np.isnan(looked)]
    assert np.all(seen >= start_s)
    assert np.all(seen < end_s)
    assert np.all(np.diff(seen) >= 0)
    assert np.all(np.abs(seen - wanted[~np.isnan(looked)]) <= 1 / rate)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=60), st.lists(durations, max_size=20))
def test_shown_frame_is_the_last_one_not_after(times_ms: list[int], asked: list[float]) -> None:
    times = np.sort(np.array(times_ms)) / 1000
    index = frame_shown_at(times, np.array(asked))
    for time_s, i in zip(asked, index, strict=True):
        not_after = [k for k, t in enumerate(times) if t <= time_s + 1e-6]
        assert i == (not_after[-1] if not_after else 0)


def test_a_step_without_picture_has_no_frame() -> None:
    wanted = target_times_s(0, 5, 1.0)
    looked = clamp_to_picture(wanted, 1.0, 0.0, 2.3)
    assert np.isnan(looked).tolist() == [False, False, False, True, True]
    assert looked[2] == pytest.approx(2.3, abs=1e-5)  # held, since the picture reaches into it
    assert frame_shown_at(np.array([0.0, 1.0, 2.0]), looked).tolist() == [0, 1, 2, -1, -1]
    assert NO_FRAME == -1


def test_a_very_short_clip_is_looked_at_in_its_middle() -> None:
    looked = clamp_to_picture(target_times_s(0, step_count(0.2, 1.0), 1.0), 1.0, 0.0, 0.2)
    assert looked.tolist() == [pytest.approx(0.1)]


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf")])
def test_no_duration_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="duration_s"):
        step_count(duration, 1.0)


def test_unsorted_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="non-decreasing"):
        frame_shown_at(np.array([1.0, 0.5]), np.array([1.0]))
    with pytest.raises(ValueError, match="N ≥ 1"):
        frame_shown_at(np.array([]), np.array([1.0]))


@given(st.integers(0, 500), st.integers(2, 40))
def test_an_even_choice_has_both_ends_and_no_gap_twice_another(n: int, most: int) -> None:
    chosen = evenly(n, most)
    assert len(chosen) == min(n, most)
    assert chosen == sorted(set(chosen))
    if n:
        assert {chosen[0], chosen[-1]} == {0, n - 1}
    gaps = [b - a for a, b in pairwise(chosen)]
    assert not gaps or max(gaps) - min(gaps) <= 1
