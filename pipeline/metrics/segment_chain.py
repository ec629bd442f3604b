"""Chain of segments (explicit-duration semi-Markov chain): how long a class lasts, what follows it.

The probability to leave a class depends on the number of steps d = 1 … L that it has lasted, the
next class on the class alone. The forward recursion over (class, steps) is that of hidden
semi-Markov models (Yu, Hidden semi-Markov models, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp, softmax

from data_prep.segments import UNKNOWN
from pipeline.metrics.segments import FloatArray, IntArray, runs

_LONGEST = 1000  # steps; segments that last longer are left with the probability of this length
_ADDED = 1.0  # to the counts of transitions: what the known files lack is rare, not impossible
_FLOOR = 1e-6  # of a probability
LARGEST_WEIGHT = 10.0  # of an expert in a pool, and of the evidence
_PRIOR_ROWS = 2.0  # weight of the prior, in rows


@dataclass(frozen=True)
class SegmentChain:
    """A fitted chain of K classes.

    leave      [K, L] probability to leave class k after d steps; L: the longest known segment
    following  [K, K] class that comes after each
    frequency  [K] share of steps; 0 of a class that no known file has
    """

    leave: FloatArray
    following: FloatArray
    frequency: FloatArray

    @classmethod
    def fit(cls, known: Sequence[IntArray], n_classes: int) -> Self:
        """Count the segments of timelines int64 [T] each; UNKNOWN steps are left out."""
        ended, lasted = np.zeros((2, n_classes, _LONGEST))
        following = np.zeros((n_classes, n_classes))
        steps = np.zeros(n_classes)
        longest = 1
        for timeline in known:
            parts = runs(timeline)
            for number, run in enumerate(parts):
                if run.label == UNKNOWN:
                    continue
                steps[run.label] += run.end - run.start
                length = min(run.end - run.start, _LONGEST)
                longest = max(longest, length)
                after = parts[number + 1] if number + 1 < len(parts) else None
                known_end = after is not None and after.label != UNKNOWN
                # the last step of a segment that the file or an unknown part cuts off is not at
                # risk
                lasted[run.label, : length if known_end else length - 1] += 1
                if after is not None and known_end:
                    ended[run.label, length - 1] += 1
                    following[run.label, after.label] += 1
        # one more segment of each class, which ends as often as the class does on average
        mean_rate = (ended.sum(axis=1) + 0.5) / (lasted.sum(axis=1) + 1)
        leave = (ended + mean_rate[:, None]) / (lasted + 1)
        following = following + _ADDED * (1 - np.eye(n_classes)) / max(1, n_classes - 1)
        following /= np.maximum(following.sum(axis=1, keepdims=True), 1e-12)
        frequency = steps / steps.sum() if steps.any() else np.full(n_classes, 1 / n_classes)
        return cls(leave[:, :longest], following, frequency)

    def most_probable(self, horizon: int) -> IntArray:
        """Most probable class 1 … H steps after class k has lasted d steps, int64 [K, L, H]."""
        n_classes, longest = self.leave.shape
        # after[k, d]: distribution over classes, from class k that has lasted d + 1 steps
        after = np.repeat(np.eye(n_classes)[:, None], longest, axis=1)  # [K, L, K]
        table = np.zeros((n_classes, longest, horizon), np.int64)
        for h in range(horizon):
            stays = np.concatenate([after[:, 1:], after[:, -1:]], axis=1)  # one step longer
            leaves = self.following @ after[:, 0]  # [K, K]: into the first step of another class
            leave = self.leave[:, :, None]
            after = (1 - leave) * stays + leave * leaves[:, None]
            table[:, :, h] = after.argmax(axis=2)
        return table

    def forecast(self, present: FloatArray, horizon: int, weight: float = 1.0) -> FloatArray:
        """Probabilities of the present and the next H steps, from those of each present step.

        present: [T, K], of a classifier that sees the step → [T, 1 + H, K]. What is known at a step
        depends on that step and those before it alone (forward algorithm). weight: exponent of the
        classifier's evidence, see `fit_evidence_weight`. Classes of frequency 0 get nothing.
        """
        n_classes, longest = self.leave.shape
        evidence = np.exp(weight * self.log_evidence(present)) * (self.frequency > 0)  # [T, K]
        following = self._following_known()
        found = np.zeros((present.shape[0], 1 + horizon, n_classes))
        belief = np.zeros((n_classes, longest))  # of class and number of steps
        belief[:, 0] = self.frequency
        for t in range(present.shape[0]):
            belief = (self._next(belief, following) if t else belief) * evidence[t][:, None]
            belief /= belief.sum()
            later = belief
            for h in range(1 + horizon):
                later = self._next(later, following) if h else later
                found[t, h] = later.sum(axis=1)
        return found

    def log_evidence(self, present: FloatArray) -> FloatArray:
        """Logarithm of p(step | class), up to a term that all classes share, [T, K]."""
        odds = np.maximum(present, _FLOOR) / np.maximum(self.frequency, _FLOOR)
        log_odds = np.log(odds)
        return np.asarray(log_odds - log_odds.max(axis=1, keepdims=True))  # below 0: no overflow

    def _following_known(self) -> FloatArray:
        """`following` without the classes that no known file has; [K, K]."""
        known = self.following * (self.frequency > 0)
        sums = known.sum(axis=1, keepdims=True)
        # a class without any other to follow stays
        return np.where(sums > 0, known / np.maximum(sums, _FLOOR), np.eye(len(known)))

    def _next(self, belief: FloatArray, following: FloatArray) -> FloatArray:
        """The belief [K, L] one step later."""
        leaving = belief * self.leave
        staying = belief - leaving
        later = np.zeros_like(belief)
        later[:, 1:] = staying[:, :-1]
        later[:, -1] += staying[:, -1]  # the longest known segments do not age any more
        later[:, 0] += leaving.sum(axis=1) @ following
        return later


def count_transitions(timelines: Sequence[IntArray], n_classes: int) -> FloatArray:
    """Probability of each class after each, float64 [K, K] with rows that sum to 1.

    timelines: int64 [T] each; steps of unknown label are skipped. One is added to every count
    (Laplace).
    """
    counts = np.full((n_classes, n_classes), _ADDED)
    for timeline in timelines:
        before, after = timeline[:-1], timeline[1:]
        known = (before != UNKNOWN) & (after != UNKNOWN)
        np.add.at(counts, (before[known], after[known]), 1)
    probabilities: FloatArray = counts / counts.sum(axis=1, keepdims=True)
    return probabilities


def log_pool(experts: FloatArray, weights: FloatArray) -> FloatArray:
    """Logarithmic opinion pool: the normalised product of powers of the experts' probabilities.

    experts: [E, N, H, K]; weights: [H, E] → [N, H, K].
    """
    logits = np.einsum("enhk,he->nhk", np.log(np.maximum(experts, _FLOOR)), weights)
    return np.asarray(softmax(logits, axis=-1))


def fit_log_pool(experts: FloatArray, truth: IntArray, prior: FloatArray) -> FloatArray:
    """The weights [H, E] with the lowest cross-entropy at each horizon.

    experts: [E, N, H, K]; truth: int64 [N, H], UNKNOWN rows do not count. prior: weights [E] that a
    few rows hardly change, and which remain without any known row. An expert keeps a twentieth of
    its prior weight, so that the pool is never without an opinion.
    """
    log_p = np.log(np.maximum(experts, _FLOOR))
    return np.stack([
        _fit_weights(log_p[:, truth[:, h] != UNKNOWN, h], truth[truth[:, h] != UNKNOWN, h], prior)
        for h in range(truth.shape[1])
    ])  # fmt: skip


def _fit_weights(log_p: FloatArray, truth: IntArray, prior: FloatArray) -> FloatArray:
    """Weights [E] for experts [E, N, K] and their classes int64 [N]; the problem is convex."""
    if not truth.size:
        return prior
    right = log_p[:, np.arange(truth.size), truth]  # [E, N]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        logits = np.einsum("enk,e->nk", log_p, weights)
        expected = np.einsum("enk,nk->en", log_p, softmax(logits, axis=-1))
        value = (logsumexp(logits, axis=-1) - weights @ right).mean()
        away = weights - prior
        penalty = _PRIOR_ROWS / truth.size
        gradient = (expected - right).mean(axis=1) + 2 * penalty * away
        return float(value + penalty * (away**2).sum()), gradient

    bounds = [(least, LARGEST_WEIGHT) for least in prior / 20]
    found: FloatArray = minimize(loss, prior, jac=True, bounds=bounds, method="L-BFGS-B").x
    return found


def fit_evidence_weight(chain: SegmentChain, present: FloatArray, truth: IntArray) -> float:
    """The exponent w of the evidence p(class | step) / frequency that calibrates the present step.

    Frequency · evidence ** w has the lowest cross-entropy: 0 if the classifier knows nothing.
    present: [N, K]; truth: int64 [N]. 1 if no step of a known class is known.
    """
    known = (truth != UNKNOWN) & (chain.frequency[truth] > 0)
    if not known.any():
        return 1.0
    evidence, classes = chain.log_evidence(present)[known], truth[known]
    prior = np.log(np.maximum(chain.frequency, _FLOOR))

    def loss(weight: float) -> float:
        logits = prior + weight * evidence
        return float((logsumexp(logits, axis=1) - logits[np.arange(classes.size), classes]).mean())

    return float(minimize_scalar(loss, bounds=(0.0, LARGEST_WEIGHT), method="bounded").x)
