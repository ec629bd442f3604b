"""Pairs of clips that hold the same sound, found by the words they share at one offset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.fingerprints.sound import WORD_HOP_S, SoundPrint, agreement

_PARTS = 3  # of each word, overlapping; a copy keeps some of them
_LEAST_BITS, _MOST_BITS = 16, 24  # of a part; more of them in larger sets, where chance is larger
_BY_CHANCE = 8  # entries of one part
_NEIGHBOURS = 64  # of an entry, among those of its part, that it is compared with
_LEAST_SHARED = 5  # parts shared at one offset
_OFFSET_STEP = 2
_TRIED_AROUND = 3

# Measured on 400 recordings and 80 planted copies: copies agree from 0.60 on; of others, at a
# second and more in common, none beyond 0.25.
_AGREES, _AGREES_SHORT = 0.4, 0.6
_LONG_S, _SHORT_S = 1.2, 0.3

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SameSound:
    """Clips by number; the second one's beginning lies at offset_s in the first."""

    first: int
    second: int
    offset_s: float
    agreement: float
    heard_s: float


def same_sounds(
    prints: Sequence[SoundPrint], wanted: Callable[[int, int], bool]
) -> Iterator[SameSound]:
    """Pairs first < second that hold the same sound. wanted: whether a pair is of interest."""
    for first, second, offset in _candidates(prints):
        if not wanted(first, second):
            continue
        found = [
            (*agreement(prints[first], prints[second], offset + near), offset + near)
            for near in range(-_TRIED_AROUND, _TRIED_AROUND + 1)
        ]
        agreed, heard_s, best = max(found)
        if agreed >= (_AGREES if heard_s >= _LONG_S else _AGREES_SHORT) and heard_s >= _SHORT_S:
            yield SameSound(first, second, best * WORD_HOP_S, agreed, heard_s)


def _candidates(prints: Sequence[SoundPrint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, offset in words) of pairs that share enough parts of words at one offset."""
    parts, clips, places = _entries(prints)
    if not parts.size:
        return
    longest = 2 * max(each.words.size for each in prints) + 2 * _OFFSET_STEP
    span, middle = longest // _OFFSET_STEP + 2, longest // _OFFSET_STEP // 2 + 1
    codes = []
    for lag in range(1, min(_NEIGHBOURS + 1, parts.size)):
        here = np.flatnonzero(parts[lag:] == parts[:-lag])
        if not here.size:
            break
        a, b, offset = clips[here], clips[here + lag], places[here] - places[here + lag]
        apart = a != b  # entries of one part are in order of clips, so a < b
        pair = a[apart] * len(prints) + b[apart]
        codes.append(pair * span + offset[apart] // _OFFSET_STEP + middle)
    if not codes:
        return
    found, counts = np.unique(np.concatenate(codes), return_counts=True)
    enough = counts >= _LEAST_SHARED
    found, counts = found[enough], counts[enough]
    told: set[int] = set()
    for k in np.argsort(-counts, kind="stable"):
        pair, cell = divmod(int(found[k]), span)
        if pair not in told:
            told.add(pair)
            yield pair // len(prints), pair % len(prints), (cell - middle) * _OFFSET_STEP


def _entries(prints: Sequence[SoundPrint]) -> tuple[Integers, Integers, Integers]:
    """(part, clip, place) of every part of a word that is heard and new, sorted by part, then clip.

    Parts that occur in many clips, as of a steady tone or a hundred copies, are compared with their
    next neighbours only, which is enough to join the copies.
    """
    n_words = sum(int(each.heard.sum()) for each in prints)
    bits = int(np.clip(np.ceil(np.log2(max(1, n_words / _BY_CHANCE))), _LEAST_BITS, _MOST_BITS))
    begins = np.linspace(0, 32 - bits, _PARTS).round().astype(int)
    parts, clips, places = [], [], []
    for number, each in enumerate(prints):
        for k, begin in enumerate(begins):
            part = (each.words.astype(np.int64) >> begin & (2**bits - 1)) + (k << bits)
            new = each.heard.copy()
            new[1:] &= part[1:] != part[:-1]
            parts.append(part[new])
            places.append(np.flatnonzero(new))
            clips.append(np.full(places[-1].size, number, np.int64))
    if not parts:
        return (np.zeros(0, np.int64),) * 3
    all_parts, all_clips, all_places = map(np.concatenate, (parts, clips, places))
    order = np.argsort(all_parts, kind="stable")  # stable: clips stay in the order they were taken
    return all_parts[order], all_clips[order], all_places[order]
