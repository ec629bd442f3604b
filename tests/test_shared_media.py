"""Real recordings, where a folder of them lies beside the project; skipped elsewhere."""

import csv
from pathlib import Path

import numpy as np
import pytest

from data_prep.clip import ClipSource
from data_prep.decode import decode_clip
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import MediaError

MEDIA = Path(__file__).resolve().parent.parent.parent / "shared" / "media"
pytestmark = pytest.mark.skipif(not MEDIA.is_dir(), reason="no folder of real media here")
SETTINGS = DecodeSettings(ClipSettings(frame_size_px=96), LimitSettings(max_duration_s=20))


def test_every_odd_file_ends_in_clips_or_a_reason() -> None:
    with (MEDIA / "odd" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = str(MEDIA / "odd" / row["path"])
        if "4k" in row["path"]:
            continue  # a minute of decoding each
        try:
            chunks = list(decode_clip(ClipSource("x", path), SETTINGS))
        except MediaError as error:
            reason = str(error)
            chunks = []
        if not chunks:
            assert reason
            assert row["decodes"] != "yes" or row["duration_s"] == "", row["path"]
            continue
        has_picture = np.concatenate([chunk.has_picture for chunk in chunks])
        has_sound = np.concatenate([chunk.has_sound for chunk in chunks])
        if row["decodes"] == "yes":
            assert has_picture.any() == (int(row["video_streams"] or 0) > 0), row["path"]
            assert has_sound.any() == (int(row["audio_streams"] or 0) > 0), row["path"]


def test_falls_are_seen_and_heard() -> None:
    for path in sorted((MEDIA / "falls").glob("*.mp4"))[:5]:
        chunks = list(decode_clip(ClipSource("x", str(path)), SETTINGS))
        assert all(chunk.has_picture.all() for chunk in chunks)
        assert any(chunk.has_sound.any() for chunk in chunks)
        assert np.std([chunk.waveform.astype(float).std() for chunk in chunks]) >= 0
        assert all(np.abs(chunk.waveform).max() > 10 for chunk in chunks)
