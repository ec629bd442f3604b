"""Files of every strange kind: the status and the reason are true."""

import os
import socket
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from data_prep.clip import ClipSource
from data_prep.clips.clip_decoder import decode_clip
from data_prep.clips.file_survey import survey_file
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import MediaError, Status
from tests.helpers.media import write_video

TIMES = [40 * i for i in range(100)]


def outcome(path, **limits) -> tuple[Status, str, list]:
    """(status, reason, chunks), and that a scan says nothing worse."""
    bounds = LimitSettings(**limits)
    settings = DecodeSettings(ClipSettings(frame_size_px=64), bounds)
    chunks = decode_clip(ClipSource("x", str(path)), settings)
    got = []
    try:
        while True:
            got.append(next(chunks))
    except StopIteration as end:
        survey_file(str(path), bounds)
        return end.value.status, end.value.reason, got
    except MediaError as error:
        return error.status, str(error), []


def pictures(n: int, size=(64, 48)) -> list[Image.Image]:
    return [Image.fromarray(np.full((size[1], size[0], 3), 20 * i, np.uint8)) for i in range(n)]


def save(path, images, **options):
    images[0].save(path, save_all=len(images) > 1, append_images=images[1:], **options)
    return path


def cut(path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animated_pictures_are_videos_and_single_ones_are_not(tmp_path, suffix: str) -> None:
    moving = save(tmp_path / f"a.{suffix}", pictures(10), duration=300)
    status, reason, chunks = outcome(moving)
    assert (status, reason) == (Status.OK, "")
    assert chunks[0].video_mask.all()
    shades = [int(frame.mean()) for frame in chunks[0].frames]
    assert shades == [pytest.approx(20 * i, abs=3) for i in (1, 5, 8)]  # shown at 0.5, 1.5, 2.5 s
    still = save(tmp_path / f"s.{suffix}", pictures(1))
    assert outcome(still)[0] is Status.NOT_MEDIA


def test_a_cover_picture_is_no_video(tmp_path) -> None:
    sound = write_video(tmp_path / "a.mp3", TIMES, picture=False, audio_codec="libmp3lame")
    cover = save(tmp_path / "c.png", pictures(1))
    path = tmp_path / "with_cover.mp3"
    with av.open(str(sound)) as old, av.open(str(path), "w") as new, av.open(str(cover)) as png:
        audio = new.add_stream_from_template(old.streams.audio[0])
        picture = new.add_stream_from_template(png.streams.video[0])
        picture.disposition = av.stream.Disposition.attached_pic
        for source, target in ((png, picture), (old, audio)):
            for packet in source.demux():
                if packet.size:
                    packet.stream = target
                    new.mux(packet)
    status, _, chunks = outcome(path)
    assert status is Status.OK
    assert not chunks[0].video_mask.any()
    assert chunks[0].audio_mask.all()


def test_things_that_are_no_files(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(str(tmp_path / "ear.mp4"))
        found = {path.name: outcome(path)[:2] for path in tmp_path.iterdir()}
    assert found["pipe.mp4"][0] is Status.NOT_MEDIA
    assert found["ear.mp4"][0] is Status.NOT_MEDIA
    assert found["nowhere.mp4"] == (Status.MISSING, "a broken symbolic link")
    assert found["loop.mp4"] == (Status.MISSING, "a symbolic link that points to itself")
    assert found["folder.mp4"][0] is Status.UNREADABLE


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:4,\nv.ts\n", "ffconcat version 1.0\nfile v.ts\n"]
)
def test_lists_of_other_files_are_not_followed(tmp_path, text: str) -> None:
    write_video(tmp_path / "v.ts", TIMES)
    (tmp_path / "list.m3u8").write_text(text)
    assert outcome(tmp_path / "list.m3u8")[0] is Status.NOT_MEDIA


@pytest.mark.parametrize(
    ("suffix", "share"), [("mp4", 0.6), ("mkv", 0.6), ("flv", 0.6), ("avi", 0.6), ("wav", 0.5)]
)
def test_an_upload_that_broke_off_is_partial(tmp_path, suffix: str, share: float) -> None:
    options = {
        "mp4": {"container_options": {"movflags": "faststart"}},
        "avi": {"codec": "mpeg4", "audio_codec": "libmp3lame"},
        "wav": {"picture": False, "audio_codec": "pcm_s16le"},
    }.get(suffix, {})
    path = write_video(tmp_path / f"a.{suffix}", TIMES, sound_ms=(0, 4000), **options)
    assert outcome(path)[0] is Status.OK
    status, reason, chunks = outcome(cut(path, share))
    assert status is Status.PARTIAL
    assert " of 4.0" in reason or " of 4.1" in reason
    assert sum(chunk.n_steps for chunk in chunks) < 4


def test_sound_that_stops_half_way_is_partial_and_masked(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES, sound_ms=(0, 4000))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size and packet.pts * packet.time_base > 2:
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    status, reason, chunks = outcome(path)
    assert status is Status.PARTIAL
    assert "of sound" in reason
    assert chunks[0].audio_mask.tolist() == [True, True, False, False]
    assert chunks[0].video_mask.all()


def test_what_is_built_on_a_damaged_picture_is_no_data(tmp_path) -> None:
    """One key frame in front: after damage nothing of the rest is true."""
    path = write_video(
        tmp_path / "a.mp4", TIMES, options={"g": "250", "bf": "0", "sc_threshold": "0"}
    )
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    begin, size = places[40]
    data[begin + 4 : begin + size] = bytes(255 - b for b in data[begin + 4 : begin + size])
    path.write_bytes(data)
    status, reason, chunks = outcome(path)
    assert status is Status.PARTIAL, reason
    assert chunks[0].video_mask.tolist() == [True, True, False, False]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_a_clock_that_goes_back_is_partial(tmp_path, suffix: str) -> None:
    """Two recordings in one file, as a recorder leaves them that began anew."""
    path = write_video(tmp_path / f"a.{suffix}", TIMES)
    path.write_bytes(path.read_bytes() * 2)
    status, reason, chunks = outcome(path)
    assert status is Status.PARTIAL
    assert "go back" in reason
    assert chunks[0].n_steps == 4


def test_a_held_frame_is_no_damage(tmp_path) -> None:
    """Variable frame rate: one frame is shown for three seconds."""
    path = write_video(tmp_path / "a.mkv", [0, 40, 80, 3080, 3120, 4000])
    status, _, chunks = outcome(path)
    assert status is Status.OK
    assert chunks[0].video_mask.all()


def test_bare_pictures_without_times_get_their_rate(tmp_path) -> None:
    path = write_video(tmp_path / "a.h264", TIMES)
    status, _, chunks = outcome(path)
    assert status is Status.OK
    assert chunks[0].n_steps == 4
    assert chunks[0].video_mask.all()


def test_the_default_track_of_several(tmp_path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        tracks[0].disposition = 0
        tracks[1].disposition = av.stream.Disposition.default
        for track, level in zip(tracks, (0, 9000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), level, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(track.encode(frame))
    _, _, chunks = outcome(path)
    assert np.median(chunks[0].waveform) == pytest.approx(9000, abs=10)
    assert survey_file(str(path), LimitSettings()).n_audio_tracks == 2


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 192_000])
@pytest.mark.parametrize("layout", ["mono", "stereo", "7.1"])
def test_rates_and_channels(tmp_path, rate_hz: int, layout: str) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
        n = av.AudioLayout(layout).nb_channels
        tone = (8000 * np.sin(np.arange(2 * rate_hz) * 2 * np.pi * 440 / rate_hz)).astype(np.int16)
        data = np.ascontiguousarray(np.repeat(tone, n)[None])
        frame = av.AudioFrame.from_ndarray(data, "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        container.mux(stream.encode(frame))
    status, _, chunks = outcome(path)
    assert status is Status.OK
    wave = chunks[0].waveform[2000:-2000].astype(float)
    crossings = np.count_nonzero(np.diff(np.signbit(wave)))
    assert crossings / (wave.size / 16_000) == pytest.approx(880, rel=0.01)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"max_picture_px": 1024}, "160×96 px, over limits.max_picture_px=1024"),
        ({"max_path_chars": 16}, "limits.max_path_chars=16"),
        ({"max_streams": 1}, "2 streams, over limits.max_streams=1"),
        ({"max_declared_s": 2}, "declares 4 s, over limits.max_declared_s=2"),
        ({"max_decoded_gb": 0.001}, "over limits.max_decoded_gb=0.001"),
    ],
)
def test_a_file_over_a_limit_is_refused_and_the_limit_named(tmp_path, limits, named: str) -> None:
    path = write_video(tmp_path / "a_name_of_some_length.mp4", TIMES, sound_ms=(0, 4000))
    status, reason, chunks = outcome(path, **limits)
    assert (status, chunks) == (Status.REFUSED, [])
    assert named in reason


