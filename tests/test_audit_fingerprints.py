"""First sight of a clip is the same from the work folder as from its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.manifest import read_manifest
from data_prep.settings import ClipSettings
from pipeline.config import Config
from pipeline.leak_audit.audit import fingerprints_from_files, fingerprints_from_store, prepared_in
from pipeline.reporter import SilentReporter

pytestmark = pytest.mark.end_to_end


def test_store_and_file_look_and_sound_alike(journey) -> None:
    rows = read_manifest(journey.work / "manifest.csv")[:4]
    prepared = prepared_in(journey.work)
    assert prepared is not None
    clip = prepared.clip
    stored = {
        s.row.id: s for s in fingerprints_from_store(prepared.store, clip.audio_rate_hz, rows)
    }
    filed = {s.row.id: s for s in fingerprints_from_files(rows, clip, Config(), SilentReporter())}
    assert set(stored) == set(filed) == {row.id for row in rows}
    for key, one in stored.items():
        other = filed[key]
        assert 1 <= len(one.views) <= 8
        assert np.array_equal(one.views, other.views)
        assert np.array_equal(one.audio.hashes, other.audio.hashes)


def test_a_file_that_is_gone_is_left_out_and_told(journey) -> None:
    notes: list[str] = []

    class Told(SilentReporter):
        def note(self, text: str) -> None:
            notes.append(text)

    row = read_manifest(journey.work / "manifest.csv")[0]
    gone = replace(row, path=row.path + ".gone", id="gone")
    found = fingerprints_from_files([gone, row], ClipSettings(frame_size_px=64), Config(), Told())
    assert [each.row.id for each in found] == [row.id]
    assert notes == ["1 file could not be read and will not be compared"]


def test_a_folder_that_is_not_prepared_holds_nothing(tmp_path) -> None:
    assert prepared_in(tmp_path) is None
