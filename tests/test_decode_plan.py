"""Plans keep the promise and cost little: laws over drawn packet tables.

Planned reading gives the very pictures that decoding everything gives, in every codec.
"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.clips.clip_decoder import examine_cached
from data_prep.media.packet_times import PacketIndex
from data_prep.media.pyav_media import ClipWriter
from data_prep.settings import LimitSettings
from data_prep.video import frame_reader
from data_prep.video.decode_plan import PlanMismatchError, PlannedReader, plan_frames
from data_prep.video.sampling import frame_shown_at
from tests.helpers.decoding import decode
from tests.helpers.media import write_video

RATE_HZ = 25


def table(n: int, gop: int, b_frames: int = 0, times_s: np.ndarray | None = None) -> PacketIndex:
    """`n` pictures with a key picture every `gop`; b_frames between two others refer to both."""
    shown = np.arange(n) if times_s is None else np.argsort(times_s, kind="stable")
    order: list[int] = []
    for first in range(0, n, gop):
        group = list(range(first, min(first + gop, n)))
        order.append(group[0])
        rest = group[1:]
        while rest:
            part, rest = rest[: b_frames + 1], rest[b_frames + 1 :]
            order += [part[-1], *part[:-1]]  # the later one is decoded first
    index = np.array(order)
    times = (np.arange(n) / RATE_HZ if times_s is None else times_s)[shown][index]
    return PacketIndex(
        times, np.round(times * 90_000).astype(np.int64), index % gop == 0,
        np.ones(n, np.bool_), np.where(index % gop == 0, 5000, 500),
    )  # fmt: skip


def wanted(coded: PacketIndex, rate_hz: float) -> np.ndarray:
    n = max(1, int(coded.times_s.max() * rate_hz))
    return (np.arange(n) + 0.5) / rate_hz


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 200),
    gop=st.sampled_from([1, 5, 12, 25, 50, 250]),
    b_frames=st.integers(0, 3),
    rate_hz=st.sampled_from([0.5, 1.0, 2.0, 10.0]),
    tolerance_s=st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 3.0]),
    gaps_s=st.lists(st.floats(0.005, 1.5), min_size=0, max_size=40),
)
def test_the_promise_is_kept(n, gop, b_frames, rate_hz, tolerance_s, gaps_s) -> None:
    times_s = np.round(np.cumsum([0.0, *gaps_s]), 4) if gaps_s else None
    coded = table(n if times_s is None else times_s.size, gop, b_frames, times_s)
    target_s = wanted(coded, rate_hz)
    plan = plan_frames(coded, target_s, target_s, tolerance_s, 1000)
    by_time = np.sort(coded.times_s)
    exact_s = by_time[frame_shown_at(by_time, target_s)]
    got_s = coded.times_s[plan.target]
    near = np.abs(got_s - target_s) <= tolerance_s + 1e-5
    assert np.all(near | (got_s == exact_s))
    if tolerance_s == 0:
        assert np.array_equal(got_s, exact_s)
    if tolerance_s <= 0.5 / rate_hz:  # then no frame serves two steps, but those that are held
        again = np.flatnonzero(np.diff(plan.target) == 0)
        assert np.all((got_s[again] == exact_s[again]) | (got_s[again] == exact_s[again + 1]))


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 200),
    gop=st.sampled_from([1, 5, 12, 25, 250]),
    b_frames=st.integers(0, 3),
    tolerance_s=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_runs_begin_with_key_pictures_and_hold_every_target_once(
    n, gop, b_frames, tolerance_s
) -> None:
    coded = table(n, gop, b_frames)
    target_s = wanted(coded, 1.0)
    plan = plan_frames(coded, target_s, target_s, tolerance_s, 1000)
    served = [step for run in plan.ranges for _, steps in run.targets for step in steps]
    assert served == list(range(target_s.size))
    assert all(a.last + 1 < b.first for a, b in zip(plan.ranges, plan.ranges[1:], strict=False))
    for run in plan.ranges:
        assert coded.is_key[run.first]
        indices = [index for index, _ in run.targets]
        assert run.first <= min(indices)
        assert max(indices) == run.last
        for index, steps in run.targets:
            assert all(plan.target[step] == index for step in steps)


def test_key_pictures_suffice_where_each_step_has_one() -> None:
    coded = table(250, 25)
    target_s = wanted(coded, 1.0)
    plan = plan_frames(coded, target_s, target_s, 0.5, 1000)
    assert plan.strategy == "key frames"
    assert plan.n_decoded == target_s.size
    assert coded.times_s[plan.target].tolist() == list(range(target_s.size))


def test_of_several_key_pictures_the_nearest_is_taken() -> None:
    coded = table(250, 5)  # every 0.2 s
    target_s = wanted(coded, 1.0)
    plan = plan_frames(coded, target_s, target_s, 0.5, 1000)
    assert np.abs(coded.times_s[plan.target] - target_s).max() <= 0.11


def test_decoding_stops_at_the_first_picture_that_will_do() -> None:
    coded = table(500, 100)  # a key picture every 4 s: steps 1…3 need pictures in between
    target_s = wanted(coded, 1.0)
    plan = plan_frames(coded, target_s, target_s, 0.5, 1000)
    assert [run.first for run in plan.ranges] == [0, 100, 200, 300, 400]
    assert plan.ranges[0].last == 75  # the first picture of step 3
    assert plan.n_decoded < 0.8 * 500


def test_a_picture_shown_before_its_key_picture_is_reached_from_the_one_before() -> None:
    """Open groups: pictures 3 and 4 follow key picture 5 in coded order and refer to both sides."""
    times_s = np.array([0.0, 0.1, 0.2, 0.5, 0.3, 0.4, 0.6])
    is_key = np.array([True, False, False, True, False, False, False])
    coded = PacketIndex(
        times_s, (times_s * 1000).astype(np.int64), is_key, np.ones(7, np.bool_), np.full(7, 100)
    )
    plan = plan_frames(coded, np.array([0.41]), np.array([0.41]), 0.0, 1000)
    assert (plan.ranges[0].first, plan.ranges[0].last) == (0, 5)


def test_hidden_pictures_are_decoded_but_never_given() -> None:
    coded = table(100, 25)
    hidden = PacketIndex(coded.times_s, coded.ticks, coded.is_key, coded.times_s >= 0.4, coded.size)
    plan = plan_frames(hidden, np.array([0.2, 0.9]), np.array([0.5, 0.9]), 0.0, 1000)
    assert coded.times_s[plan.target].tolist() == pytest.approx([0.48, 0.88])
    assert plan.ranges[0].first == 0


def test_nothing_is_taken_from_outside_a_segment() -> None:
    coded = table(500, 100)
    target_s = np.arange(4) + 0.5 + 3.0  # a segment from 3 to 7 s
    plan = plan_frames(coded, target_s, target_s, 2.5, 1000, (3.0, 7.0))
    assert coded.times_s[plan.target].min() >= 3.0
    assert coded.times_s[plan.target].max() < 7.0


def test_a_wide_tolerance_over_many_key_pictures_is_planned_at_once() -> None:
    """An hour of intra-coded pictures, any of them allowed for each step: a few dozen suffice."""
    coded = table(3600, 1)
    target_s = np.arange(0.5, 140, 1.0)
    plan = plan_frames(coded, target_s, target_s, 60.0, 1000)
    assert plan.n_decoded <= target_s.size


def test_steps_without_picture_have_no_target() -> None:
    coded = table(50, 25)
    asked_s = np.array([0.5, np.nan])
    plan = plan_frames(coded, np.array([0.5, 1.5]), asked_s, 0.5, 1000)
    assert plan.target[1] == -1
    nothing = plan_frames(coded, np.array([0.5]), np.array([np.nan]), 0.5, 1000)
    assert nothing.ranges == ()


SIZE = (320, 192)
TIMES_MS = [40 * i for i in range(130)]
CODECS = {
    "libx264": ("mp4", {"bf": "3", "g": "40", "b-pyramid": "strict"}),
    "libx265": ("mp4", {"g": "40"}),
    "libvpx-vp9": ("webm", {"g": "40", "cpu-used": "8", "deadline": "realtime"}),
    "libvpx": ("webm", {"g": "40"}),
    "mpeg4": ("mp4", {"g": "12", "bf": "2"}),
    "mpeg2video": ("ts", {"g": "12", "bf": "2"}),
    "mjpeg": ("mkv", {"strict": "unofficial"}),
    "libsvtav1": ("mp4", {"g": "40", "preset": "12"}),
}


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def encoded(folder: Path, codec: str) -> Path:
    suffix, _ = CODECS[codec]
    try:
        av.codec.Codec(codec, "w")
    except ValueError:  # PyAV's UnknownCodecError
        pytest.skip(f"PyAV has no {codec} here")
    path = folder / f"a.{suffix}"
    if codec == "libsvtav1":  # 4.1.0 was once seen to wait for itself, two of them at work
        code = "import sys, tests.test_decode_plan as t; t.write(sys.argv[1], sys.argv[2])"
        try:
            subprocess.run([sys.executable, "-c", code, path, codec], timeout=60, check=True)
        except subprocess.TimeoutExpired:
            pytest.skip("SVT-AV1 did not end")
    else:
        write(path, codec)
    return path


def write(path: Path | str, codec: str) -> None:
    options = CODECS[codec][1]
    write_video(Path(path), TIMES_MS, codec=codec, options=options, size=SIZE, sound_ms=None)


@pytest.mark.parametrize("tolerance_s", [0.0, 0.1, None])
@pytest.mark.parametrize("codec", CODECS)
def test_pictures_are_those_of_decoding_everything(tmp_path, codec, tolerance_s) -> None:
    """Frames by plan against PyAV's own frame of that time: equal in time, PSNR ≥ 40 dB."""
    path = encoded(tmp_path, codec)
    clip = {"frame_rate_hz": 2.0, "frame_tolerance_s": tolerance_s, "frame_size_px": 96}
    chunks, report = decode(path, clip=clip, strategy="plan")
    assert report.decode_strategy in ("key frames", "parts", "read through")
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    zero_s = float(frames[0].pts * frames[0].time_base)
    by_time = {round(float(f.pts * f.time_base) - zero_s, 4): f for f in frames}
    for t, time_s in enumerate(chunks[0].frame_times_s):
        frame = by_time[min(by_time, key=lambda known: abs(known - time_s))]
        expected = frame.reformat(96, 96, "rgb24", interpolation="BICUBIC").to_ndarray()
        assert psnr(chunks[0].frames[t].transpose(1, 2, 0), expected) >= 40


