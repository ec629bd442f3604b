"""

Blocks of time within one recording.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.dataset.groups import infer_groups, is_near, time_blocks, without_neighbours
from data_prep.dataset.splits import assign_splits
from data_prep.manifest import ManifestRow
from data_prep.settings import SplitSettings


def rows(*paths: str, group: str = "") -> list[ManifestRow]:
    return [ManifestRow(f"/d/{p}", label=p.split("/")[0], group=group) for p in paths]


def test_a_column_wins() -> None:
    done, note = infer_groups(rows("a/1.mp4", "a/2.mp4", group="g"), True)
    assert {row.group for row in done} == {"g"}
    assert "group column" in note


def test_subfolders_are_groups_where_there_are_enough() -> None:
    paths = [f"{label}/cam{c}/{i}.mp4" for label in "ab" for c in range(3) for i in range(2)]
    done, note = infer_groups(rows(*paths), True)
    assert {row.group for row in done} == {"cam0", "cam1", "cam2"}
    assert "sub-folders" in note


def test_name_series_are_groups() -> None:
    paths = [f"{label}/day{c}_{i:03d}.mp4" for label in "ab" for c in range(4) for i in range(3)]
    done, note = infer_groups(rows(*paths), True)
    assert {row.group for row in done} == {"day0", "day1", "day2", "day3"}
    assert "series of file names" in note


def test_one_series_per_label_is_no_group() -> None:
    paths = [f"{label}/{label}_{i:03d}.mp4" for label in ("cat", "dog") for i in range(5)]
    done, note = infer_groups(rows(*paths), True)
    assert len({row.group for row in done}) == 10
    assert "every file is a group" in note


def test_groups_that_the_manifest_alone_names_are_told() -> None:
    named = rows("a/1.mp4", group="g")[0]
    rest = rows("a/x.mp4", "b/y.mp4")
    done, note = infer_groups([named, *rest], True, has_column=False)
    assert note == "groups: 1 named in the manifest, every other file is a group"
    assert [row.group for row in done] == ["g", "/d/a/x.mp4", "/d/b/y.mp4"]
    _, again = infer_groups(done[1:], True, has_column=False)  # a file's own name is no group
    assert "none known" in again


def test_inference_can_be_switched_off() -> None:
    paths = [f"{label}/cam{c}/{i}.mp4" for label in "ab" for c in range(3) for i in range(2)]
    _, note = infer_groups(rows(*paths), False)
    assert "none known" in note


def test_segments_of_one_file_belong_together() -> None:
    long = [ManifestRow("/d/long.mp4", start_s=float(i), label="ab"[i % 2]) for i in range(6)]
    done, note = infer_groups(long, True)
    assert len({row.group for row in done}) == 1
    assert "parts" in note


def test_same_name_under_two_labels_is_no_series() -> None:
    paths = [f"{label}/{i}.mp4" for label in "ab" for i in range(6)]
    done, note = infer_groups(rows(*paths), True)
    assert len({row.group for row in done}) == 12
    assert "every file is a group" in note


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
