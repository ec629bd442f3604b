"""Which clips are looked at closely: those of which some frame looks like a frame of another."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.fingerprints.thumbnail import THUMBNAIL_PX, view_vectors
from pipeline.auditing import alike
from pipeline.auditing.alike import alike_pairs


def _views(*seeds: int) -> np.ndarray:
    shape = (THUMBNAIL_PX, THUMBNAIL_PX)
    return view_vectors(
        [np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8) for seed in seeds]
    )


def _all(first: int, second: int) -> bool:
    return True


def test_one_shared_frame_is_enough() -> None:
    views = [_views(1, 2), _views(3), _views(9, 2), _views(), _views(3, 4)]
    assert alike_pairs(views, range(len(views)), _all) == [(0, 2), (1, 4)]
    assert alike_pairs(views, range(len(views)), lambda a, b: (a, b) == (0, 2)) == [(0, 2)]
    assert alike_pairs([_views(), _views()], [0, 1], _all) == []


def test_bunches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [_views(k, k + 1, 50 + k % 3) for k in range(12)]
    whole = alike_pairs(views, range(len(views)), _all)
    monkeypatch.setattr(alike, "_ROWS_AT_ONCE", 4)
    assert alike_pairs(views, range(len(views)), _all) == whole
    assert whole


def test_each_clip_has_a_bounded_number_of_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "_MOST_PARTNERS", 3)
    pairs = alike_pairs([_views(1)] * 20, range(20), _all)
    assert len(pairs) <= 60
    assert {k for pair in pairs for k in pair} == set(range(20))


def test_clips_of_one_kind_are_not_compared() -> None:
    views = [_views(1)] * 4
    assert alike_pairs(views, ["a", "a", "b", "a"], _all) == [(0, 2), (1, 2), (2, 3)]
    assert alike_pairs(views, ["a"] * 4, _all) == []


def test_an_unlikely_pair_must_look_alike_more() -> None:
    one = _views(1)
    noise = np.random.default_rng(5).normal(0, 1, one.shape).astype(np.float32)
    other = one + noise * 0.17 * one.std()  # a likeness of 0.985
    assert alike_pairs([one, other], [0, 1], _all) == [(0, 1)]
    assert alike_pairs([one, other], [0, 1], _all, _all) == []
    assert alike_pairs([one, one], [0, 1], _all, _all) == [(0, 1)]


def test_the_order_of_the_manifest_does_not_matter() -> None:
    """Two cameras, each with its own light from clip to clip, whose views overlap at the edge."""
    draw = np.random.default_rng(0)
    scene = draw.normal(0, 40, (1, THUMBNAIL_PX**2))
    light, own = draw.normal(0, 1, (2, 2, THUMBNAIL_PX**2))
    views = [
        (
            scene
            + (k % 2) * own[:1]
            + draw.normal(0, 5) * light[k % 2]
            + draw.normal(0, 1.5, (1, THUMBNAIL_PX**2)) * (k % 5 > 0)
        ).astype(np.float32)
        for k in range(24)
    ]
    wanted = set(alike_pairs(views, range(24), _all))
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(24)
        found = alike_pairs([views[int(k)] for k in order], range(24), _all)
        assert {tuple(sorted((int(order[a]), int(order[b])))) for a, b in found} == wanted
    assert 0 < len(wanted) < 24 * 23 / 2
