"""Scores of timelines: per step, F1 by overlap, edit score, event-based F1, boundary errors.

A timeline is an int64 array [T] with one class index per time step; UNKNOWN marks steps whose true
label is not known. A segment is a maximal run of one class. The background class has no segments.

F1 by overlap and edit score are those of the evaluation of MS-TCN (Farha and Gall, 2019): counts
are summed over files before F1 is computed, edit scores are averaged over files. Event-based F1 is
that of sed_eval (Mesaros, Heittola and Virtanen, 2016) with optimal matching.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from data_prep.segments import UNKNOWN
from pipeline.metrics.classification import accuracy_with_interval, index_scores
from pipeline.metrics.intervals import Groups, f1_interval

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

OVERLAPS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Segment:
    """Steps start to end − 1 of one class."""

    label: int
    start: int
    end: int


@dataclass(frozen=True)
class Counts:
    """Numbers of predicted and true segments that match, and of those that do not."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 if there is nothing to find and nothing was found."""
        errors = self.false_positives + self.false_negatives
        if not self.true_positives:
            return float(not errors)
        return 2 * self.true_positives / (2 * self.true_positives + errors)


def comparable(truth: IntArray, predicted: IntArray) -> IntArray:
    """`predicted` with the steps of unknown truth set to UNKNOWN, so that neither side counts."""
    return np.where(truth == UNKNOWN, UNKNOWN, predicted)


def segments(timeline: IntArray, background: int | None = None) -> list[Segment]:
    """Runs of one class, in order, without those of the background and of unknown steps."""
    return [run for run in runs(timeline) if run.label not in (background, UNKNOWN)]


def runs(timeline: IntArray) -> list[Segment]:
    """All runs of one value, in order, those of the background and of unknown steps too."""
    if not timeline.size:
        return []
    cuts = [0, *(np.flatnonzero(np.diff(timeline)) + 1).tolist(), timeline.size]
    return [Segment(int(timeline[start]), start, end) for start, end in pairwise(cuts)]


def overlap_counts(
    truth: Sequence[Segment], predicted: Sequence[Segment], overlap: float
) -> Counts:
    """Match each predicted segment, in order, with the true one of its class of highest overlap.

    It is a true positive if that overlap (intersection over union) is at least `overlap` and the
    true segment has not been matched before.
    """
    matched = [m for m in _overlap_matches(truth, predicted, overlap) if m is not None]
    n = len(matched)
    return Counts(n, len(predicted) - n, len(truth) - n)


def _overlap_matches(
    truth: Sequence[Segment], predicted: Sequence[Segment], overlap: float
) -> list[int | None]:
    """For each predicted segment, the index of the true one that it matches."""
    starts = np.array([segment.start for segment in truth])
    ends = np.array([segment.end for segment in truth])
    labels = np.array([segment.label for segment in truth])
    taken: set[int] = set()
    matches: list[int | None] = []
    for segment in predicted:
        match = None
        if truth:
            shared = np.minimum(segment.end, ends) - np.maximum(segment.start, starts)
            # of distant segments the hull, not the union; their shared part is below 0
            hull = np.maximum(segment.end, ends) - np.minimum(segment.start, starts)
            share = np.where(labels == segment.label, shared / hull, 0.0)
            best = int(share.argmax())  # of equal ones the first
            if share[best] >= overlap and best not in taken:
                taken.add(best)
                match = best
        matches.append(match)
    return matches


def edit_score(truth: Sequence[Segment], predicted: Sequence[Segment]) -> float:
    """1 − Levenshtein distance of the sequences of classes / length of the longer one, 0 to 1.

    1 if both are empty.
    """
    longest = max(len(truth), len(predicted))
    if not longest:
        return 1.0
    distance = edit_distance([s.label for s in truth], [s.label for s in predicted])
    return 1 - distance / longest


