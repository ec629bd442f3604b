"""The result of an audit: findings, proposed groups, optimism of a random split, and its files.

The optimism is the difference between two accuracies of the same logistic regression: with random
folds, and with folds that keep groups together.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data_prep.clip import BoolArray
from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from data_prep.manifest import ManifestRow
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.feature_store import FeatureStore
from pipeline.leak_audit.findings import (
    FINDING_COLUMNS,
    PARTS_OF_ONE_FILE,
    Crossing,
    Finding,
    Kind,
    finding_cells,
    part_cells,
    write_findings,
)
from pipeline.metrics.metrics_schema import SplitOptimism

Matrix = npt.NDArray[np.float32]

_FOLDS = 5
_COMPONENTS = 32  # of the PCA; keeps the regression fast on wide features
_STRENGTH_C = 1.0  # inverse regularisation strength, scikit-learn's default
_MOST_ALONE = 0.9  # groups per clip; with more, random and grouped folds are nearly the same


def split_optimism(
    features: dict[str, Matrix], clips: Sequence[ManifestRow], group_of: dict[str, str]
) -> SplitOptimism | None:
    """Cross-validate on random and on grouped folds.

    features: see `mean_features`; clips without features are left out. group_of: {clip id: group}.
    None if it cannot be estimated: too few clips or groups for five folds, a single label,
    hardly any group of several clips, no features, or all clips equal.
    """
    rows = [row for row in clips if row.id in features]
    groups = [group_of[row.id] for row in rows]
    labels = np.array([row.label for row in rows])
    _, counts = np.unique(labels, return_counts=True)
    n_groups_per_label = [
        len({group for group, own in zip(groups, labels, strict=True) if own == label})
        for label in np.unique(labels)
    ]
    if len(set(groups)) > _MOST_ALONE * len(groups):
        return None
    if (
        len(counts) < 2
        or counts.min() < _FOLDS
        or min(n_groups_per_label) < 2
        or len(set(groups)) < _FOLDS
    ):
        return None
    matrix = np.stack([features[row.id] for row in rows])
    if not matrix.shape[1]:
        return None  # sound only, without pretrained sound features
    # clips without picture or sound get the mean, which says nothing
    matrix = np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)
    # arpack needs fewer components than rows and columns
    n_components = min(_COMPONENTS, min(matrix.shape) - 1)
    if n_components < 1:
        return None
    scaled = StandardScaler().fit_transform(matrix)
    if not scaled.any():  # all clips are equal
        return None
    matrix = PCA(n_components, svd_solver="arpack", random_state=0).fit_transform(scaled)
    matrix /= matrix[:, 0].std()  # unscaled, the solver does not converge
    with threadpool_limits(1):  # BLAS threads cost more than they gain on matrices this small
        return _cross_validate(matrix, labels, groups)


def _cross_validate(matrix: Matrix, labels: Any, groups: list[str]) -> SplitOptimism | None:
    random_and_grouped = [
        _folds(kind, labels, groups) for kind in (StratifiedKFold, StratifiedGroupKFold)
    ]
    if any(not test.size for folds in random_and_grouped for _, test in folds):
        return None  # few groups of uneven size can leave a fold empty
    accuracies = [_accuracy(folds, matrix, labels) for folds in random_and_grouped]
    return SplitOptimism(
        random=accuracies[0], grouped=accuracies[1], n_clips=len(groups), n_groups=len(set(groups))
    )


def mean_features(store: FeatureStore, ids: set[str]) -> dict[str, Matrix]:
    """{clip id: float32 [D]}: frame features and sound features, each averaged over time.

    NaN if a clip lacks one of the two; columns that no clip has are left out.
    """
    means = {}
    for clip in store.read(ids, features_alone=True):
        picture = _mean(clip.features, clip.video_mask)
        sound = np.zeros(0, np.float32)
        if clip.spectrogram_features is not None:
            # spectrogram features can come several per time step
            per_step = clip.spectrogram_features.shape[0] // clip.audio_mask.size
            sound = _mean(clip.spectrogram_features, clip.audio_mask.repeat(per_step))
        means[clip.id] = np.concatenate([picture, sound])
    if not means:
        return {}
    known = ~np.isnan(np.stack(list(means.values()))).all(axis=0)  # [D]
    return {clip_id: mean[known] for clip_id, mean in means.items()}


def _mean(features: Float16Array, mask: BoolArray) -> Matrix:
    if not mask.any():
        return np.full(features.shape[1], np.nan, np.float32)
    mean: Matrix = features[mask].mean(axis=0, dtype=np.float32)
    return mean


def _folds(kind: Any, labels: Any, groups: Sequence[str]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns of labels with fewer groups than folds
        return list(kind(_FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))


def _accuracy(folds: list[Any], matrix: Matrix, labels: Any) -> float:
    with warnings.catch_warnings():
        # an estimate is enough; both kinds of folds are cut off alike
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=_STRENGTH_C, max_iter=300, class_weight="balanced")
        predicted = cross_val_predict(model, matrix, labels, cv=folds)
    return float((predicted == labels).mean())


_COLUMNS = ("path", "start_s", "end_s", "label", "group", "proposed_group")


def proposed_groups(rows: Sequence[ManifestRow], findings: Iterable[Finding]) -> dict[str, str]:
    """Merge the current groups that findings link; returns {clip id: group}.

    A merged group takes the alphabetically first of its names, preferring group names to file
    paths (a clip without a group is a group of its own, named by its path).
    """
    paths = {row.path for row in rows}
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while parent.setdefault(group, group) != group:
            parent[group] = parent[parent[group]]  # path halving keeps the chains short
            group = parent[group]
        return group

    for finding in findings:
        # parts of one file are in several groups only on purpose: the user's, or split.by=time
        if Crossing.GROUPS in finding.crossings and finding.note != PARTS_OF_ONE_FILE:
            ends = {root(row.group_or_path) for row in (finding.first, finding.second)}
            # False sorts first, so a real group name wins over a path
            name, *others = sorted(ends, key=lambda group: (group in paths, group))
            parent.update(dict.fromkeys(others, name))
    return {row.id: root(row.group_or_path) for row in rows}


def merged_groups(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[list[str]]:
    """Sets of current groups that are merged into one, each sorted."""
    members: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        members[groups[row.id]].add(row.group_or_path)
    return sorted(sorted(names) for names in members.values() if len(names) > 1)


def write_proposal(path: Path, rows: Sequence[ManifestRow], groups: dict[str, str]) -> None:
    """Write a CSV with the current and the proposed group of every clip."""
    lines = (
        [*part_cells(row), row.label, row.group, groups[row.id]]
        for row in sorted(rows, key=lambda row: (row.path, row.start_s or 0.0))
    )
    write_text_atomically(path, csv_text(_COLUMNS, lines))


def with_groups(rows: Sequence[ManifestRow], groups: dict[str, str]) -> list[ManifestRow]:
    """Rows with the proposed groups; unreadable files follow the group they were in."""
    new_names = {row.group: groups[row.id] for row in rows if row.group and row.id in groups}
    return [
        replace(row, group=groups.get(row.id, new_names.get(row.group, row.group))) for row in rows
    ]


AUDIT_FOLDER, AUDIT_NAME = "audit", "audit.json"
_VERSION = 4  # of the matching rules: an audit made by other rules is repeated


@dataclass(frozen=True)
class Audit:
    """Everything an audit found in a data set."""

    rows: list[ManifestRow]
    findings: list[Finding]
    groups: dict[str, str]
    """{clip id: proposed group}."""
    optimism: SplitOptimism | None
    n_compared: int
    trained_on: int = 0
    """Evaluation only: number of evaluated clips that the model was trained on."""
    with_training: bool = True
    """Evaluation only: whether the training clips were available for comparison."""
    prepared: bool = True
    """Whether features were available; without them the optimism of random splits is unknown."""

    def summary(self) -> dict[str, Any]:
        """Values for audit.json and metrics.json; `audit_text` turns them into sentences."""
        merged = merged_groups(self.rows, self.groups)
        return {
            "digest": manifest_digest(self.rows),
            "version": _VERSION,
            "trained_on": self.trained_on,
            "with_training": self.with_training,
            "n_clips": len(self.rows),
            "n_compared": self.n_compared,
            "leaks": _counted([f for f in self.findings if f.leaks]),
            "conflicts": _counted([f for f in self.findings if f.conflicts]),
            "others": _counted([f for f in self.findings if not f.leaks and not f.conflicts]),
            "by_kind": {str(kind): sum(f.kind is kind for f in self.findings) for kind in Kind},
            "across_folds": any(Crossing.FOLDS in f.crossings for f in self.findings),
            "groups_joined": [sum(map(len, merged)), len(merged)],
            "groups_left": len(set(self.groups.values())),
            "judged": None,  # filled in by an evaluation
            "prepared": self.prepared,
            # the key is part of the file format
            "flattery": None if self.optimism is None else self.optimism.model_dump(),
        }

    def as_read(self) -> dict[str, Any]:
        """{"summary", "findings"}, in the form that `read_audit` returns."""
        return {"summary": self.summary(), "findings": [_cells(f) for f in self.findings]}


def manifest_digest(rows: Sequence[ManifestRow]) -> str:
    """Hash of clip ids, labels, groups, folds and splits; an audit is reused if it matches."""
    # sorted: the order of the rows does not change what is found
    facts = sorted((r.id, r.label, r.group, r.fold, r.split) for r in rows)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def write_audit(folder: Path, found: Audit) -> None:
    """Write findings.csv, groups.csv and audit.json, each by temporary file and rename."""
    write_findings(folder / "findings.csv", found.findings)
    write_proposal(folder / "groups.csv", found.rows, found.groups)
    # last: read_audit trusts it, so the tables must be there already
    keep_audit(folder, found.as_read())


def keep_audit(folder: Path, found: dict[str, Any]) -> None:
    """Write audit.json alone, for `read_audit`. found: as `Audit.as_read` returns it."""
    write_text_atomically(folder / AUDIT_NAME, json.dumps(found, indent=1) + "\n")


def read_audit(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Any] | None:
    """{"summary", "findings"} of an earlier audit of exactly these clips, or None.

    Also None if that audit could not read some clips, or ran before prep and so lacks the
    optimism of random splits.
    """
    try:
        stored = json.loads((folder / AUDIT_NAME).read_text("utf-8"))
        summary = stored["summary"]
        reusable = (
            (summary["digest"], summary["version"]) == (manifest_digest(rows), _VERSION)
            # a clip that failed last time may be readable now
            and summary["n_compared"] == summary["n_clips"]
            and summary["prepared"]  # made before prep: lacks the optimism of random splits
            and all(set(finding) == set(FINDING_COLUMNS) for finding in stored["findings"])
        )
    # a damaged or missing file only means that the audit runs again
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if reusable else None


def example_of(finding: Mapping[str, str]) -> dict[str, str]:
    """Kind and clip names of a finding, for a sentence. finding: a row of findings.csv."""
    ends = {end: end_name(finding, end) for end in ("first", "second")}
    return {"kind": finding["kind"], **ends}


def end_name(finding: Mapping[str, str], end: str) -> str:
    """Display name of the "first" or "second" clip of a row of findings.csv."""
    cells = (finding[f"{end}_{name}"] for name in ("start_s", "end_s"))
    return clip_name(finding[end], *(float(cell) if cell else None for cell in cells))


def clip_name(path: str, start_s: float | None, end_s: float | None) -> str:
    """File name, with the time range if the clip is a part of the file."""
    name = Path(path).name
    if start_s is None and end_s is None:
        return name
    # no end: the part runs to the end of the file
    return f"{name} ({start_s or 0:g}–{'' if end_s is None else f'{end_s:g} s'})"


def _counted(findings: Sequence[Finding]) -> dict[str, Any]:
    """The number of findings and one example."""
    example = example_of(_cells(findings[0])) if findings else None
    return {"n": len(findings), "example": example}


def _cells(finding: Finding) -> dict[str, str]:
    return dict(zip(FINDING_COLUMNS, finding_cells(finding), strict=True))
