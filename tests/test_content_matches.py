"""Clips of one camera are told apart beyond its view, and copies are not.

Which clips are looked at closely: those of which some frame looks like a frame of another.

Pairs that look alike are decoded and compared; what cannot be read is left out and told.

Copies of sounds are found among others by shared words, at their offsets.

Which pairs are compared by sound, and which by picture after that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.fingerprints.audio_fingerprint import EMPTY_FINGERPRINT, audio_fingerprint
from data_prep.fingerprints.motion_match import MotionMatch
from data_prep.fingerprints.thumbnail import THUMBNAIL_PX, view_vectors
from data_prep.manifest import ManifestRow
from pipeline.config import Config
from pipeline.leak_audit import audit as audit_module
from pipeline.leak_audit import content_matches
from pipeline.leak_audit.audit import ClipFingerprint, match_content, plausible_time_matches
from pipeline.leak_audit.content_matches import (
    PictureMatch,
    StaticBackground,
    candidate_pairs,
    match_audio,
    match_pictures,
    static_views,
)
from pipeline.leak_audit.findings import Finding, Kind
from pipeline.reporter import SilentReporter
from tests.helpers.films import FILM_S, film, write_film
from tests.helpers.sounds import SOUND_RATE_HZ, noise_with_bands

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


def _every_pair(first: int, second: int) -> bool:
    return True


def test_one_shared_frame_is_enough() -> None:
    views = [_views(1, 2), _views(3), _views(9, 2), _views(), _views(3, 4)]
    assert candidate_pairs(views, range(len(views)), _every_pair) == [(0, 2), (1, 4)]
    assert candidate_pairs(views, range(len(views)), lambda a, b: (a, b) == (0, 2)) == [(0, 2)]
    assert candidate_pairs([_views(), _views()], [0, 1], _every_pair) == []


def test_bunches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [_views(k, k + 1, 50 + k % 3) for k in range(12)]
    whole = candidate_pairs(views, range(len(views)), _every_pair)
    monkeypatch.setattr(content_matches, "_ROWS_AT_ONCE", 4)
    assert candidate_pairs(views, range(len(views)), _every_pair) == whole
    assert whole


def test_each_clip_has_a_bounded_number_of_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_matches, "_MOST_PARTNERS", 3)
    pairs = candidate_pairs([_views(1)] * 20, range(20), _every_pair)
    assert len(pairs) <= 60
    assert {k for pair in pairs for k in pair} == set(range(20))


def test_clips_of_one_kind_are_not_compared() -> None:
    views = [_views(1)] * 4
    assert candidate_pairs(views, ["a", "a", "b", "a"], _every_pair) == [(0, 2), (1, 2), (2, 3)]
    assert candidate_pairs(views, ["a"] * 4, _every_pair) == []


def test_an_unlikely_pair_must_look_alike_more() -> None:
    one = _views(1)
    noise = np.random.default_rng(5).normal(0, 1, one.shape).astype(np.float32)
    other = one + noise * 0.17 * one.std()  # a likeness of 0.985
    assert candidate_pairs([one, other], [0, 1], _every_pair) == [(0, 1)]
    assert candidate_pairs([one, other], [0, 1], _every_pair, _every_pair) == []
    assert candidate_pairs([one, one], [0, 1], _every_pair, _every_pair) == [(0, 1)]


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
    wanted = set(candidate_pairs(views, range(24), _every_pair))
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(24)
        found = candidate_pairs([views[int(k)] for k in order], range(24), _every_pair)
        assert {tuple(sorted((int(order[a]), int(order[b])))) for a, b in found} == wanted
    assert 0 < len(wanted) < 24 * 23 / 2


def _row(path: Path, **values: object) -> ManifestRow:
    return ManifestRow(path=str(path), id=path.name, label="a", **values)  # type: ignore[arg-type]


def _content(rows: list[ManifestRow]) -> dict[str, str]:
    return {row.path: row.path for row in rows}


def _pairs(rows: list[ManifestRow], *pairs: tuple[int, int]) -> list[tuple[int, int, float]]:
    found = match_pictures(rows, list(pairs), _content(rows), Config(), SilentReporter())
    return [(each.first, each.second, each.match.offset_s) for each in found]


def test_one_recording_is_told_from_another_of_the_same_camera(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", film(1))
    write_film(tmp_path / "copy.mp4", film(1), crf=30)
    write_film(tmp_path / "other.mp4", film(2))
    rows = [_row(tmp_path / name) for name in ("a.mp4", "copy.mp4", "other.mp4")]
    assert _pairs(rows, (0, 1), (0, 2), (1, 2)) == [(0, 1, 0.0)]


def test_two_moments_of_a_recording_and_its_copy_are_not_the_same(tmp_path: Path) -> None:
    """Parts end where their labels end, whatever the files hold after that."""
    write_film(tmp_path / "a.mp4", film(1))
    write_film(tmp_path / "copy.mp4", film(1), crf=30)
    middle = FILM_S / 2
    first = _row(tmp_path / "a.mp4", start_s=0.0, end_s=middle)
    second = _row(tmp_path / "copy.mp4", start_s=middle, end_s=float(FILM_S))
    assert _pairs([first, second], (0, 1)) == []
    whole = replace(second, start_s=0.0, end_s=middle)
    assert _pairs([first, whole], (0, 1)) == [(0, 1, 0.0)]


def test_of_equal_files_one_is_decoded(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", film(1))
    write_film(tmp_path / "copy.mp4", film(1), crf=30)
    steps: list[int] = []

    class Counted(SilentReporter):
        def advance(self, n_steps: int = 1, failed: bool = False) -> None:
            steps.append(n_steps)

    rows = [_row(tmp_path / "a.mp4"), _row(tmp_path / "gone.mp4"), _row(tmp_path / "copy.mp4")]
    content = {**_content(rows), rows[1].path: rows[0].path}
    found = match_pictures(rows, [(0, 2), (1, 2)], content, Config(), Counted())
    assert [(each.first, each.second) for each in found] == [(0, 2), (1, 2)]
    assert len(steps) == 2


def test_a_file_that_is_gone_is_left_out_and_told(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", film(1))
    told: list[bool] = []
    notes: list[str] = []

    class Told(SilentReporter):
        def advance(self, steps: int = 1, failed: bool = False) -> None:
            told.append(failed)

        def note(self, text: str) -> None:
            notes.append(text)

    rows = [_row(tmp_path / "a.mp4"), _row(tmp_path / "gone.mp4")]
    assert match_pictures(rows, [(0, 1)], _content(rows), Config(), Told()) == []
    assert told == [False, True]
    assert any("1 clip left out of the motion comparison" in note for note in notes)


def _all(first: int, second: int) -> bool:
    return True


def test_copies_are_found_and_nothing_else() -> None:
    sounds = [noise_with_bands(seed) for seed in range(12)]
    noise = np.random.default_rng(0).normal(0, 0.001, sounds[0].size)
    copy = (sounds[3] * 0.5 + noise).astype(np.float32)[9_600:]
    prints = [
        audio_fingerprint(each, SOUND_RATE_HZ) for each in [*sounds, copy, np.zeros_like(copy)]
    ]
    found = list(match_audio([*prints, EMPTY_FINGERPRINT], _all))
    assert [(each.first, each.second) for each in found] == [(3, 12)]
    assert abs(found[0].offset_s - 0.6) < 0.03
    assert found[0].agreement > 0.5


def test_pairs_that_nobody_asked_for_are_left_out() -> None:
    print_ = audio_fingerprint(noise_with_bands(1), SOUND_RATE_HZ)
    assert list(match_audio([print_, print_], lambda a, b: False)) == []
    assert len(list(match_audio([print_, print_], _all))) == 1
    assert list(match_audio([], _all)) == []


def test_a_copy_is_found_past_copies_that_nobody_asked_for() -> None:
    prints = [audio_fingerprint(noise_with_bands(1), SOUND_RATE_HZ)] * 20
    found = list(match_audio(prints, lambda a, b: (a, b) == (0, 19)))
    assert [(each.first, each.second) for each in found] == [(0, 19)]


@pytest.mark.parametrize(("n_clips", "n_found"), [(2, 1), (3, 0), (6, 0)])
def test_a_beep_that_many_recordings_begin_with_makes_them_not_one(
    n_clips: int, n_found: int
) -> None:
    def silent(seconds: float) -> np.ndarray:
        return np.zeros(int(seconds * SOUND_RATE_HZ), np.float32)

    for beep in (
        [noise_with_bands(1, 0.6), silent(3)],
        [noise_with_bands(1, 0.5), silent(1)],
        [noise_with_bands(1, 0.5), silent(9), noise_with_bands(2, 0.5)],
        [noise_with_bands(1, 1.2), silent(8)],
    ):
        prints = [audio_fingerprint(np.concatenate(beep), SOUND_RATE_HZ)] * n_clips
        assert len(list(match_audio(prints, _all))) == n_found
    prints = [
        audio_fingerprint(noise_with_bands(1, 0.8), SOUND_RATE_HZ)
    ] * n_clips  # short, but not in silence
    assert len(list(match_audio(prints, _all))) >= n_clips - 1
    long = np.concatenate([noise_with_bands(1, 4.0), silent(6)])
    prints = [audio_fingerprint(long, SOUND_RATE_HZ)] * n_clips
    assert len(list(match_audio(prints, _all))) >= n_clips - 1


def test_an_endless_tone_is_not_everywhere() -> None:
    """Two different recordings of steady tones share words by the thousand, not by time."""
    t = np.arange(4 * SOUND_RATE_HZ) / SOUND_RATE_HZ
    draw = np.random.default_rng(0)
    tones = [
        (0.1 * np.sin(2 * np.pi * 700 * t) + draw.normal(0, 0.006, t.size)).astype(np.float32)
        for _ in range(2)
    ]
    assert list(match_audio([audio_fingerprint(tone, SOUND_RATE_HZ) for tone in tones], _all)) == []


def test_a_hundred_copies_are_all_joined() -> None:
    prints = [audio_fingerprint(noise_with_bands(1, 2.0), SOUND_RATE_HZ)] * 100
    pairs = {(each.first, each.second) for each in match_audio(prints, _all)}
    assert {(k, k + 1) for k in range(99)} <= pairs


@pytest.mark.parametrize("at_once", [40, 700, 3000])
def test_what_is_found_does_not_depend_on_how_much_is_counted_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    sounds = [noise_with_bands(seed % 7, 2.0 + seed % 3) for seed in range(20)]
    prints = [audio_fingerprint(each, SOUND_RATE_HZ) for each in sounds]
    wanted = list(match_audio(prints, _all))
    assert len(wanted) > 10
    monkeypatch.setattr(content_matches, "_ENTRIES_AT_ONCE", at_once)
    monkeypatch.setattr(content_matches, "_OF_ONE_CLIP", 2 * at_once)
    assert list(match_audio(prints, _all)) == wanted


def _seen(name: str, picture: int, sound: int | None) -> ClipFingerprint:
    shape = (THUMBNAIL_PX, THUMBNAIL_PX)
    frame = np.random.default_rng(picture).integers(0, 255, shape).astype(np.uint8)
    heard = (
        EMPTY_FINGERPRINT
        if sound is None
        else audio_fingerprint(noise_with_bands(sound, 4), SOUND_RATE_HZ)
    )
    row = ManifestRow(path=f"{name}.mp4", id=name, label="a", group=name)
    return ClipFingerprint(row, view_vectors([frame]), heard)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Pairs that are looked at closely; here, all turn out to be one picture."""
    pairs: list[tuple[int, int]] = []

    def look(rows, alike, content, config, report):
        pairs.extend(alike)
        return [PictureMatch(*pair, MotionMatch(True, 0.9, 1.0, "changes")) for pair in alike]

    monkeypatch.setattr(audit_module, "match_pictures", look)
    return pairs


