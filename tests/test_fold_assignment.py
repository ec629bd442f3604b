from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.manifest import ManifestRow
from pipeline.crossval.fold_assignment import assign_folds, assignment_digest
from pipeline.errors import UserError


def rows(sizes: list[int], labels: int = 2, fold: str = "") -> list[ManifestRow]:
    return [
        ManifestRow(f"{g}-{i}", label=str((g + i) % labels), group=str(g), fold=fold, id=f"{g}-{i}")
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=5, max_size=25),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_every_clip_is_in_one_fold_and_no_group_in_two(sizes, n_folds, seed) -> None:
    clips = rows(sizes, labels=1)
    found = assign_folds(clips, n_folds, seed)
    assert found.keys() == {row.id for row in clips}
    assert len(set(found.values())) == n_folds
    for group in {row.group for row in clips}:
        assert len({found[row.id] for row in clips if row.group == group}) == 1
    assert assignment_digest(found) == assignment_digest(assign_folds(clips, n_folds, seed))


def test_a_few_clips_of_each_label_get_as_many_folds_as_they_fill() -> None:
    assert len(set(assign_folds(rows([1] * 12, labels=3), None, 0).values())) == 4


def test_rows_with_several_labels_are_divided_by_each_of_them() -> None:
    clips = [replace(row, label=f"{i:05b}") for i, row in enumerate(rows([1] * 32))]
    found = assign_folds(clips, 4, 0, lambda row: list(row.label))
    for fold in set(found.values()):
        inside = "".join(row.label for row in clips if found[row.id] == fold)
        assert inside.count("1") == pytest.approx(20, abs=5)
        assert inside.count("0") == pytest.approx(20, abs=5)


def test_the_manifests_folds_are_taken_unless_others_are_asked_for() -> None:
    clips = [*rows([2, 2], fold="x"), *[r for r in rows([1, 1, 3], fold="y") if r.group == "2"]]
    found = assign_folds(clips, None, 0)
    assert {row.id: row.fold for row in clips} == found
    assert set(assign_folds(clips, 3, 0).values()) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("clips", "n_folds", "says"),
    [
        (rows([3, 3]), 5, "5 folds need at least 5 groups, there are 2"),
        (rows([6]), None, "all 6 clips are in one group"),
        (rows([1] * 6, labels=3), 5, "do not fill 5 folds"),
        ([*rows([1], fold="x"), *rows([2])[1:]], None, "1 clip has no fold"),
        (rows([3, 3], fold="x"), None, "all clips are in one fold"),
        ([*rows([1], fold="x"), ManifestRow("b", label="1", group="0", fold="y", id="b")], None,
         "divide 1 group"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_said(clips, n_folds, says: str) -> None:
    with pytest.raises(UserError, match=says):
        assign_folds(clips, n_folds, 0)