def edit_distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Levenshtein distance: the least number of insertions, deletions and substitutions."""
    row = np.arange(len(second) + 1)
    others = np.asarray(second)
    for number, label in enumerate(first, 1):
        # deletion and substitution first; insertions follow from a running minimum
        without = np.minimum(row[1:] + 1, row[:-1] + (others != label))
        row = np.concatenate([[number], without])
        steps = np.arange(row.size)
        row = np.minimum.accumulate(row - steps) + steps
    return int(row[-1])


def event_counts(
    truth: Sequence[Segment],
    predicted: Sequence[Segment],
    step_s: float,
    collar_s: float = 0.2,
    length_share: float = 0.5,
) -> dict[int, Counts]:
    """{class: counts} of events that match by their times.

    Two events of one class match if their starts differ by at most collar_s, and their ends by at
    most the larger of collar_s and length_share of the true event's length. Of all assignments of
    predicted to true events, one with the most matches counts.
    """
    counts: dict[int, Counts] = {}
    for label in {segment.label for segment in (*truth, *predicted)}:
        true, found = (_times_s(side, label, step_s) for side in (truth, predicted))
        lengths_s = (true[:, 1] - true[:, 0])[:, None]  # [true, 1]
        differences_s = np.abs(true[:, None] - found[None])  # [true, predicted, 2]
        # times are multiples of step_s: rounding must not decide
        differences_s -= 1e-9
        valid = (differences_s[..., 0] <= collar_s) & (
            differences_s[..., 1] <= np.maximum(collar_s, length_share * lengths_s)
        )
        n = 0
        if valid.any():
            n = int((maximum_bipartite_matching(csr_array(valid), perm_type="column") >= 0).sum())
        counts[label] = Counts(n, len(found) - n, len(true) - n)
    return counts


def _times_s(segments_: Sequence[Segment], label: int, step_s: float) -> FloatArray:
    """Start and end in s of the segments of one class, [n, 2]."""
    times = [(s.start, s.end) for s in segments_ if s.label == label]
    return np.array(times, np.float64).reshape(-1, 2) * step_s


def boundary_errors_s(
    truth: Sequence[Segment], predicted: Sequence[Segment], step_s: float
) -> FloatArray:
    """Signed errors in s of starts and ends, predicted minus true, of segments matched by overlap.

    [2 · matches]; segments match with an overlap of at least 0.1.
    """
    errors = [
        step_s * (at - true_at)
        for segment, match in zip(
            predicted, _overlap_matches(truth, predicted, OVERLAPS[0]), strict=True
        )
        if match is not None
        for at, true_at in (
            (segment.start, truth[match].start), (segment.end, truth[match].end),
        )
    ]  # fmt: skip
    return np.array(errors, np.float64)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence: entries that agree in their order."""
    row = np.zeros(len(second) + 1, np.int64)
    others = np.array(second, dtype=object)
    for entry in first:
        # a match extends what was common before both; otherwise the better of the two neighbours
        matched = row[:-1] + (others == entry)
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], matched))
    return int(row[-1])


def event_list_scores(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]], groups: Sequence[str]
) -> dict[str, Any]:
    """Scores of lists of events; pairs: (true, predicted) list of each clip.

    accuracy: share of lists that are exactly right. edit: 1 − Levenshtein distance / length of the
    longer list, averaged over clips. precision, recall, f1: of events, of which those in the
    longest common subsequence are right, summed over clips. groups: the group of each clip.
    """
    exact = [list(true) == list(predicted) for true, predicted in pairs]
    accuracy, interval = accuracy_with_interval(exact, groups)
    counts = []
    for true, predicted in pairs:
        n = common_length(true, predicted)
        counts.append(Counts(n, len(predicted) - n, len(true) - n))
    total = pooled(counts)
    n_predicted = total.true_positives + total.false_positives
    n_true = total.true_positives + total.false_negatives
    numbers = {name: k for k, name in enumerate({e for pair in pairs for one in pair for e in one})}
    distances = [
        edit_distance([numbers[e] for e in true], [numbers[e] for e in predicted])
        / max(1, len(true), len(predicted))
        for true, predicted in pairs
    ]
    return {
        "n": len(pairs), "n_groups": len(set(groups)),
        "accuracy": accuracy, "accuracy_interval": interval,
        "edit": float(1 - np.mean(distances)),
        "precision": total.true_positives / n_predicted if n_predicted else float(not n_true),
        "recall": total.true_positives / n_true if n_true else 1.0,
        "f1": total.f1,
        "n_true_events": n_true, "n_predicted_events": n_predicted,
    }  # fmt: skip


def pooled(counts: Iterable[Counts]) -> Counts:
    """The sum over files."""
    return sum(counts, Counts())


COLLAR_S = 1.0
_HISTOGRAM_STEPS = 10  # boundary errors of more steps are counted in the outermost bins


