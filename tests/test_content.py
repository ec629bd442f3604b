"""Which pairs are compared by sound, and which by picture after that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.dataset.manifest import ManifestRow
from data_prep.fingerprints.motion import MotionMatch
from data_prep.fingerprints.sound import NOTHING_HEARD, sound_print
from data_prep.fingerprints.thumbnail import THUMBNAIL_PX, view_vectors
from pipeline.auditing import content
from pipeline.auditing.content import believable, same_content
from pipeline.auditing.findings import Finding, Kind
from pipeline.auditing.picture_pairs import SamePicture
from pipeline.auditing.seen import Seen
from pipeline.config import Config
from pipeline.reporting import Silent
from tests.test_fingerprints_sound import _RATE_HZ, _sound


def _seen(name: str, picture: int, sound: int | None) -> Seen:
    shape = (THUMBNAIL_PX, THUMBNAIL_PX)
    frame = np.random.default_rng(picture).integers(0, 255, shape).astype(np.uint8)
    heard = NOTHING_HEARD if sound is None else sound_print(_sound(sound, 4), _RATE_HZ)
    row = ManifestRow(path=f"{name}.mp4", id=name, label="a", group=name)
    return Seen(row, view_vectors([frame]), heard)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Pairs that are looked at closely; here, all turn out to be one picture."""
    pairs: list[tuple[int, int]] = []

    def look(rows, alike, content, config, report):
        pairs.extend(alike)
        return [SamePicture(*pair, MotionMatch(True, 0.9, 1.0, "changes")) for pair in alike]

    monkeypatch.setattr(content, "same_pictures", look)
    return pairs


def _found(seen: list[Seen], content: dict[str, str] | None = None):
    own = {each.row.path: each.row.path for each in seen}
    return list(same_content(seen, content or own, Config(), Silent()))


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
    kept = [f.second.id for f in believable(findings, [*clips, blind])]
    assert kept == ["alike", "blind"]
