from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.dataset.splits import assign_splits, check_split_sizes, check_trainable
from data_prep.manifest import ManifestRow
from data_prep.segments import LabelledSegment
from data_prep.settings import SplitSettings
from data_prep.status import DataSetError, Status


def make(groups: list[tuple[str, str, int]]) -> list[ManifestRow]:
    """(label, group, clips) → rows."""
    return [
        ManifestRow(f"/{label}/{group}/{i}", label=label, group=group)
        for label, group, count in groups
        for i in range(count)
    ]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 14).map(str), st.integers(1, 6)),
        min_size=4, max_size=40, unique_by=lambda t: t[:2],
    ),
    st.integers(0, 5),
)  # fmt: skip
def test_no_group_is_on_two_sides_and_every_label_is_trained(groups, seed: int) -> None:
    rows = make(groups)
    done, notes = assign_splits(rows, SplitSettings(seed=seed))
    sides: dict[str, set[str]] = {}
    for row in done:
        sides.setdefault(row.group, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())
    trained = {row.label for row in done if row.split == "train"}
    for label in {row.label for row in done} - trained:
        assert any(f"'{label}'" in note and "train" in note for note in notes)


def test_shares_and_labels_are_about_even() -> None:
    rows = make([(label, f"{label}{g}", 5) for label in "ab" for g in range(20)])
    done, _ = assign_splits(rows, SplitSettings())
    counts = Counter((row.label, row.split) for row in done)
    for label in "ab":
        assert counts[label, "test"] == pytest.approx(20, abs=5)
        assert counts[label, "val"] == pytest.approx(15, abs=6)


def words(row: ManifestRow) -> list[str]:
    return row.label.split()


def test_each_label_of_rows_with_several_has_an_even_share() -> None:
    """Every row's label cell occurs once, so balancing whole cells would balance nothing."""
    rows = [
        ManifestRow(f"/{i}", label=("rare " if i % 8 == 0 else "") + " ".join(f"{i:06b}"), group="")
        for i in range(64)
    ]
    rows = [replace(row, group=row.path) for row in rows]
    done, notes = assign_splits(rows, SplitSettings(), words)
    counts = Counter((label, row.split) for row in done for label in words(row))
    for label in "01":
        assert counts[label, "test"] == pytest.approx(192 * 0.2, abs=12)
    assert counts["rare", "test"] in (1, 2)
    assert counts["rare", "val"] in (1, 2)
    assert not any("has no clip in" in note for note in notes)


def test_a_rare_label_is_trained_and_named() -> None:
    rows = make([("a", f"g{g}", 4) for g in range(10)] + [("rare", "only", 6)])
    done, notes = assign_splits(rows, SplitSettings())
    assert {row.split for row in done if row.label == "rare"} == {"train"}
    assert any("'rare' (6 clips in 1 group) has no clip in val and test" in n for n in notes)


def test_folds_of_the_user_win() -> None:
    rows = [
        ManifestRow(f"/{i}", label="ab"[i % 2], group=str(i), fold=str(i % 11)) for i in range(44)
    ]
    done, notes = assign_splits(rows, SplitSettings())
    assert {row.fold for row in done if row.split == "test"} == {"10"}
    assert {row.fold for row in done if row.split == "val"} == {"9"}
    assert "fold 10 is test, fold 9 is val" in notes[0]
    done, _ = assign_splits(rows, SplitSettings(test_fold="2", val_fold="0"))
    assert {row.fold for row in done if row.split == "test"} == {"2"}
    with pytest.raises(DataSetError, match=r"split\.test_fold=77 is not a fold"):
        assign_splits(rows, SplitSettings(test_fold="77"))


def test_splits_already_set_stay_and_their_groups_follow() -> None:
    rows = [
        ManifestRow("/1", label="a", group="g", split="test"),
        ManifestRow("/2", label="a", group="g"),
        *make([("a", str(i), 2) for i in range(8)]), *make([("b", str(i), 2) for i in range(8)]),
    ]  # fmt: skip
    done, _ = assign_splits(rows, SplitSettings())
    assert [row.split for row in done[:2]] == ["test", "test"]


def test_files_that_failed_have_no_split() -> None:
    rows = make([("a", str(i), 2) for i in range(9)])
    rows.append(ManifestRow("/x", label="a", status=Status.CRASHED))
    assert assign_splits(rows, SplitSettings())[0][-1].split == ""


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([], "no labelled clip"),
        ([("a", "1", 5)], "all clips have the label 'a'"),
        ([("a", "1", 5), ("b", "2", 1)], "label 'b' has only one clip"),
        ([("a", "1", 5), ("b", "1", 5)], "use at least three sources"),
    ],
)
def test_what_cannot_be_trained_is_said(groups, says: str) -> None:
    rows, _ = assign_splits(make(groups), SplitSettings())
    with pytest.raises(DataSetError, match=says):
        check_trainable(rows, 1000, SplitSettings())


def test_a_chosen_val_fold_is_val_even_if_it_is_the_last() -> None:
    rows = [
        ManifestRow(f"/{i}", label="ab"[i % 2], group=str(i), fold=str(i % 5)) for i in range(40)
    ]
    done, _ = assign_splits(rows, SplitSettings(val_fold="4"))
    assert {row.fold for row in done if row.split == "val"} == {"4"}
    assert {row.fold for row in done if row.split == "test"} == {"3"}


def test_files_labelled_in_time_are_not_to_be_divided() -> None:
    segments = (LabelledSegment(0, 1, "a"),)
    rows = [ManifestRow(f"{k}", label="a", group="g", segments=segments) for k in range(4)]
    with pytest.raises(DataSetError, match="add a column group") as raised:
        check_split_sizes(rows, SplitSettings())
    assert "split.by" not in str(raised.value)


def test_a_gap_that_leaves_nothing_to_train_on_is_named() -> None:
    rows = [
        ManifestRow(f"{k}", 0.0, 5.0, "ab"[k % 2], f"g{k}", split="" if k < 6 else split)
        for k, split in enumerate(["val", "test"] * 4)
    ]
    with pytest.raises(DataSetError, match=r"split\.gap_s \(now 500: 6 clips lie nearer"):
        check_trainable(rows, 1000, SplitSettings(by="time", gap_s=500.0))
