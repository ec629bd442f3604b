"""Blocks of time within one recording."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.dataset.blocks import is_near, time_blocks, without_neighbours
from data_prep.dataset.manifest import ManifestRow
from data_prep.dataset.splits import assign_splits
from data_prep.settings import SplitSettings


def parts(n: int, step_s: float = 10.0, path: str = "/long.wav") -> list[ManifestRow]:
    return [ManifestRow(path, k * step_s, k * step_s + 5, "ab"[k % 2], path) for k in range(n)]


@given(st.integers(12, 200), st.floats(5, 60))
def test_blocks_are_stretches_of_time_of_about_one_size(n: int, step_s: float) -> None:
    rows = time_blocks(parts(n, step_s), frozenset())
    groups = [row.group for row in rows]
    assert groups == sorted(groups)  # none comes twice
    sizes = [groups.count(group) for group in dict.fromkeys(groups)]
    assert 3 <= len(sizes) <= 10
    assert max(sizes) <= min(sizes) + 1


@given(st.lists(st.floats(0, 1000), min_size=12, max_size=200))
def test_no_pause_makes_a_block_much_smaller_than_another(pauses_s: list[float]) -> None:
    begins_s = np.cumsum([5 + pause_s for pause_s in pauses_s]).tolist()
    rows = [ManifestRow("/long.wav", s, s + 5, "ab"[k % 2], "") for k, s in enumerate(begins_s)]
    groups = [row.group for row in time_blocks(rows, frozenset())]
    sizes = [groups.count(group) for group in dict.fromkeys(groups)]
    assert 3 <= len(sizes) <= 10
    assert max(sizes) <= 3 * min(sizes) + 2


def test_a_cut_is_made_at_a_long_pause() -> None:
    rows = parts(12)
    rows = [*rows[:5], *(ManifestRow(r.path, (r.start_s or 0) + 500, (r.end_s or 0) + 500, r.label,
                                     r.group) for r in rows[5:])]  # fmt: skip
    groups = [row.group for row in time_blocks(rows, frozenset())]
    assert groups[4] != groups[5]


def test_own_groups_and_files_of_few_parts_stay() -> None:
    few, own = parts(5, path="/short.wav"), parts(12, path="/mine.wav")
    rows = time_blocks([*few, *own], frozenset(row.key for row in own))
    assert {row.group for row in rows} == {"/short.wav", "/mine.wav"}


def test_what_is_near_to_judged_parts_is_not_trained_on() -> None:
    rows = time_blocks(parts(60), frozenset())
    split, _ = assign_splits(rows, SplitSettings(by="time"))
    assert {row.split for row in split} == {"train", "val", "test"}
    kept, n_left_out = without_neighbours(split, 30.0)
    assert n_left_out > 0
    assert sum(not row.split for row in kept) == n_left_out
    judged = [row for row in kept if row.split == "test"]
    for row in kept:
        if row.split in ("train", "val"):
            assert not any(is_near(row, other, 30.0) for other in judged)
    assert without_neighbours(split, 0.0)[1] == 0
