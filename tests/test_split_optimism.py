"""A random split flatters where clips of a group are alike, and not where they are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from data_prep.manifest import ManifestRow
from pipeline.features.feature_store import StoredClip
from pipeline.leak_audit.split_optimism import mean_features, split_optimism


@dataclass
class _Store:
    """Hands out clips as a work folder's store does."""

    clips: list[StoredClip]

    def read(self, ids, features_alone):
        return [clip for clip in self.clips if clip.id in ids]


def _set(own: float, n_groups: int = 20, per_group: int = 6):
    """Clips whose features tell the group by `own` and the label a little."""
    draw = np.random.default_rng(0)
    rows, clips, groups = [], [], {}
    for group in range(n_groups):
        label, look = group % 2, draw.normal(0, own, 24)
        for k in range(per_group):
            clip_id = f"{group}-{k}"
            rows.append(ManifestRow(path=clip_id, id=clip_id, label="ab"[label]))
            groups[clip_id] = str(group)
            seen = look + draw.normal(0, 1, (3, 24))
            seen[:, 0] += 2 * label
            there = np.array([True, True, False])
            clips.append(
                StoredClip(clip_id, seen.astype(np.float16), np.zeros(3, np.float32), there, there)
            )
    features = mean_features(_Store(clips), {row.id for row in rows})
    return features, rows, groups


def test_it_flatters_where_groups_are_alike() -> None:
    found = split_optimism(*_set(own=3.0))
    assert found is not None
    assert found.random - found.grouped > 0.15
    assert (found.n_clips, found.n_groups) == (120, 20)


def test_it_does_not_where_clips_are_independent() -> None:
    found = split_optimism(*_set(own=0.0))
    assert found is not None
    assert abs(found.random - found.grouped) < 0.06


@pytest.mark.parametrize("n_groups", [2, 4])
def test_too_few_groups_say_nothing(n_groups: int) -> None:
    assert split_optimism(*_set(1.0, n_groups)) is None


def test_groups_of_single_clips_say_nothing() -> None:
    """Both ways of drawing folds are the same then, and differ by chance alone."""
    assert split_optimism(*_set(1.0, 60, 1)) is None


def test_an_empty_store_says_nothing() -> None:
    _, rows, groups = _set(1.0)
    assert split_optimism(mean_features(_Store([]), set()), rows, groups) is None


def test_groups_that_leave_a_fold_empty_say_nothing() -> None:
    """Five groups of one label each, by which scikit-learn leaves one of five folds empty."""
    draw = np.random.default_rng(0)
    sizes, labels = (7, 6, 3, 7, 2), "ababa"
    rows = [
        ManifestRow(path=f"{g}-{k}", id=f"{g}-{k}", label=labels[g], group=str(g))
        for g, size in enumerate(sizes)
        for k in range(size)
    ]
    features = {row.id: draw.normal(size=24).astype(np.float32) for row in rows}
    assert split_optimism(features, rows, {row.id: row.group for row in rows}) is None


def test_clips_that_are_all_the_same_say_nothing() -> None:
    features, rows, groups = _set(0.0)
    assert split_optimism({key: np.ones(24, np.float32) for key in features}, rows, groups) is None