def test_a_cut_by_the_limit_is_said(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES)
    status, reason, chunks = outcome(path, max_duration_s=2)
    assert (status, reason) == (Status.PARTIAL, "read 2 of 4 s (limits.max_duration_s=2)")
    assert chunks[0].n_steps == 2


def test_two_ways_of_decoding_agree_on_whole_sound(tmp_path) -> None:
    """In one piece through FFmpeg, and as our stream of aligned pieces."""
    path = write_video(tmp_path / "a.mp4", TIMES, sound_ms=(0, 4000), beeps_ms=(500, 1700, 3300))
    _, _, chunks = outcome(path)
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        parts = [
            out.to_ndarray().reshape(-1)
            for frame in [*container.decode(audio=0), None]
            for out in resampler.resample(frame)
        ]
    whole = np.concatenate(parts)[: chunks[0].waveform.size]
    ours = chunks[0].waveform[: whole.size]
    assert np.abs(ours.astype(int) - whole.astype(int)).max() <= 1


# MKV does not say how long a picture is shown: after ten minutes its clock counts as broken
@pytest.mark.parametrize(("suffix", "still_s"), [("mkv", 3), ("mp4", 3), ("mp4", 11 * 60)])
def test_slides_that_stand_for_long_are_held(tmp_path, suffix: str, still_s: int) -> None:
    """With B-frames a picture is shown far from when it is decoded; that is no damage."""
    times = [1000 * still_s * i for i in range(8)]
    path = write_video(tmp_path / f"a.{suffix}", times, options={"bf": "3", "g": "50"})
    bounds = LimitSettings(max_duration_s=7 * still_s)
    clip = ClipSettings(frame_size_px=32, frame_rate_hz=0.5)
    chunks = decode_clip(ClipSource("x", str(path)), DecodeSettings(clip, bounds))
    seen = []
    while True:
        try:
            seen.append(next(chunks).video_mask)
        except StopIteration as end:
            report = end.value
            break
    assert "times" not in report.reason
    assert np.concatenate(seen).mean() > 0.8
    assert survey_file(str(path), bounds).duration_s > 6 * still_s


def test_sound_long_before_the_picture_is_named(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", TIMES, start_ms=8000, sound_ms=(0, 12_000))
    status, reason, _ = outcome(path)
    assert status is Status.PARTIAL
    assert "8.1 s of sound before the first picture are left out" in reason or "8.0 s" in reason