def test_leaving_out_the_loop_filter_changes_pictures_a_little(tmp_path) -> None:
    """Few bits make strong block edges, which the filter smooths."""
    rng = np.random.default_rng(0)
    path = tmp_path / "noisy.mp4"
    with ClipWriter(path, SIZE, Fraction(25), None, {"qp": "40"}) as writer:
        for number in range(60):
            noise = rng.integers(0, 120, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.uint8)
            writer.add_frame(np.kron(noise, np.ones((8, 8, 1), np.uint8)), number)
    with_filter, without = (
        decode(path, clip={"loop_filter": on}, strategy="plan")[0][0].frames for on in (True, False)
    )
    difference = np.abs(with_filter.astype(int) - without.astype(int)).mean()
    assert 0 < difference < 10


def reader(path: Path, coded: PacketIndex | None = None) -> PlannedReader:
    _, packet_times = examine_cached(str(path), LimitSettings())
    assert packet_times.packet_index is not None
    target_s = np.arange(5) + 0.5
    plan = plan_frames(packet_times.packet_index, target_s, target_s, 0.5, 1000)
    return PlannedReader(str(path), (64, 64), 0, coded or packet_times.packet_index, plan)


def test_a_file_that_changed_since_it_was_planned_is_noticed(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    planned = reader(path)
    write_video(path, [41 * i for i in range(130)])
    with pytest.raises(PlanMismatchError, match="differ from those"):
        list(planned.read(np.arange(5) + 0.5))
    fewer = write_video(tmp_path / "b.mkv", [100 * i for i in range(52)])
    planned = reader(fewer)
    write_video(fewer, [100 * i for i in range(9)])
    with pytest.raises(PlanMismatchError, match=r"end before the plan does|did not return"):
        list(planned.read(np.arange(5) + 0.5))


def test_frames_that_do_not_come_out_are_noticed(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    planned = reader(path)
    planned._decode_some = lambda *_: True  # type: ignore[method-assign]
    with pytest.raises(PlanMismatchError, match="did not return"):
        list(planned.read(np.arange(5) + 0.5))


def test_a_broken_plan_is_replaced_by_reading_every_frame(tmp_path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    whole, _ = decode(path, strategy="every")

    def broken(self, times_s):
        yield from list(reader_read(self, times_s))[:2]
        raise PlanMismatchError("as it happens")

    reader_read = PlannedReader.read
    monkeypatch.setattr(PlannedReader, "read", broken)
    chunks, report = decode(path)
    assert report.decode_strategy == "every frame"
    assert report.fallback_reason == "as it happens"
    assert np.array_equal(chunks[0].frames, whole[0].frames)


def test_frames_are_asked_for_in_parts(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    at_once = list(reader(path).read(np.arange(5) + 0.5))
    planned = reader(path)
    parts = [*planned.read(np.array([0.5, 1.5])), *planned.read(np.array([2.5, 3.5, 4.5]))]
    assert [time_s for _, time_s, _ in parts] == [time_s for _, time_s, _ in at_once]
    assert [position for position, _, _ in parts] == [0, 1, 0, 1, 2]


def test_codecs_without_true_key_pictures_are_not_planned(tmp_path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    monkeypatch.setattr(frame_reader, "_PLANNED_CODECS", frozenset())
    assert decode(path)[1].decode_strategy == "decord"
    assert decode(path, clip={"frame_tolerance_s": None})[1].decode_strategy == "every frame"
