"""Planned reading gives the very pictures that decoding everything gives, in every codec."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.clips.decode import look_into
from data_prep.frames import frame_source
from data_prep.frames.frame_plan import plan_frames
from data_prep.frames.planned_frames import PlanBrokenError, PlannedFrames
from data_prep.media.coded import CodedPictures
from data_prep.media.pyav_media import ClipWriter
from data_prep.settings import LimitSettings
from tests.media import write_video
from tests.test_decode import decode

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
    suffix, options = CODECS[codec]
    try:
        av.codec.Codec(codec, "w")
    except ValueError:  # PyAV's UnknownCodecError
        pytest.skip(f"PyAV has no {codec} here")
    return write_video(
        folder / f"a.{suffix}", TIMES_MS, codec=codec, options=options, size=SIZE,
        sound_ms=None,
    )  # fmt: skip


@pytest.mark.parametrize("tolerance_s", [0.0, 0.1, None])
@pytest.mark.parametrize("codec", CODECS)
def test_pictures_are_those_of_decoding_everything(tmp_path, codec, tolerance_s) -> None:
    """Frames by plan against PyAV's own frame of that time: equal in time, PSNR ≥ 40 dB."""
    path = encoded(tmp_path, codec)
    clip = {"frame_rate_hz": 2.0, "frame_tolerance_s": tolerance_s, "frame_size_px": 96}
    chunks, report = decode(path, clip=clip, way="plan")
    assert report.frame_way in ("key frames", "parts", "read through")
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
            writer.picture(np.kron(noise, np.ones((8, 8, 1), np.uint8)), number)
    with_filter, without = (
        decode(path, clip={"loop_filter": on}, way="plan")[0][0].frames for on in (True, False)
    )
    difference = np.abs(with_filter.astype(int) - without.astype(int)).mean()
    assert 0 < difference < 10


def reader(path: Path, coded: CodedPictures | None = None) -> PlannedFrames:
    _, timeline = look_into(str(path), LimitSettings())
    assert timeline.coded is not None
    wanted_s = np.arange(5) + 0.5
    plan = plan_frames(timeline.coded, wanted_s, wanted_s, 0.5, 1000)
    return PlannedFrames(str(path), (64, 64), 0, coded or timeline.coded, plan)


def test_a_file_that_changed_since_it_was_planned_is_noticed(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    planned = reader(path)
    write_video(path, [41 * i for i in range(130)])
    with pytest.raises(PlanBrokenError, match="not those of the first reading"):
        list(planned.read(np.arange(5) + 0.5))
    fewer = write_video(tmp_path / "b.mkv", [100 * i for i in range(52)])
    planned = reader(fewer)
    write_video(fewer, [100 * i for i in range(9)])
    with pytest.raises(PlanBrokenError, match=r"end before the plan does|did not come out"):
        list(planned.read(np.arange(5) + 0.5))


def test_frames_that_do_not_come_out_are_noticed(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    planned = reader(path)
    planned._decode_some = lambda *_: True  # type: ignore[method-assign]
    with pytest.raises(PlanBrokenError, match="did not come out"):
        list(planned.read(np.arange(5) + 0.5))


def test_a_broken_plan_is_replaced_by_reading_every_frame(tmp_path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES_MS)
    whole, _ = decode(path, way="every")

    def broken(self, times_s):
        yield from list(reader_read(self, times_s))[:2]
        raise PlanBrokenError("as it happens")

    reader_read = PlannedFrames.read
    monkeypatch.setattr(PlannedFrames, "read", broken)
    chunks, report = decode(path)
    assert report.frame_way == "every frame"
    assert report.plan_broken == "as it happens"
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
    monkeypatch.setattr(frame_source, "_PLANNED_CODECS", frozenset())
    assert decode(path)[1].frame_way == "decord"
    assert decode(path, clip={"frame_tolerance_s": None})[1].frame_way == "every frame"
