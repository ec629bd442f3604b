"""Assignment of clips to folds: those of the manifest, or grouped and stratified ones."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from data_prep.dataset.groups import is_near
from data_prep.dataset.splits import grouped_folds
from data_prep.manifest import ManifestRow, RowLabels, whole_label
from pipeline.errors import UserError
from pipeline.features.samples import LabelledSample
from pipeline.text_format import counted

_FOLDS = 5  # if neither the manifest nor the user sets a number


def assign_folds(
    rows: Sequence[ManifestRow],
    n_folds: int | None,
    seed: int,
    row_labels: RowLabels = whole_label,
) -> dict[str, str]:
    """{clip id: name of its fold}, without a group in two folds.

    The manifest's folds are used unless n_folds is given. row_labels: of the task; the folds are
    given even shares of each label. Raises UserError if there are too few
    groups, if some clips have no fold, or if the manifest's folds split a group.
    """
    named = sorted({row.fold for row in rows if row.fold})
    if n_folds is None and named:
        return _folds_of_manifest(rows)
    n_groups = len({row.group for row in rows})
    counts = Counter(chain.from_iterable(row_labels(row) for row in rows))
    most_of_a_label = counts.most_common(1)[0][1]
    # StratifiedGroupKFold refuses more folds than any label has clips
    n_folds = min(_FOLDS, n_groups, most_of_a_label) if n_folds is None else n_folds
    if n_groups < 2:
        by_time = (
            ", or, where it is one recording with many labelled parts, prepare with split.by=time"
        )
        raise UserError(
            f"all {len(rows)} clips are in one group ('{rows[0].group}'), so none can be held out; "
            "give the column group of manifest.csv the recording, day or camera of each"
            + ("" if any(row.segments for row in rows) else by_time)
        )
    if n_groups < n_folds:
        raise UserError(
            f"{n_folds} folds need at least {n_folds} groups, there are {n_groups} (clips "
            "of one recording, day or camera share a group); use fewer with crossval.folds"
        )
    return _draw_folds(rows, n_folds, seed, row_labels)


def assignment_digest(fold_of: dict[str, str]) -> str:
    """Hash of an assignment, to recognise it in a resumed run."""
    # sorted: the order of the manifest does not matter
    text = json.dumps(sorted(fold_of.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _folds_of_manifest(rows: Sequence[ManifestRow]) -> dict[str, str]:
    without = [row.path for row in rows if not row.fold]
    if without:
        raise UserError(
            f"{counted(len(without), 'clip has', 'clips have')} no fold (for example "
            f"{without[0]}), the others do; fill the column fold of manifest.csv, or ask for new "
            "folds with crossval.folds=5"
        )
    folds: dict[str, set[str]] = {}  # of each group
    for row in rows:
        folds.setdefault(row.group, set()).add(row.fold)
    split_groups = sorted(group for group, names in folds.items() if len(names) > 1)
    if split_groups:
        raise UserError(
            f"the folds of the manifest divide {counted(len(split_groups), 'group')} (for example "
            f"'{split_groups[0]}'), so training and test would share recordings; ask for new folds "
            "with crossval.folds=5, or correct the columns group and fold"
        )
    if len({row.fold for row in rows}) < 2:
        raise UserError("all clips are in one fold; ask for more with crossval.folds=5")
    return {row.id: row.fold for row in rows}


def _draw_folds(
    rows: Sequence[ManifestRow], n_folds: int, seed: int, row_labels: RowLabels
) -> dict[str, str]:
    labels, groups = [row_labels(row) for row in rows], [row.group for row in rows]
    total = Counter(chain.from_iterable(labels))
    best: tuple[float, dict[str, str]] = (float("inf"), {})
    for parts in grouped_folds(labels, groups, n_folds, seed):
        if any(part.size == 0 for part in parts):  # possible with few or very uneven groups
            continue
        counts = [Counter(chain.from_iterable(labels[i] for i in part)) for part in parts]
        cost = _imbalance(counts, total)
        if cost < best[0]:
            best = (cost, {rows[i].id: str(k) for k, part in enumerate(parts) for i in part})
    if not best[1]:
        raise UserError(
            f"{len(set(groups))} groups of {len(rows)} clips do not fill {n_folds} folds; "
            "use fewer with crossval.folds"
        )
    return best[1]


def _imbalance(parts: list[Counter[str]], whole: Counter[str]) -> float:
    """Cost of an assignment: deviation of the labels' counts from an even distribution."""
    cost = 0.0
    for label, n in whole.items():
        # dominant: a label in one fold only can never be both trained and tested
        shares = [part[label] / n for part in parts]
        cost += sum(abs(share - 1 / len(parts)) for share in shares) + 100 * (max(shares) == 1)
    return cost


@dataclass(frozen=True)
class FoldAssignment:
    """All clips of a crossval, and the fold of each."""

    items: list[LabelledSample]
    fold_of: dict[str, str]  # clip id → name of its fold
    gap_s: float = 0.0  # clips of a file nearer than this to a held-out clip are not trained on

    @property
    def folds(self) -> list[str]:
        return sorted(set(self.fold_of.values()))

    def inside(self, fold: str | None) -> list[LabelledSample]:
        """Clips of a fold, which its networks predict; None: no clips."""
        return [item for item in self.items if self.fold_of[item.row.id] == fold]

    def outside(self, fold: str | None) -> list[LabelledSample]:
        """Clips that the networks of a fold are trained on; None: all clips."""
        others = [item for item in self.items if self.fold_of[item.row.id] != fold]
        if not self.gap_s:
            return others
        # only clips of the same file can be near in time
        held_out: dict[str, list[LabelledSample]] = {}
        for item in self.inside(fold):
            held_out.setdefault(item.row.path, []).append(item)
        return [
            item
            for item in others
            if not any(
                is_near(item.row, other.row, self.gap_s)
                for other in held_out.get(item.row.path, ())
            )
        ]