def timeline_scores(
    timelines: Sequence[tuple[IntArray, IntArray]],
    groups: Sequence[str],
    labels: Sequence[str],
    background: str,
    step_s: float,
) -> dict[str, Any]:
    """Scores of files; timelines: (truth, prediction) of each, class indices int64 [T].

    groups: the group of each file. Steps of unknown truth count in no score. Raises ValueError if
    no step is known.
    """
    truths = [truth for truth, _ in timelines]
    predictions = [comparable(truth, predicted) for truth, predicted in timelines]
    known = np.concatenate(truths) != UNKNOWN
    if not known.any():
        raise ValueError("no step has a known label")
    of_step = np.repeat(groups, [truth.size for truth in truths])[known]
    index = labels.index(background) if background in labels else None
    pairs = [
        (segments(truth, index), segments(predicted, index))
        for truth, predicted in zip(truths, predictions, strict=True)
    ]
    steps = index_scores(
        np.concatenate(truths)[known], np.concatenate(predictions)[known], labels, of_step.tolist()
    )
    errors_s = np.concatenate([boundary_errors_s(*pair, step_s) for pair in pairs])
    n_true, n_predicted = (sum(len(pair[k]) for pair in pairs) for k in (0, 1))
    return {
        **steps,
        "n": len(timelines),
        "n_steps": int(known.sum()),
        "n_unknown_steps": int((~known).sum()),
        "step_s": step_s,
        "background": None if index is None else background,
        "background_share": _share_of(index, truths),
        "segment_f1": {f"{overlap:g}": _overlap_f1(pairs, overlap, groups) for overlap in OVERLAPS},
        "edit": float(np.mean([edit_score(*pair) for pair in pairs])),
        "event_f1": _event_f1(pairs, labels, step_s),
        "n_true_segments": n_true,
        "n_predicted_segments": n_predicted,
        "segment_ratio": n_predicted / n_true if n_true else None,
        "boundary_errors": _boundaries(errors_s, step_s),
    }


def _share_of(index: int | None, truths: Sequence[IntArray]) -> float:
    whole = np.concatenate(truths)
    known = whole[whole != UNKNOWN]
    return 0.0 if index is None else float((known == index).mean())


def _overlap_f1(
    pairs: Sequence[tuple[list[Segment], list[Segment]]], overlap: float, groups: Sequence[str]
) -> dict[str, Any]:
    """F1 of the summed counts, with an interval over groups of files."""
    counts = [overlap_counts(*pair, overlap) for pair in pairs]
    total, grouped = pooled(counts), Groups(groups)
    hits, missed, false = (
        grouped.sums(np.array([getattr(each, name) for each in counts], float))
        for name in ("true_positives", "false_negatives", "false_positives")
    )
    found = f1_interval(hits, hits + missed, hits + false)
    interval = None if found is None else [found.low, found.high]
    return {
        "f1": total.f1, "f1_interval": interval, "true_positives": total.true_positives,
        "false_positives": total.false_positives, "false_negatives": total.false_negatives,
    }  # fmt: skip


def _event_f1(
    pairs: Sequence[tuple[list[Segment], list[Segment]]], labels: Sequence[str], step_s: float
) -> dict[str, Any]:
    """F1 by times with a collar, and its mean over the classes that have true events.

    A class whose events are never predicted counts as 0; sed_eval leaves it out.
    """
    found = [event_counts(*pair, step_s, max(COLLAR_S, step_s)) for pair in pairs]
    of_class = {
        label: pooled(each[k] for each in found if k in each)
        for k, label in enumerate(labels)
        if any(k in each for each in found)
    }
    true = [c.f1 for c in of_class.values() if c.true_positives + c.false_negatives]
    return {
        "collar_s": max(COLLAR_S, step_s),
        "micro": pooled(of_class.values()).f1,
        "macro": float(np.mean(true)) if true else None,
        "per_class": {label: counts.f1 for label, counts in of_class.items()},
    }


def _boundaries(errors_s: npt.NDArray[np.float64], step_s: float) -> dict[str, Any] | None:
    """Median of the absolute errors, and the number of errors by whole steps."""
    if not errors_s.size:
        return None
    in_steps = np.clip(np.rint(errors_s / step_s), -_HISTOGRAM_STEPS, _HISTOGRAM_STEPS).astype(int)
    counts = np.bincount(in_steps + _HISTOGRAM_STEPS, minlength=2 * _HISTOGRAM_STEPS + 1)
    return {
        "n": int(errors_s.size),
        "median_absolute_s": float(np.median(np.abs(errors_s))),
        "median_s": float(np.median(errors_s)),
        "steps": list(range(-_HISTOGRAM_STEPS, _HISTOGRAM_STEPS + 1)),
        "counts": counts.tolist(),
    }
