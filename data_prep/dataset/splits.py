"""Grouped, stratified split into train, val and test, with notes on what is unbalanced."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from data_prep.manifest import ManifestRow, RowLabels, whole_label
from data_prep.settings import SplitSettings
from data_prep.status import DataSetError, counted

SPLITS = ("train", "val", "test")
_N_ATTEMPTS = 24  # seeds; the fold with the best label counts is chosen


def assign_splits(
    rows: Sequence[ManifestRow], settings: SplitSettings, row_labels: RowLabels = whole_label
) -> tuple[list[ManifestRow], list[str]]:
    """Return the rows with a split each, and notes.

    Existing splits are kept; rows with a fold are split by fold, the others by group and label.
    row_labels: of the task; each split is given an even share of every label. Raises DataSetError
    if a fold named in the settings does not exist.
    """
    trainable = [row for row in rows if row.trainable]
    notes: list[str] = []
    chosen = {row.key: row.split for row in trainable if row.split}
    how = "kept from the manifest or the split column" if chosen else ""
    if any(row.fold and not row.split for row in trainable):
        of_folds, by_fold = _by_fold(trainable, settings)
        chosen, how = of_folds | chosen, f"{how}; {by_fold}" if chosen else by_fold
    chosen = _follow_groups(trainable, chosen)
    unassigned = [row for row in trainable if row.key not in chosen]
    if unassigned:
        drawn = _draw(unassigned, set(chosen.values()), settings, row_labels)
        chosen |= drawn
        how = f"{how}; " if how else ""
        how += (
            f"{counted(len(drawn), 'clip')} drawn by group and label (split.seed={settings.seed})"
        )
    # a split column may name train and test alone, but training needs validation clips
    if "val" not in chosen.values() and "train" in chosen.values():
        chosen |= _draw_groups(
            [row for row in trainable if chosen[row.key] == "train"],
            "val",
            settings.val_fraction,
            settings.seed,
            row_labels,
        )
    notes.append(f"split: {how or 'nothing to split'}")
    done = [replace(row, split=chosen.get(row.key, "")) for row in rows]
    return done, notes + _warnings(done, row_labels)


def check_trainable(rows: Sequence[ManifestRow], max_labels: int, settings: SplitSettings) -> None:
    """Raise DataSetError, saying what to do, if no classifier can be trained on these rows."""
    check_labels(rows, max_labels)
    check_split_sizes(rows, settings)


def check_split_sizes(rows: Sequence[ManifestRow], settings: SplitSettings) -> None:
    """Raise DataSetError, saying what to do, if a split has no clip."""
    per_split = Counter(row.split for row in rows if row.trainable)
    for split in SPLITS:
        if not per_split[split]:
            groups = len({row.group for row in rows if row.trainable})
            # with split.by=time, clips without a split are those that without_neighbours dropped
            advice = (
                f"or choose a smaller split.gap_s (now {settings.gap_s:g}: "
                f"{counted(per_split[''], 'clip lies', 'clips lie')} nearer than that to "
                "validation or test clips)"
                if settings.by == "time"
                else "or, where one recording has many labelled parts, split.by=time"
            )
            if any(row.segments for row in rows):  # labels in time: a file is never divided
                advice = "or add a column group where several files are of one source"
            raise DataSetError(
                f"no clip is left for '{split}': the clips are of {counted(groups, 'group')}; use "
                f"at least three sources, set the split column of manifest.csv by hand, {advice}"
            )


def check_labels(rows: Sequence[ManifestRow], max_labels: int) -> None:
    """Raise DataSetError for too few or too many labels, or a label with a single clip."""
    counts = Counter(row.label for row in rows if row.trainable)
    failed = sum(bool(row.label) and not row.status.usable for row in rows)
    rest = f" ({_cannot_be_used(failed)})" if failed else ""
    if not counts:
        raise DataSetError(f"no labelled clip can be used{rest}; see manifest.csv")
    if len(counts) == 1:
        raise DataSetError(
            f"all clips have the label '{next(iter(counts))}'{rest}; a classifier needs at least "
            "two labels: add a folder (or rows) of clips with another label"
        )
    single = sorted(label for label, n in counts.items() if n == 1)
    if single:
        names = ", ".join(f"'{label}'" for label in single[:10])
        others = sum(row.label in single and not row.status.usable for row in rows)
        rest = f" ({_cannot_be_used(others)})" if others else ""
        raise DataSetError(
            f"label {names} has only one clip{rest}; add clips of it (some for training, some to "
            "test on), or remove it"
        )
    if len(counts) > max_labels:
        raise DataSetError(f"{len(counts)} labels are over limits.max_labels={max_labels}")


def _cannot_be_used(n: int) -> str:
    return f"{counted(n, 'labelled clip')} cannot be used; see status and error"


def _by_fold(
    rows: Sequence[ManifestRow], settings: SplitSettings
) -> tuple[dict[tuple[str, float | None, float | None], str], str]:
    folds = sorted({row.fold for row in rows if row.fold}, key=_natural_key)
    candidates = [fold for fold in folds if fold != settings.val_fold] or folds
    test = settings.test_fold if settings.test_fold is not None else candidates[-1]
    others = [fold for fold in folds if fold != test]
    val = settings.val_fold if settings.val_fold is not None else (others or [test])[-1]
    for name, fold in (("test_fold", test), ("val_fold", val)):
        if fold not in folds:
            similar = difflib.get_close_matches(fold, folds, n=1, cutoff=0.3)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise DataSetError(
                f"split.{name}={fold} is not a fold; the folds are {', '.join(folds)}{hint}"
            )
    # with two folds, val is drawn from the training fold afterwards
    of_fold = {test: "test"} if len(folds) < 3 else {val: "val", test: "test"}
    chosen = {row.key: of_fold.get(row.fold, "train") for row in rows if row.fold}
    return chosen, f"fold {test} is test, fold {val} is val, the others train"


def _follow_groups(
    rows: Sequence[ManifestRow], chosen: dict[tuple[str, float | None, float | None], str]
) -> dict[tuple[str, float | None, float | None], str]:
    """Assign rows without a split to the most frequent split of their group."""
    of_group: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.key in chosen:
            of_group[row.group][chosen[row.key]] += 1
    follow = {
        row.key: of_group[row.group].most_common(1)[0][0]
        for row in rows
        if row.key not in chosen and row.group in of_group
    }
    return chosen | follow


def _draw(
    rows: Sequence[ManifestRow], taken: set[str], settings: SplitSettings, row_labels: RowLabels
) -> dict[tuple[str, float | None, float | None], str]:
    """Draw test, then validation; the remaining rows are train. taken: splits already in use."""
    n_groups = len({row.group for row in rows})
    if taken >= set(SPLITS) and n_groups < 3:  # too few to divide, and every split has clips
        return {row.key: "train" for row in rows}
    chosen = _draw_groups(rows, "test", settings.test_fraction, settings.seed, row_labels)
    rest = [row for row in rows if row.key not in chosen]
    share = settings.val_fraction / (1 - settings.test_fraction)  # of what test has left
    chosen |= _draw_groups(rest, "val", share, settings.seed + 1, row_labels)
    return {row.key: chosen.get(row.key, "train") for row in rows}


def _draw_groups(
    rows: Sequence[ManifestRow], name: str, fraction: float, seed: int, row_labels: RowLabels
) -> dict[tuple[str, float | None, float | None], str]:
    """Draw whole groups, about `fraction` of the rows, with label proportions as even as possible.

    Candidates are the folds of scikit-learn's StratifiedGroupKFold for several seeds. The only
    group of a label is not drawn, so that every label can be learned.
    """
    labels = [row_labels(row) for row in rows]
    groups = [row.group for row in rows]
    n_folds = min(max(2, round(1 / fraction)), len(set(groups)))
    if n_folds < 2:
        return {}
    groups_of: dict[str, set[str]] = defaultdict(set)
    for of_row, group in zip(labels, groups, strict=True):
        for label in of_row:
            groups_of[label].add(group)
    only = {next(iter(own)) for own in groups_of.values() if len(own) == 1}
    best: tuple[float, list[int]] = (float("inf"), [])
    for folds in grouped_folds(labels, groups, n_folds, seed, may_be_fewer=True):
        for inside in folds:
            kept = [int(i) for i in inside if groups[i] not in only]
            cost = _cost(labels, kept, fraction)
            if cost < best[0]:
                best = (cost, kept)
    return {rows[i].key: name for i in best[1]}


def grouped_folds(
    labels: Sequence[Sequence[str]],
    groups: Sequence[str],
    n_folds: int,
    seed: int,
    may_be_fewer: bool = False,
) -> Iterator[list[np.ndarray]]:
    """Yield candidate divisions into folds, one per seed of StratifiedGroupKFold: the row indices
    of each fold, int64 [n]. No group is in two folds.

    labels: of each row, at least one; groups: [N]. may_be_fewer: fewer folds where every label has
    fewer rows than folds; else there are no divisions then.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    # a row counts once for each of its labels; a group stays whole, and so does the row
    row_of = np.repeat(np.arange(len(labels)), [len(of_row) for of_row in labels])
    flat, flat_groups = np.array(list(chain.from_iterable(labels))), np.array(groups)[row_of]
    for attempt in range(_N_ATTEMPTS):
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed * 1000 + attempt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rare labels: our own notes name them
            try:
                found = [
                    np.unique(row_of[inside]) for _, inside in folds.split(flat, flat, flat_groups)
                ]
            except ValueError:  # every label has fewer rows than folds
                if not may_be_fewer:
                    return
                n_folds = max(2, min(n_folds - 1, Counter(flat.tolist()).most_common(1)[0][1]))
                continue
        yield found


