"""decode_clip against PyAV's own timestamps, on files of every awkward kind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from data_prep.clip import DecodeSummary
from data_prep.clips import file_survey
from data_prep.media.probe import examine
from data_prep.settings import LimitSettings
from data_prep.status import MediaError, Status
from data_prep.video import decode_plan
from tests.helpers.decoding import CFR, decode
from tests.helpers.media import pyav_frames, read_number, remux, write_video


def check_against_pyav(
    path: Path, rate: float, tolerance_s: float | None = 0.0, strategy: str = "auto"
) -> DecodeSummary:
    """Every sampled frame is, in time and content, one that PyAV decodes, and near enough.

    Near enough: at most the tolerance from the target time, or the one that is shown then.
    """
    reference = pyav_frames(path)
    if path.suffix == ".avi":  # FFmpeg guesses its presentation times, the last one twice
        reference = [(0.04 * k, number) for k, (_, number) in enumerate(reference)]
    zero = reference[0][0]
    clip = {"frame_rate_hz": rate, "frame_tolerance_s": tolerance_s}
    chunks, report = decode(path, clip=clip, strategy=strategy)
    allowed_s = 0.5 / rate if tolerance_s is None else tolerance_s
    step = 0
    for chunk in chunks:
        for t in range(chunk.n_steps):
            wanted = zero + (step + 0.5) / rate
            step += 1
            if not chunk.video_mask[t]:
                assert wanted > reference[-1][0]
                continue
            shown = [(time, number) for time, number in reference if time <= wanted + 1e-6]
            exact_s = (shown or reference[:1])[-1][0]
            given_s = chunk.frame_times_s[t] + zero
            time, number = min(reference, key=lambda known: abs(known[0] - given_s))
            assert given_s == pytest.approx(time, abs=2e-3)
            assert read_number(chunk.frames[t].transpose(1, 2, 0)) == number
            assert time == exact_s or abs(time - wanted) <= allowed_s + 2e-3
    assert report.status is Status.OK
    return report


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    gaps=st.one_of(st.just([40] * 90), st.lists(st.integers(8, 260), min_size=12, max_size=90)),
    b_frames=st.integers(0, 3),
    gop=st.sampled_from([1, 8, 250]),
    start_ms=st.sampled_from([0, 0, 700, 2000]),
    suffix=st.sampled_from(["mp4", "mkv", "ts", "avi"]),
    rate=st.sampled_from([1.0, 2.0, 5.0]),
    tolerance_s=st.sampled_from([0.0, 0.0, 0.05, 0.2, None, 1.5]),
    strategy=st.sampled_from(["auto", "plan", "decord", "every"]),
)
def test_the_promise_is_kept(
    tmp_path_factory, gaps, b_frames, gop, start_ms, suffix, rate, tolerance_s, strategy
) -> None:
    path = tmp_path_factory.mktemp("video") / f"v.{suffix}"
    times = np.cumsum([0, *gaps]).tolist()
    if suffix == "avi":  # AVI has no clock of its own: constant rate, no B-frames, from zero
        times, b_frames, start_ms = CFR[: len(times)], 0, 0
    assume(times[-1] > 600)  # shorter clips are looked at in their middle, tested elsewhere
    # The writer puts sound behind all pictures; in a transport stream the encoder's priming, before
    # time zero, would then wrap to the end of its clock.
    begin_ms = 100 if suffix == "ts" else 0
    sound = (begin_ms, times[-1] + start_ms + 100) if start_ms and suffix != "avi" else None
    write_video(
        path, times, start_ms=start_ms, sound_ms=sound,
        options={"bf": str(b_frames), "g": str(gop), "preset": "veryfast"},
    )  # fmt: skip
    check_against_pyav(path, rate, tolerance_s, strategy)


@pytest.mark.parametrize("earlier_ms", [300, 700, 1500])
def test_edit_list_hides_frames(tmp_path, earlier_ms: int) -> None:
    whole = write_video(tmp_path / "whole.mp4", CFR, options={"bf": "3", "g": "50"})
    cut = remux(whole, tmp_path / "cut.mp4", earlier_ms=earlier_ms)
    assert len(pyav_frames(cut)) < len(CFR)
    assert check_against_pyav(cut, 2.0, strategy="decord").decode_strategy == "every frame"
    assert check_against_pyav(cut, 2.0, strategy="plan").decode_strategy in (
        "parts",
        "read through",
    )
    check_against_pyav(cut, 2.0, tolerance_s=None)


@pytest.mark.parametrize(
    ("strategy", "tolerance_s", "named"),
    [("auto", None, "key frames"), ("auto", 0.0, "parts"), ("auto", 0.1, "parts"),
     ("decord", 0.0, "decord"), ("every", None, "every frame")],
)  # fmt: skip
def test_the_way_is_named(tmp_path, strategy: str, tolerance_s: float | None, named: str) -> None:
    path = write_video(tmp_path / "a.mp4", CFR)  # a key frame every 12 pictures, 0.48 s
    assert check_against_pyav(path, 1.0, tolerance_s, strategy).decode_strategy == named


def test_sound_of_a_late_picture_is_cut_not_shifted(tmp_path) -> None:
    """The picture starts 2 s after the sound: a beep at 3.5 s stands at 1.5 s of the clip."""
    path = write_video(
        tmp_path / "late.mp4", CFR, start_ms=2000, sound_ms=(0, 6800), beeps_ms=(500, 3500)
    )
    chunks, _ = decode(path)
    wave = np.abs(chunks[0].waveform.astype(float))
    loud = np.flatnonzero(wave > 8000)
    assert loud[0] / 16_000 == pytest.approx(1.5, abs=0.005)
    assert loud[-1] / 16_000 < 1.6
    assert chunks[0].audio_mask.all()


def test_late_and_short_sound_is_masked_in_place(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, sound_ms=(2000, 3500), beeps_ms=(2500,))
    chunks, report = decode(path)
    chunk = chunks[0]
    assert chunk.audio_mask.tolist() == [False, False, True, True, False]
    assert chunk.video_mask.all()
    loud = np.flatnonzero(np.abs(chunk.waveform.astype(float)) > 8000)
    assert loud[0] / 16_000 == pytest.approx(2.5, abs=0.005)
    assert report.status is Status.OK


def test_sound_longer_than_picture_has_steps_without_picture(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR[:50], sound_ms=(0, 5000))
    chunk = decode(path)[0][0]
    assert chunk.video_mask.tolist() == [True, True, False, False, False]
    assert np.isnan(chunk.frame_times_s).tolist() == [False, False, True, True, True]
    assert chunk.audio_mask.all()


def test_removed_sound_differs_from_silence(tmp_path) -> None:
    silent = write_video(tmp_path / "silent.mp4", CFR, sound_ms=(0, 4800))
    without = remux(silent, tmp_path / "without.mp4", drop_sound=True)
    with_track, removed = decode(silent)[0][0], decode(without)[0][0]
    assert with_track.audio_mask.all()
    assert not removed.audio_mask.any()
    assert np.abs(with_track.waveform).max() < 50
    assert np.array_equal(with_track.frames, removed.frames)


@pytest.mark.parametrize(("rotation", "upright"), [(90, True), (-90, True), (180, False)])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_rotation_is_honoured(tmp_path, rotation: int, upright: bool, suffix: str) -> None:
    path = write_video(tmp_path / f"r.{suffix}", CFR[:30], rotation=rotation)
    chunk = decode(path, clip={"frame_fit": "letterbox"})[0][0]
    bars = np.all(chunk.frames[0] == 124, axis=0)
    tall, wide = bars[:, 0].all(), bars[0, :].all()  # side bars: a tall picture
    assert (tall, wide) == (upright, not upright)


def test_both_decoders_turn_the_same_way(tmp_path) -> None:
    mp4 = write_video(tmp_path / "r.mp4", CFR[:60], rotation=90)
    cut = remux(mp4, tmp_path / "cut.mp4", earlier_ms=480)
    first, second = decode(mp4, strategy="decord"), decode(cut, strategy="every")
    assert (first[1].decode_strategy, second[1].decode_strategy) == ("decord", "every frame")
    a = first[0][0].frames[0].mean(axis=(0, 2))
    b = second[0][0].frames[0].mean(axis=(0, 2))
    numbers = [_upright_number(chunks[0].frames[0]) for chunks, _ in (first, second)]
    assert numbers[0] == 12  # the frame at 0.5 s
    assert numbers[1] == 24  # 0.48 s of frames are hidden
    assert a.shape == b.shape


def _upright_number(frame: np.ndarray) -> int:
    """The bars lie on their side after a turn of 90°, counter-clockwise from left to right."""
    return read_number(np.rot90(frame.transpose(1, 2, 0), 3))


def test_non_square_pixels_keep_display_proportions(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR[:30], pixel_aspect=Fraction(2), size=(96, 96))
    chunk = decode(path, clip={"frame_fit": "letterbox"})[0][0]
    rows = ~np.all(chunk.frames[0] == 124, axis=(0, 2))
    assert rows.sum() == pytest.approx(50, abs=2)  # 100 wide, half as high


def test_segments_count_from_the_picture(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, sound_ms=(0, 4800), beeps_ms=(2600,))
    chunks, report = decode(path, source={"start_s": 2.0, "end_s": 4.0})
    chunk = chunks[0]
    assert report.n_steps == 2
    assert [read_number(f.transpose(1, 2, 0)) for f in chunk.frames] == [62, 87]
    assert chunk.frame_times_s.tolist() == [pytest.approx(0.48), pytest.approx(1.48)]
    loud = np.flatnonzero(np.abs(chunk.waveform.astype(float)) > 8000)
    assert loud[0] / 16_000 == pytest.approx(0.6, abs=0.005)


def test_a_segment_takes_no_frame_from_outside(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, options={"bf": "0", "g": "25"})
    segment = {"start_s": 0.6, "end_s": 2.3}
    chunks, _ = decode(path, source=segment, clip={"frame_tolerance_s": 1.0})
    assert ((chunks[0].frame_times_s >= 0) & (chunks[0].frame_times_s < 1.7)).all()
    # no key frame in it, though there is one near enough on either side
    between, _ = decode(path, source={"start_s": 1.1, "end_s": 1.8}, clip={"frame_tolerance_s": 1})
    assert 0 <= between[0].frame_times_s[0] < 0.7
    brief, _ = decode(path, source={"start_s": 1.0, "end_s": 1.3})
    assert brief[0].frame_times_s[0] == pytest.approx(0.12)  # the frame shown in its middle


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_decoding_may_begin_at_the_key_frames_of_open_groups(tmp_path, container: str) -> None:
    """The decoder remarks there that a picture is missing which it was to forget."""
    options = {
        "g": "25", "bf": "5", "refs": "6",
        "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0:keyint=25:min-keyint=25",
    }  # fmt: skip
    path = write_video(tmp_path / f"a.{container}", CFR, options=options)
    assert check_against_pyav(path, 1.0, None).decode_strategy == "key frames"
    whole, _ = decode(path, clip={"frame_tolerance_s": 0}, strategy="every")
    parts, report = decode(path, clip={"frame_tolerance_s": 0})
    assert report.decode_strategy != "every frame"
    assert np.array_equal(whole[0].frames, parts[0].frames)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_a_segment_deep_in_a_file_is_as_if_all_before_it_had_been_read(
    tmp_path, monkeypatch, container: str
) -> None:
    path = tmp_path / f"a.{container}"
    write_video(path, [40 * i for i in range(900)], sound_ms=(0, 36_000), beeps_ms=(31_600,))
    segment = {"start_s": 31.0, "end_s": 34.0}
    through, report = decode(path, source=segment)
    assert (report.status, report.has_audio, report.decode_strategy) == (Status.OK, True, "parts")
    loud = np.flatnonzero(np.abs(through[0].waveform.astype(float)) > 8000)
    assert loud[0] / 16_000 == pytest.approx(0.6, abs=0.06)  # transport streams begin later
    monkeypatch.setattr(decode_plan, "_WORTH_SEEKING_BYTES", 0)
    sought, _ = decode(path, source=segment)
    assert np.array_equal(sought[0].frame_times_s, through[0].frame_times_s)
    assert np.array_equal(sought[0].frames, through[0].frames)


def test_a_file_is_looked_into_once_for_all_its_segments(tmp_path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", CFR)
    looked: list[str] = []

    def counted(path: str, limits: LimitSettings, raw_frame_rate_hz: float):
        looked.append(path)
        return examine(path, limits, raw_frame_rate_hz)

    monkeypatch.setattr(file_survey, "examine", counted)
    for start_s in (0.0, 1.0, 2.0):
        decode(path, source={"start_s": start_s, "end_s": start_s + 1})
    assert len(looked) == 1
    write_video(path, CFR[:60])
    with pytest.raises(MediaError, match="part starts at 3 s"):
        decode(path, source={"start_s": 3.0, "end_s": 4.0})


def test_a_segment_after_the_end_is_refused(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR)
    with pytest.raises(MediaError, match="part starts at 9 s"):
        decode(path, source={"start_s": 9.0, "end_s": 10.0})


def test_the_duration_limit_cuts_and_says_so(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, sound_ms=(0, 4800))
    _, report = decode(path, limits={"max_duration_s": 2.0})
    assert (report.status, report.n_steps) == (Status.PARTIAL, 2)
    assert "limits.max_duration_s=2" in report.reason


def test_long_clips_come_in_chunks(tmp_path) -> None:
    path = write_video(
        tmp_path / "a.mp4", [500 * i for i in range(150)], sound_ms=(0, 75_000), beeps_ms=(70_000,)
    )
    chunks, report = decode(path)
    assert [chunk.n_steps for chunk in chunks] == [64, 11]
    assert report.n_steps == 75
    numbers = [read_number(f.transpose(1, 2, 0)) for c in chunks for f in c.frames]
    assert numbers == [2 * t + 1 for t in range(75)]
    loud = np.flatnonzero(np.abs(chunks[1].waveform.astype(float)) > 8000)
    assert 64 + loud[0] / 16_000 == pytest.approx(70.0, abs=0.005)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", Status.NOT_MEDIA),
        (b"just some text\n" * 50, Status.NOT_MEDIA),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(3000), Status.UNREADABLE),
    ],
)
def test_files_that_are_no_video(tmp_path, content: bytes, status: Status) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        decode(path)
    assert caught.value.status is status


def test_truncated_file_is_unreadable(tmp_path) -> None:
    data = write_video(tmp_path / "a.mp4", CFR, sound_ms=(0, 4000)).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError) as caught:
        decode(path)
    assert caught.value.status is Status.UNREADABLE


def test_damaged_middle_is_partial(tmp_path) -> None:
    data = bytearray(write_video(tmp_path / "a.ts", CFR, sound_ms=(0, 4800)).read_bytes())
    rng = np.random.default_rng(0)
    middle = len(data) // 2
    data[middle : middle + 6000] = rng.bytes(6000)
    path = tmp_path / "b.ts"
    path.write_bytes(bytes(data))
    _, report = decode(path)
    assert report.status is Status.PARTIAL
    assert "damaged" in report.reason
