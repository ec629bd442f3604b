"""Plans keep the promise and cost little: laws over drawn packet tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.frames.frame_plan import plan_frames
from data_prep.frames.sampling import frame_shown_at
from data_prep.media.coded import CodedPictures

RATE_HZ = 25


def table(n: int, gop: int, b_frames: int = 0, times_s: np.ndarray | None = None) -> CodedPictures:
    """`n` pictures with a key picture every `gop`; b_frames between two others refer to both."""
    shown = np.arange(n) if times_s is None else np.argsort(times_s, kind="stable")
    order: list[int] = []
    for first in range(0, n, gop):
        group = list(range(first, min(first + gop, n)))
        order.append(group[0])
        rest = group[1:]
        while rest:
            part, rest = rest[: b_frames + 1], rest[b_frames + 1 :]
            order += [part[-1], *part[:-1]]  # the later one is decoded first
    index = np.array(order)
    times = (np.arange(n) / RATE_HZ if times_s is None else times_s)[shown][index]
    return CodedPictures(
        times, np.round(times * 90_000).astype(np.int64), index % gop == 0,
        np.ones(n, np.bool_), np.where(index % gop == 0, 5000, 500),
    )  # fmt: skip


def wanted(coded: CodedPictures, rate_hz: float) -> np.ndarray:
    n = max(1, int(coded.times_s.max() * rate_hz))
    return (np.arange(n) + 0.5) / rate_hz


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 200),
    gop=st.sampled_from([1, 5, 12, 25, 50, 250]),
    b_frames=st.integers(0, 3),
    rate_hz=st.sampled_from([0.5, 1.0, 2.0, 10.0]),
    tolerance_s=st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 3.0]),
    gaps_s=st.lists(st.floats(0.005, 1.5), min_size=0, max_size=40),
)
def test_the_promise_is_kept(n, gop, b_frames, rate_hz, tolerance_s, gaps_s) -> None:
    times_s = np.round(np.cumsum([0.0, *gaps_s]), 4) if gaps_s else None
    coded = table(n if times_s is None else times_s.size, gop, b_frames, times_s)
    wanted_s = wanted(coded, rate_hz)
    plan = plan_frames(coded, wanted_s, wanted_s, tolerance_s, 1000)
    by_time = np.sort(coded.times_s)
    exact_s = by_time[frame_shown_at(by_time, wanted_s)]
    got_s = coded.times_s[plan.target]
    near = np.abs(got_s - wanted_s) <= tolerance_s + 1e-5
    assert np.all(near | (got_s == exact_s))
    if tolerance_s == 0:
        assert np.array_equal(got_s, exact_s)
    if tolerance_s <= 0.5 / rate_hz:  # then no frame serves two steps, but those that are held
        again = np.flatnonzero(np.diff(plan.target) == 0)
        assert np.all((got_s[again] == exact_s[again]) | (got_s[again] == exact_s[again + 1]))


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 200),
    gop=st.sampled_from([1, 5, 12, 25, 250]),
    b_frames=st.integers(0, 3),
    tolerance_s=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_runs_begin_with_key_pictures_and_hold_every_target_once(
    n, gop, b_frames, tolerance_s
) -> None:
    coded = table(n, gop, b_frames)
    wanted_s = wanted(coded, 1.0)
    plan = plan_frames(coded, wanted_s, wanted_s, tolerance_s, 1000)
    served = [step for run in plan.runs for _, steps in run.targets for step in steps]
    assert served == list(range(wanted_s.size))
    assert all(a.last + 1 < b.first for a, b in zip(plan.runs, plan.runs[1:], strict=False))
    for run in plan.runs:
        assert coded.is_key[run.first]
        indices = [index for index, _ in run.targets]
        assert run.first <= min(indices)
        assert max(indices) == run.last
        for index, steps in run.targets:
            assert all(plan.target[step] == index for step in steps)


def test_key_pictures_suffice_where_each_step_has_one() -> None:
    coded = table(250, 25)
    wanted_s = wanted(coded, 1.0)
    plan = plan_frames(coded, wanted_s, wanted_s, 0.5, 1000)
    assert plan.way == "key frames"
    assert plan.n_decoded == wanted_s.size
    assert coded.times_s[plan.target].tolist() == list(range(wanted_s.size))


def test_of_several_key_pictures_the_nearest_is_taken() -> None:
    coded = table(250, 5)  # every 0.2 s
    wanted_s = wanted(coded, 1.0)
    plan = plan_frames(coded, wanted_s, wanted_s, 0.5, 1000)
    assert np.abs(coded.times_s[plan.target] - wanted_s).max() <= 0.11


def test_decoding_stops_at_the_first_picture_that_will_do() -> None:
    coded = table(500, 100)  # a key picture every 4 s: steps 1…3 need pictures in between
    wanted_s = wanted(coded, 1.0)
    plan = plan_frames(coded, wanted_s, wanted_s, 0.5, 1000)
    assert [run.first for run in plan.runs] == [0, 100, 200, 300, 400]
    assert plan.runs[0].last == 75  # the first picture of step 3
    assert plan.n_decoded < 0.8 * 500


def test_a_picture_shown_before_its_key_picture_is_reached_from_the_one_before() -> None:
    """Open groups: pictures 3 and 4 follow key picture 5 in coded order and refer to both sides."""
    times_s = np.array([0.0, 0.1, 0.2, 0.5, 0.3, 0.4, 0.6])
    is_key = np.array([True, False, False, True, False, False, False])
    coded = CodedPictures(
        times_s, (times_s * 1000).astype(np.int64), is_key, np.ones(7, np.bool_), np.full(7, 100)
    )
    plan = plan_frames(coded, np.array([0.41]), np.array([0.41]), 0.0, 1000)
    assert (plan.runs[0].first, plan.runs[0].last) == (0, 5)


def test_hidden_pictures_are_decoded_but_never_given() -> None:
    coded = table(100, 25)
    hidden = CodedPictures(
        coded.times_s, coded.ticks, coded.is_key, coded.times_s >= 0.4, coded.size
    )
    plan = plan_frames(hidden, np.array([0.2, 0.9]), np.array([0.5, 0.9]), 0.0, 1000)
    assert coded.times_s[plan.target].tolist() == pytest.approx([0.48, 0.88])
    assert plan.runs[0].first == 0


def test_nothing_is_taken_from_outside_a_segment() -> None:
    coded = table(500, 100)
    wanted_s = np.arange(4) + 0.5 + 3.0  # a segment from 3 to 7 s
    plan = plan_frames(coded, wanted_s, wanted_s, 2.5, 1000, (3.0, 7.0))
    assert coded.times_s[plan.target].min() >= 3.0
    assert coded.times_s[plan.target].max() < 7.0


def test_a_wide_tolerance_over_many_key_pictures_is_planned_at_once() -> None:
    """An hour of intra-coded pictures, any of them allowed for each step: a few dozen suffice."""
    coded = table(3600, 1)
    wanted_s = np.arange(0.5, 140, 1.0)
    plan = plan_frames(coded, wanted_s, wanted_s, 60.0, 1000)
    assert plan.n_decoded <= wanted_s.size


def test_steps_without_picture_have_no_target() -> None:
    coded = table(50, 25)
    asked_s = np.array([0.5, np.nan])
    plan = plan_frames(coded, np.array([0.5, 1.5]), asked_s, 0.5, 1000)
    assert plan.target[1] == -1
    nothing = plan_frames(coded, np.array([0.5]), np.array([np.nan]), 0.5, 1000)
    assert nothing.runs == ()
