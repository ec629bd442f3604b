"""Segment scores, beside a plain computation of each definition and cases worked by hand."""

from __future__ import annotations

from itertools import groupby, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.segments import UNKNOWN
from pipeline.metrics.segments import (
    OVERLAPS,
    Counts,
    Segment,
    boundary_errors_s,
    comparable,
    edit_distance,
    edit_score,
    event_counts,
    overlap_counts,
    pooled,
    segments,
)

BACKGROUND = 0
TIMELINES = st.integers(0, 40).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.integers(0, 3), min_size=n, max_size=n).map(np.array) for _ in range(2))
    )
)
# longer runs of one class, as timelines have
RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), max_size=10).map(
    lambda runs: np.array([label for label, n in runs for _ in range(n)], np.int64)
)


def plain_segments(timeline) -> list[tuple[int, int, int]]:
    found, at = [], 0
    for label, run in groupby(list(timeline)):
        n = len(list(run))
        if label not in (BACKGROUND, UNKNOWN):
            found.append((label, at, at + n))
        at += n
    return found


def plain_counts(truth, predicted, overlap: float) -> tuple[int, int, int]:
    hit = [False] * len(truth)
    right = 0
    for label, start, end in predicted:
        shares = [
            (min(end, e) - max(start, s)) / (max(end, e) - min(start, s)) if label == name else 0.0
            for name, s, e in truth
        ]
        best = max(range(len(shares)), key=lambda k: shares[k], default=None)
        if best is not None and shares[best] >= overlap and not hit[best]:
            hit[best] = True
            right += 1
    return right, len(predicted) - right, len(truth) - right


def plain_distance(a, b) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return plain_distance(a[1:], b[1:])
    return 1 + min(plain_distance(a[1:], b), plain_distance(a, b[1:]), plain_distance(a[1:], b[1:]))


@settings(deadline=None, max_examples=300)
@given(TIMELINES | st.tuples(RUNS, RUNS))
def test_scores_are_those_of_a_plain_computation(timelines) -> None:
    true, found = (segments(each, BACKGROUND) for each in timelines)
    plain_true, plain_found = (plain_segments(each) for each in timelines)
    assert [(s.label, s.start, s.end) for s in true] == plain_true
    for overlap in OVERLAPS:
        counts = overlap_counts(true, found, overlap)
        plain = plain_counts(plain_true, plain_found, overlap)
        assert (counts.true_positives, counts.false_positives, counts.false_negatives) == plain


@settings(deadline=None, max_examples=200)
@given(*[st.lists(st.integers(0, 2), max_size=6)] * 2)
def test_the_edit_distance_is_that_of_its_definition(first, second) -> None:
    assert edit_distance(first, second) == plain_distance(first, second)
    assert edit_distance(second, first) == edit_distance(first, second)


@settings(deadline=None, max_examples=200)
@given(RUNS, RUNS)
def test_as_many_events_match_as_any_assignment_allows(truth, predicted) -> None:
    true, found = segments(truth, BACKGROUND)[:5], segments(predicted, BACKGROUND)[:5]
    counts = event_counts(true, found, 0.5, collar_s=1.0, length_share=0.25)
    for label, each in counts.items():
        mine = [s for s in true if s.label == label]
        theirs = [s for s in found if s.label == label]

        def fits(one: Segment, other: Segment) -> bool:
            ends_s = max(1.0, 0.25 * (one.end - one.start) * 0.5)
            return (abs(one.start - other.start) * 0.5 <= 1.0
                    and abs(one.end - other.end) * 0.5 <= ends_s)  # fmt: skip

        few, many = sorted((mine, theirs), key=len)
        most = max(
            sum(
                fits(*((a, b) if few is mine else (b, a)))
                for a, b in zip(few, chosen, strict=True)
            )
            for chosen in permutations(many, len(few))
        )  # fmt: skip
        assert each == Counts(most, len(theirs) - most, len(mine) - most)


@given(RUNS)
def test_a_perfect_prediction_has_perfect_scores(truth) -> None:
    true = segments(truth, BACKGROUND)
    for overlap in OVERLAPS:
        assert overlap_counts(true, true, overlap) == Counts(len(true))
    assert edit_score(true, true) == 1
    assert all(counts.f1 == 1 for counts in event_counts(true, true, 1.0).values())
    assert not boundary_errors_s(true, true, 1.0).any()


@given(RUNS, st.data())
def test_unknown_steps_change_no_score(truth, data) -> None:
    unknown = np.array(data.draw(st.lists(st.booleans(), min_size=truth.size, max_size=truth.size)))
    masked = np.where(unknown, UNKNOWN, truth) if truth.size else truth
    one, other = (
        comparable(masked, np.array(data.draw(st.just(truth)))),
        comparable(masked, np.where(unknown, 3, truth) if truth.size else truth),
    )
    assert segments(one, BACKGROUND) == segments(other, BACKGROUND) == segments(masked, BACKGROUND)


def runs(text: str) -> list[Segment]:
    """Each letter is a step; a dot is background."""
    return segments(np.array([" .abc".index(letter) - 1 for letter in text]), BACKGROUND)


@pytest.mark.parametrize(
    ("truth", "predicted", "overlap", "counts"),
    [
        # two predictions on one truth: the first takes it, the second is false
        ("aaaaaaaa", "aaa.aaaa", 0.25, (1, 1, 0)),
        # a tie: the first of the two true segments, so the other one is missed
        ("aa.aa", "aaaaa", 0.25, (1, 0, 1)),
        ("aaaa", "....", 0.1, (0, 0, 1)),
        ("....", "aaaa", 0.1, (0, 1, 0)),
        ("....", "....", 0.1, (0, 0, 0)),
        ("a.b.c", "a.b.c", 0.5, (3, 0, 0)),  # of one step each
        ("aaaa", "bbbb", 0.1, (0, 1, 1)),
        ("aabb", "abbb", 0.5, (2, 0, 0)),  # exactly half
        ("", "", 0.5, (0, 0, 0)),
    ],
)
def test_cases_worked_by_hand(truth: str, predicted: str, overlap: float, counts) -> None:
    assert overlap_counts(runs(truth), runs(predicted), overlap) == Counts(*counts)


def test_edit_scores_worked_by_hand() -> None:
    assert edit_score(runs("aabbcc"), runs("abc")) == 1  # lengths do not matter
    assert edit_score(runs("aabb"), runs("abab")) == 0.5
    assert edit_score(runs("aa"), runs("..")) == 0
    assert edit_score(runs("a.a"), runs("aaa")) == 0.5


def test_f1_is_of_the_sum_over_files() -> None:
    files = [Counts(1, 0, 0), Counts(0, 3, 1)]
    assert pooled(files).f1 == 2 / 6
    assert Counts().f1 == 1
    assert Counts(0, 1, 0).f1 == 0


def test_boundary_errors_have_a_sign_and_seconds() -> None:
    errors_s = boundary_errors_s(runs("..aaaa.b"), runs(".aaaaa.b"), 0.5)
    assert errors_s.tolist() == [-0.5, 0.0, 0.0, 0.0]


def test_collars_worked_by_hand() -> None:
    truth, late = [Segment(1, 10, 20)], [Segment(1, 11, 24)]
    assert event_counts(truth, late, 0.1)[1].f1 == 1  # 0.1 s late; the end within half its length
    assert event_counts(truth, late, 0.1, length_share=0.2)[1].f1 == 0
    assert event_counts(truth, late, 0.3)[1].f1 == 0  # the start is 0.3 s late
    assert event_counts(truth, [Segment(1, 12, 20)], 0.1)[1].f1 == 1  # exactly the collar
