"""Clips of one camera are told apart beyond its view, and copies are not.

Which clips are looked at closely: those of which some frame looks like a frame of another.
"""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.fingerprints.thumbnail import THUMBNAIL_PX, view_vectors
from pipeline.leak_audit import duplicate_candidates
from pipeline.leak_audit.duplicate_candidates import (
    StaticBackground,
    candidate_pairs,
    static_views,
)

_SIDE = 32


def _smooth(draw: np.random.Generator, rms: float) -> np.ndarray:
    """[D], a picture of broad patches, of this many grey levels."""
    picture = np.kron(draw.normal(size=(8, 8)), np.ones((4, 4))).ravel()
    picture -= picture.mean()
    return (picture * rms / picture.std()).astype(np.float32)


def _camera(n_clips: int, own_rms: float = 3.0, coding_rms: float = 0.4) -> list[np.ndarray]:
    """Clips of three frames: a scene, daylight in two directions, something of their own."""
    draw = np.random.default_rng(0)
    scene, light = _smooth(draw, 40.0), [_smooth(draw, 4.0), _smooth(draw, 4.0)]
    clips = []
    for _ in range(n_clips):
        still = scene + sum(draw.normal() * one for one in light) + _smooth(draw, own_rms)
        frames = [still + draw.normal(0, coding_rms, _SIDE**2) for _ in range(3)]
        clips.append(np.stack(frames).astype(np.float32))
    return clips


def _copy(clip: np.ndarray) -> np.ndarray:
    coding = np.random.default_rng(1).normal(0, 0.8, clip.shape)
    return (clip + coding).astype(np.float32)


def _told_apart(clips: list[np.ndarray], clip: int, other: int) -> bool:
    likest = np.array([k for k in range(len(clips)) if k != clip])
    return StaticBackground(clips, static_views(clips), clip, likest).distinguishes(other)


def test_recordings_of_one_camera_are_told_apart_and_a_copy_is_not() -> None:
    clips = _camera(12)
    clips.append(_copy(clips[3]))
    assert not _told_apart(clips, 3, 12)
    assert not _told_apart(clips, 12, 3)
    apart = [_told_apart(clips, 3, other) for other in range(12) if other != 3]
    assert sum(apart) >= 10


def test_it_does_not_matter_whether_the_other_is_among_the_likest() -> None:
    clips = _camera(40)
    clips.append(_copy(clips[0]))
    likest = np.array([*range(1, 40), 40])  # the copy beyond those that are kept
    backdrop = StaticBackground(clips, static_views(clips), 0, likest)
    assert not backdrop.distinguishes(40)
    assert backdrop.distinguishes(39)


@pytest.mark.parametrize("n_others", [0, 3, 4])
def test_few_other_clips_say_nothing(n_others: int) -> None:
    clips = _camera(n_others + 2)
    assert not _told_apart(clips, 0, 1)


def test_copies_of_one_recording_alone_are_not_told_apart() -> None:
    """What they share is the recording, and what is left of them is coding."""
    clips = _camera(10, own_rms=0.0, coding_rms=1.0)
    one = clips[0]
    draw = np.random.default_rng(2)
    copies = [(one + draw.normal(0, 1.0, one.shape)).astype(np.float32) for _ in range(10)]
    assert not any(_told_apart(copies, 0, other) for other in range(1, 10))


def test_a_clip_without_frames_has_an_empty_still() -> None:
    clips = [*_camera(2), np.zeros((0, _SIDE**2), np.float32)]
    stills = static_views(clips)
    assert stills.shape == (3, _SIDE**2)
    assert not stills[2].any()
    assert static_views([]).shape == (0, 0)


def _views(*seeds: int) -> np.ndarray:
    shape = (THUMBNAIL_PX, THUMBNAIL_PX)
    return view_vectors(
        [np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8) for seed in seeds]
    )


def _all(first: int, second: int) -> bool:
    return True


def test_one_shared_frame_is_enough() -> None:
    views = [_views(1, 2), _views(3), _views(9, 2), _views(), _views(3, 4)]
    assert candidate_pairs(views, range(len(views)), _all) == [(0, 2), (1, 4)]
    assert candidate_pairs(views, range(len(views)), lambda a, b: (a, b) == (0, 2)) == [(0, 2)]
    assert candidate_pairs([_views(), _views()], [0, 1], _all) == []


def test_bunches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [_views(k, k + 1, 50 + k % 3) for k in range(12)]
    whole = candidate_pairs(views, range(len(views)), _all)
    monkeypatch.setattr(duplicate_candidates, "_ROWS_AT_ONCE", 4)
    assert candidate_pairs(views, range(len(views)), _all) == whole
    assert whole


def test_each_clip_has_a_bounded_number_of_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_candidates, "_MOST_PARTNERS", 3)
    pairs = candidate_pairs([_views(1)] * 20, range(20), _all)
    assert len(pairs) <= 60
    assert {k for pair in pairs for k in pair} == set(range(20))


def test_clips_of_one_kind_are_not_compared() -> None:
    views = [_views(1)] * 4
    assert candidate_pairs(views, ["a", "a", "b", "a"], _all) == [(0, 2), (1, 2), (2, 3)]
    assert candidate_pairs(views, ["a"] * 4, _all) == []


def test_an_unlikely_pair_must_look_alike_more() -> None:
    one = _views(1)
    noise = np.random.default_rng(5).normal(0, 1, one.shape).astype(np.float32)
    other = one + noise * 0.17 * one.std()  # a likeness of 0.985
    assert candidate_pairs([one, other], [0, 1], _all) == [(0, 1)]
    assert candidate_pairs([one, other], [0, 1], _all, _all) == []
    assert candidate_pairs([one, one], [0, 1], _all, _all) == [(0, 1)]


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
    wanted = set(candidate_pairs(views, range(24), _all))
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(24)
        found = candidate_pairs([views[int(k)] for k in order], range(24), _all)
        assert {tuple(sorted((int(order[a]), int(order[b])))) for a, b in found} == wanted
    assert 0 < len(wanted) < 24 * 23 / 2
