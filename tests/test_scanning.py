"""What scanning says of clips that the settings do not fit."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep.clips.file_survey import survey_file
from data_prep.dataset.scan import Scan, scan
from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings, LimitSettings, SplitSettings
from pipeline.prep.scanning import clip_notes, with_frame_rate
from tests.helpers.odd_sound import recorded


@pytest.mark.parametrize(
    ("length_s", "rate_hz", "says"),
    [
        (0.45, 1.0, "with clip.frame_rate_hz=10 half of them have 4 or more"),
        (1.2, 1.0, "with clip.frame_rate_hz=4 half of them have 5 or more"),
        (0.45, 10.0, ""),
        (5.0, 1.0, ""),
        (0.01, 1.0, "with clip.frame_rate_hz=20"),
    ],
)
def test_short_clips_are_told_with_the_key_and_a_value(length_s, rate_hz, says: str) -> None:
    rows = [ManifestRow(f"{k}", label="a", duration_s=length_s) for k in range(9)]
    found = clip_notes(Scan(rows, []), ClipSettings(frame_rate_hz=rate_hz))
    assert (says in found[0]) if says else found == []


@pytest.mark.parametrize(
    ("hz", "rate_hz", "is_told"), [(45_000, 384_000, True), (3_000, 384_000, False),
                                   (12_000, 48_000, True), (3_000, 16_000, False)],
)  # fmt: skip
def test_sound_above_what_is_kept_is_told(tmp_path, hz: int, rate_hz: int, is_told: bool) -> None:
    t = np.arange(rate_hz) / rate_hz
    path = recorded(tmp_path / "bat.wav", (0.3 * np.sin(2 * np.pi * hz * t))[:, None],
                    rate_hz=rate_hz)  # fmt: skip
    clip = ClipSettings()
    found = survey_file(str(path), LimitSettings(), nyquist_hz=clip.highest_hz)
    assert any("lies above 8 kHz" in remark for remark in found.remarks) == is_told
    assert (found.energy_above is not None) == is_told
    if is_told:
        assert found.energy_above == pytest.approx(1, abs=0.01)
    tenth = 0.3 * np.sin(2 * np.pi * hz * t[: rate_hz // 10])
    short = recorded(tmp_path / "short.wav", tenth[:, None], rate_hz=rate_hz)
    told = survey_file(str(short), LimitSettings(), nyquist_hz=clip.highest_hz).remarks
    assert any("lies above 8 kHz" in remark for remark in told) == is_told
    wide = ClipSettings(audio_rate_hz=192_000)
    assert survey_file(str(path), LimitSettings(), nyquist_hz=wide.highest_hz).remarks == ()


@pytest.mark.parametrize(
    ("lengths_s", "settings", "rate_hz"),
    [
        ([0.45] * 9, {}, 10),
        ([1.2] * 9, {}, 4),
        ([3.0] * 9, {}, 2),
        ([4.0] * 9, {}, 1),
        ([0.01] * 9, {}, 20),
        ([0.45] * 4 + [60.0] * 5, {}, 1),
        ([0.45] * 5 + [60.0] * 4, {}, 10),
        ([0.45] * 9, {"audio_rate_hz": 22_050}, 10),
        ([1.0] * 9, {"audio_rate_hz": 22_050}, 5),  # 22,050 samples are no whole number of quarters
        ([0.45] * 9, {"time_expansion": 10.0}, 1),
        ([None] * 9, {}, 1),
        ([], {}, 1),
        ([0.45] * 9, {"frame_rate_hz": 3.0, "audio_rate_hz": 24_000}, 3),
    ],
)
def test_auto_takes_the_lowest_rate_that_gives_half_of_the_clips_enough_steps(
    lengths_s, settings, rate_hz: float
) -> None:
    rows = [ManifestRow(f"{k}", label="a", duration_s=s) for k, s in enumerate(lengths_s)]
    clip = ClipSettings(**({"frame_rate_hz": "auto"} | settings))
    assert with_frame_rate(clip, rows).step_rate_hz == rate_hz
    told = clip_notes(Scan(rows, []), clip)
    assert (f"clip.frame_rate_hz={rate_hz} is used (auto)" in " ".join(told)) == (
        rate_hz > 1 and "frame_rate_hz" not in settings
    )


def test_files_with_high_pitched_sound_are_remembered_until_they_change(tmp_path) -> None:
    clip, probed, t = ClipSettings(), [], np.arange(48_000) / 48_000

    def write(name: str, hz: int) -> None:
        tone = 0.3 * np.sin(2 * np.pi * hz * t)
        recorded(tmp_path / "data" / "a" / name, tone[:, None], rate_hz=48_000)

    def probe_all(paths):
        probed.extend(Path(path).name for path in paths)
        return [survey_file(path, LimitSettings(), nyquist_hz=clip.highest_hz) for path in paths]

    def high_pitched() -> list[str]:
        probed.clear()
        found = scan(
            tmp_path / "data", tmp_path / "work", SplitSettings(), LimitSettings(), probe_all,
            None, clip.highest_hz,
        )  # fmt: skip
        (note,) = [note for note in clip_notes(found, clip) if "have most of their sound" in note]
        assert note.startswith(f"{len(found.energy_above)} of {len(found.rows)} clips (")
        return sorted(Path(path).name for path in found.energy_above)

    (tmp_path / "data" / "a").mkdir(parents=True)
    for name, hz in (("bat.wav", 12_000), ("bird.wav", 12_000), ("cow.wav", 300)):
        write(name, hz)
    assert (high_pitched(), probed) == (["bat.wav", "bird.wav"], ["bat.wav", "bird.wav", "cow.wav"])
    assert (high_pitched(), probed) == (["bat.wav", "bird.wav"], [])
    write("bird.wav", 350)
    os.utime(tmp_path / "data" / "a" / "bird.wav", (1, 1))
    assert (high_pitched(), probed) == (["bat.wav"], ["bird.wav"])