def _cost(labels: Sequence[Sequence[str]], inside: list[int], fraction: float) -> float:
    """Deviation of the label counts from the target fraction, in units of the target.

    A label that is missing in the fold adds 10, one that the fold takes completely adds 100.
    """
    total = Counter(chain.from_iterable(labels))
    part = Counter(chain.from_iterable(labels[i] for i in inside))
    if not part:
        return float("inf")
    cost = sum(abs(part[label] - n * fraction) / (n * fraction) for label, n in total.items())
    missing = sum(part[label] == 0 for label in total)
    emptied = sum(part[label] == n for label, n in total.items())
    return cost + 10 * missing + 100 * emptied  # not testable is bad, not learnable is worse


def _warnings(rows: Sequence[ManifestRow], row_labels: RowLabels) -> list[str]:
    notes = []
    rows_of: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        for label in set(row_labels(row)) if row.trainable else ():
            rows_of[label].append(row)
    for label, own in sorted(rows_of.items()):
        missing = [split for split in SPLITS if not any(row.split == split for row in own)]
        if missing:
            groups = len({row.group for row in own})
            notes.append(
                f"label '{label}' ({counted(len(own), 'clip')} in {counted(groups, 'group')}) has "
                f"no clip in {' and '.join(missing)}"
            )
    for split in ("val", "test"):
        own = [row for row in rows if row.trainable and row.split == split]
        if len({row.group for row in own}) == 1 and len(own) > 1:
            notes.append(
                f"all {len(own)} clips of {split} are of one group ('{own[0].group}'): the "
                "score holds for that group only; framewave crossval evaluates all groups"
            )
    splits_of: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.trainable:
            splits_of[row.group].add(row.split)
    leaking = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if leaking:
        notes.append(
            f"{counted(len(leaking), 'group is', 'groups are')} in more than one split (for "
            f"example '{leaking[0]}'): scores will be too high"
        )
    return notes


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key for natural order: fold 10 comes after fold 9."""
    parts = re.findall(r"\d+|\D+", text)
    # the first element keeps numbers and text comparable
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