def _found(seen: list[ClipFingerprint], content: dict[str, str] | None = None):
    own = {each.row.path: each.row.path for each in seen}
    return list(match_content(seen, content or own, Config(), SilentReporter()))


def test_sound_settles_a_pair_and_pictures_the_rest(looked_at) -> None:
    clips = [_seen("heard", 1, 1), _seen("copy", 1, 1), _seen("mute", 1, None)]
    found = {(f.first.id, f.second.id): f for f in _found(clips)}
    assert looked_at == [(0, 2), (1, 2)]
    assert found["heard", "copy"].kind is Kind.SAME_SOUND
    assert found["heard", "mute"].kind is Kind.SAME_PICTURE
    assert found["heard", "mute"].offset_s == 1.0
    assert not any(f.dubbed or f.kind is Kind.SAME_RECORDING for f in found.values())


def test_one_picture_under_two_sounds_is_said_to_be_dubbed(looked_at) -> None:
    (found,) = _found([_seen("one", 1, 1), _seen("other", 1, 2)])
    assert (found.kind, found.dubbed, found.note) == (
        Kind.SAME_PICTURE, True, "under another sound"
    )  # fmt: skip


def test_what_is_settled_or_of_no_interest_is_left_out(looked_at) -> None:
    one, other = _seen("one", 1, None), _seen("other", 1, None)
    assert len(_found([one, other])) == 1
    assert _found([one, other], {"one.mp4": "x", "other.mp4": "x"}) == []  # equal bytes
    same_group = replace(other, row=replace(other.row, group="one"))
    assert _found([one, same_group]) == []


def test_two_moments_of_one_file_are_no_copy(looked_at) -> None:
    one = _seen("one", 1, None)
    parts = [
        replace(one, row=replace(one.row, id=f"{k}", group=f"{k}", start_s=s, end_s=s + 5))
        for k, s in enumerate((0.0, 5.0))
    ]
    assert _found(parts) == []
    copy = replace(parts[1], row=replace(parts[1].row, path="copy.mp4"))
    assert len(_found([parts[0], copy])) == 1  # a copy that was not made byte by byte
    assert _found([parts[0], copy], {"one.mp4": "x", "copy.mp4": "x"}) == []


def test_a_time_is_not_believed_of_clips_that_look_wholly_different() -> None:
    clips = [_seen("one", 1, None), _seen("alike", 1, None), _seen("other", 2, None)]
    blind = replace(clips[0], row=replace(clips[0].row, id="blind"), views=view_vectors([]))
    rows = [each.row for each in [*clips, blind]]
    findings = [Finding(Kind.SAME_RECORDING, rows[0], row) for row in rows[1:]]
    kept = [f.second.id for f in plausible_time_matches(findings, [*clips, blind])]
    assert kept == ["alike", "blind"]
