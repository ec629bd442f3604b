"""What the model is given of odd files, beside what the ffmpeg command decodes of them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from data_prep.audio.channel_mix import mix_weights
from data_prep.clip import ClipSource, DecodeSummary
from data_prep.clips.clip_decoder import decode_clip
from data_prep.clips.file_survey import survey_file
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import Status
from tests.helpers.ffmpeg import ffmpeg, frames_of, sound_of
from tests.helpers.odd_picture import (
    MATRICES,
    RATE_HZ,
    H,
    W,
    annexb,
    avi,
    corners,
    encode,
    number,
    packets,
    with_matrix,
    without_rate,
)
from tests.helpers.odd_sound import clicks, level, recorded, tones

AUDIO_HZ = 16_000


def decode(
    path: Path, start_s: float | None = None, end_s: float | None = None, **clip: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray, DecodeSummary]:
    """(frames [T, H, W, C], whether there is one [T], sound [S], report)."""
    settings = {"frame_size_px": 128, "audio_rate_hz": AUDIO_HZ} | clip
    job = DecodeSettings(ClipSettings(**settings), LimitSettings())
    chunks, got = decode_clip(ClipSource("x", str(path), start_s, end_s), job), []
    try:
        while True:
            got.append(next(chunks))
    except StopIteration as end:
        frames = np.concatenate([chunk.frames for chunk in got]).transpose(0, 2, 3, 1)
        seen = np.concatenate([chunk.video_mask for chunk in got])
        return frames, seen, np.concatenate([chunk.samples for chunk in got]), end.value


# --- sound ----------------------------------------------------------------------------------------

SPEAKERS = {(3, 0xB): ("FL", "FR", "LFE"), (6, 0x3F): ("FL", "FR", "FC", "LFE", "BL", "BR"),
            (4, 0x33): ("FL", "FR", "BL", "BR"),
            (8, 0x63F): ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")}  # fmt: skip


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 32, 60, 64])
def test_every_channel_has_its_level(tmp_path, n_channels: int) -> None:
    path = recorded(tmp_path / "a.wav", tones(n_channels))
    _, _, wave, report = decode(path)
    theirs = sound_of(path, n_channels, AUDIO_HZ, "-guess_layout_max", 0)
    assert (report.status, report.reason) == (Status.OK, "")
    for c in range(n_channels):
        hz = 200 + 40 * c
        assert level(wave, hz) == pytest.approx(level(theirs[c], hz) / n_channels, abs=1e-3)


@pytest.mark.parametrize(("n_channels", "mask"), list(SPEAKERS))
def test_named_loudspeakers_are_mixed_by_name(tmp_path, n_channels: int, mask: int) -> None:
    path = recorded(tmp_path / "a.wav", tones(n_channels), mask=mask)
    _, _, wave, _ = decode(path)
    theirs = np.frombuffer(ffmpeg("-i", path, "-ac", 1, "-f", "f32le", "-"), "<f4")
    weights = mix_weights(SPEAKERS[n_channels, mask], n_channels)
    for c, weight in enumerate(weights):
        hz = 200 + 40 * c
        assert level(wave, hz) == pytest.approx(0.5 * weight, abs=1e-3)
        assert (level(theirs, hz) < 1e-3) == (weight == 0)  # effects alone are left out


def test_a_mask_of_nothing_names_no_loudspeakers(tmp_path) -> None:
    path = recorded(tmp_path / "a.wav", tones(6), mask=0)
    _, _, wave, _ = decode(path)
    assert [level(wave, 200 + 40 * c) for c in range(6)] == pytest.approx([0.5 / 6] * 6, abs=1e-3)


@pytest.mark.parametrize(
    "rate_hz", [8000, 11025, 22050, 44100, 48000, 96000, 192000, 250000, 384000, 500000]
)
def test_clicks_are_at_their_places_at_any_rate(tmp_path, rate_hz: int) -> None:
    wave = np.zeros(2 * rate_hz)
    for time_s in (0.5, 1.75):  # ten milliseconds that survive resampling
        burst = np.arange(rate_hz // 100) / rate_hz
        wave[round(time_s * rate_hz) :][: burst.size] = 0.9 * np.sin(2 * np.pi * 1000 * burst)
    path = recorded(tmp_path / "a.wav", wave[:, None], rate_hz=rate_hz)
    ours, theirs = decode(path)[2], sound_of(path, 1, AUDIO_HZ)[0]
    for time_s in (0.5, 1.75):
        begins = [np.flatnonzero(np.abs(w[round((time_s - 0.1) * AUDIO_HZ) :]) > 0.3)[0]
                  for w in (ours, theirs)]  # fmt: skip
        assert abs(begins[0] - begins[1]) <= 0.005 * AUDIO_HZ
        assert begins[0] / AUDIO_HZ == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("rate_hz", [192_000, 384_000, 500_000])
def test_ultrasound_is_heard_where_it_is_asked_for(tmp_path, rate_hz: int) -> None:
    t = np.arange(rate_hz) / rate_hz
    path = recorded(tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * 45_000 * t))[:, None],
                    rate_hz=rate_hz)  # fmt: skip
    assert np.abs(decode(path)[2][400:-400]).max() < 5e-3  # a filter rings at both ends
    wide = decode(path, audio_rate_hz=192_000)[2]
    assert level(wide, 45_000, 192_000) == pytest.approx(0.5, abs=5e-3)
    _, _, slow, report = decode(path, time_expansion=10)
    assert level(slow, 4_500) == pytest.approx(0.5, abs=5e-3)
    assert (report.n_steps, report.duration_s) == (10, 1.0)


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize("db", [12, 0, -40, -85, -100])
def test_floating_point_keeps_every_level(tmp_path, kind: str, db: float) -> None:
    wave = tones(1)[:, 0] * 2 * 10 ** (db / 20)
    path = recorded(tmp_path / "a.wav", wave[:, None], kind)
    _, _, ours, report = decode(path)
    theirs = sound_of(path, 1, AUDIO_HZ)[0]
    assert report.status is Status.OK
    assert np.abs(ours - theirs).max() < 1e-4 * 10 ** (db / 20)


@pytest.mark.parametrize("kind", ["<u1", "<i2", "<i4"])
def test_whole_numbers_of_any_width(tmp_path, kind: str) -> None:
    path = recorded(tmp_path / "a.wav", tones(1), kind)
    ours, theirs = decode(path)[2], sound_of(path, 1, AUDIO_HZ)[0]
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp3", ["-c:a", "libmp3lame"]), ("a.m4a", ["-c:a", "aac"]), ("a.opus", []),
        ("a.ogg", ["-c:a", "libvorbis"]), ("a.flac", []), ("a.mka", ["-c:a", "aac"]),
        ("a.mov", ["-c:a", "pcm_s24be"]), ("a.aiff", []), ("a.mp2", ["-c:a", "mp2"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("part", [(None, None), (24.0, 29.0)])
def test_coded_sound_is_at_its_place_from_the_start_and_after_seeking(
    tmp_path, name: str, options: list[str], part: tuple[float | None, float | None]
) -> None:
    rate_hz, at_s = 48_000, (1.0, 25.5, 28.0)
    wave = clicks(30, (), rate_hz)
    for time_s in at_s:
        begin = round(time_s * rate_hz)
        wave[begin : begin + 960] = 0.8 * np.sin(np.arange(960) * 0.2)
    source = recorded(tmp_path / "s.wav", wave[:, None], rate_hz=rate_hz)
    ffmpeg("-i", source, *options, tmp_path / name)
    ours = decode(tmp_path / name, *part)[2]
    theirs = sound_of(tmp_path / name, 1, AUDIO_HZ)[0]
    for time_s in at_s:
        if part[0] is not None and not part[0] < time_s < (part[1] or 0):
            continue
        first = round((time_s - (part[0] or 0) - 0.2) * AUDIO_HZ)
        begin = np.flatnonzero(np.abs(ours[first:]) > 0.3)[0] / AUDIO_HZ
        other = np.flatnonzero(np.abs(theirs[round((time_s - 0.2) * AUDIO_HZ) :]) > 0.3)[0]
        assert begin == pytest.approx(other / AUDIO_HZ, abs=0.005)
        assert begin == pytest.approx(0.2, abs=0.03)  # MP3 and AAC may keep their coder's delay


def test_a_channel_can_be_chosen_and_opposite_phase_is_noticed(tmp_path) -> None:
    tone = tones(1)[:, 0]
    path = recorded(tmp_path / "a.wav", np.stack([tone, -0.95 * tone], 1))
    _, _, wave, report = decode(path)
    assert level(wave, 200) == pytest.approx(0.5, abs=1e-3)
    assert "opposite phase), so channel 1 alone is used" in report.reason
    assert report.status is Status.OK
    quiet = recorded(tmp_path / "b.wav", np.stack([0.1 * tone, tone], 1))
    found = [level(decode(quiet, audio_channel=c)[2], 200) for c in ("mix", "loudest", 1, 2)]
    assert found == pytest.approx([0.275, 0.5, 0.05, 0.5], abs=1e-3)
    louder = decode(quiet, audio_channel=1, audio_gain_db=20)[2]
    assert level(louder, 200) == pytest.approx(0.5, abs=1e-3)


def test_channels_are_chosen_by_the_part_that_is_heard(tmp_path) -> None:
    tone = tones(1, 19.0)[:, 0]
    stereo = np.stack([tone, -tone], 1)
    stereo[11 * AUDIO_HZ :, 0] = 0  # from then on sound is in the second channel alone
    path = recorded(tmp_path / "a.wav", stereo)
    _, _, wave, report = decode(path, 12.0, 18.0)
    assert level(wave, 200) == pytest.approx(0.25, abs=1e-3)
    assert report.reason == ""
    assert "opposite phase" in decode(path, 0.0, 5.0)[3].reason


def test_a_channel_without_numbers_is_named_and_the_other_heard(tmp_path) -> None:
    wave = np.stack([tones(1)[:, 0], np.full(AUDIO_HZ, np.nan)], 1)
    _, _, ours, report = decode(recorded(tmp_path / "a.wav", wave, "<f4"))
    assert level(ours, 200) == pytest.approx(0.5, abs=1e-3)
    assert "1.000 s of its sound are not finite" in report.reason
    later = tones(1, 4.0)
    later[AUDIO_HZ : AUDIO_HZ + 1600] = np.nan
    path = recorded(tmp_path / "b.wav", later, "<f4")
    assert decode(path, 2.0, 3.0)[3].reason == ""  # it lies outside of the part
    assert "0.100 s" in decode(path, 0.5, 2.0)[3].reason


def test_a_channel_that_is_not_there_is_named(tmp_path) -> None:
    path = recorded(tmp_path / "a.wav", tones(2))
    with pytest.raises(Exception, match=r"it has 2 channels .clip.audio_channel=3"):
        decode(path, audio_channel=3)


def test_what_is_no_number_is_not_heard_and_named(tmp_path) -> None:
    wave = tones(1, 2.0)
    wave[8000:9600] = np.nan
    wave[20000] = np.inf
    path = recorded(tmp_path / "a.wav", wave, "<f4")
    settings = ClipSettings(frame_size_px=32, frame_rate_hz=10)
    chunks = decode_clip(ClipSource("x", str(path)), DecodeSettings(settings, LimitSettings()))
    chunk = next(chunks)
    assert np.abs(chunk.samples).max() < 0.51
    assert chunk.audio_mask.tolist() == [True] * 5 + [False] + [True] * 14
    with pytest.raises(StopIteration) as end:
        next(chunks)
    assert "0.100 s of its sound are not finite (NaN or infinity) and are left out" in (
        end.value.value.reason
    )


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.avi", "a.mkv"])
def test_tags_that_are_no_utf8_do_not_decide(tmp_path, name: str) -> None:
    source = recorded(tmp_path / "s.wav", tones(1))
    title = "M\u00fcller-Stra\u00dfe"
    ffmpeg("-i", source, "-metadata", f"title={title}", "-id3v2_version", 3, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    utf8 = title.encode()
    assert utf8 in data or name == "a.mp3"
    if utf8 in data:  # as long, and no UTF-8
        (tmp_path / name).write_bytes(data.replace(utf8, b"M\xfc\xfcller-Stra\xdf\xdfe"))
    _, _, wave, report = decode(tmp_path / name)
    assert (report.status, report.reason) == (Status.OK, "")
    assert np.abs(wave).max() > 0.3


@pytest.mark.parametrize("ms", [20, 50, 60, 70, 99])
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a"])
def test_very_short_sound_is_sound(tmp_path, ms: int, suffix: str) -> None:
    source = recorded(tmp_path / "s.wav", tones(1)[: 16 * ms])
    ffmpeg("-i", source, tmp_path / f"a.{suffix}")
    _, _, wave, report = decode(tmp_path / f"a.{suffix}")
    assert report.has_audio
    assert np.abs(wave).max() > 0.2


# --- picture --------------------------------------------------------------------------------------


def shown(path: Path, n: int, **clip: object) -> tuple[list[int], DecodeSummary]:
    """The numbers shown in the middle of each step of 1/25 s, exactly."""
    frames, seen, _, report = decode(
        path, frame_rate_hz=RATE_HZ, frame_tolerance_s=0, frame_size_px=W, **clip
    )
    assert seen.all()
    assert len(frames) == n
    return [number(frame) for frame in frames], report


@pytest.mark.parametrize("name", list(MATRICES))
def test_pictures_stand_as_the_command_shows_them(tmp_path, name: str) -> None:
    source = encode(tmp_path / "s.mp4", "-c:v", "libx264", "-crf", "10", numbers=range(25))
    path = with_matrix(source, tmp_path / "a.mp4", name)
    turned = name in ("clockwise", "counter_clockwise", "transposed", "transverse")
    theirs = frames_of(path, (H, W) if turned else (W, H), "-frames:v", "1")[0]
    for tolerance_s in (None, 0.0):  # by plan, and exact
        ours = decode(path, frame_tolerance_s=tolerance_s)[0][0]
        assert corners(ours) == corners(theirs)


@pytest.mark.parametrize("rate", ["2", "10", "24", "30000/1001", "50"])
@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc"),
                                               ("mpeg2video", "m2v")])  # fmt: skip
def test_raw_streams_have_the_rate_that_they_state(
    tmp_path, rate: str, codec: str, suffix: str
) -> None:
    if (codec, rate) in (("mpeg2video", "2"), ("mpeg2video", "10")):
        pytest.skip("MPEG-2 has no such rate")
    hz = eval(rate)
    n = max(3, round(1.2 * hz))
    quiet = ["-x265-params", "log-level=none"] if codec == "libx265" else []
    path = encode(tmp_path / f"a.{suffix}", "-c:v", codec, *quiet, numbers=range(n), rate=rate)
    frames, _, _, report = decode(path, frame_rate_hz=5, frame_tolerance_s=0, frame_size_px=W)
    assert (report.status, report.reason) == (Status.OK, "")
    assert report.duration_s == pytest.approx(n / hz, rel=0.02)
    wanted = [min(n - 1, int((t + 0.5) / 5 * hz + 1e-6)) for t in range(len(frames))]
    assert [number(frame) for frame in frames] == wanted


def test_where_no_rate_is_stated_a_setting_decides_and_the_row_says_so(tmp_path) -> None:
    source = encode(tmp_path / "s.h264", "-c:v", "libx264", numbers=range(40), rate=10)
    path = tmp_path / "a.h264"
    path.write_bytes(without_rate(source.read_bytes()))
    numbers, report = shown(path, 40)
    assert numbers == list(range(40))
    assert report.reason == (
        "its stream states no frame rate: 25 per second are assumed (clip.raw_frame_rate_hz)"
    )
    slow = decode(path, raw_frame_rate_hz=10)[3]
    assert slow.duration_s == pytest.approx(4.0, abs=0.15)
    assert "10 per second are assumed" in slow.reason


B_FRAMES = ["-bf", "2", "-g", "30"]
IN_ORDER = {
    "h264.avi": ["-c:v", "libx264", *B_FRAMES], "mpeg4.avi": ["-c:v", "mpeg4", *B_FRAMES],
    "xvid.avi": ["-c:v", "libxvid", "-bf", "0"], "mpeg2.avi": ["-c:v", "mpeg2video", *B_FRAMES],
    "h264.asf": ["-c:v", "libx264", *B_FRAMES], "mpeg4.asf": ["-c:v", "mpeg4", *B_FRAMES],
    "h264.mxf": ["-c:v", "libx264", *B_FRAMES], "h264.mpg": ["-c:v", "libx264", *B_FRAMES],
    "h264.mkv": ["-c:v", "libx264", *B_FRAMES], "h264.flv": ["-c:v", "libx264", *B_FRAMES],
    "h264.ts": ["-c:v", "libx264", *B_FRAMES], "h264.nut": ["-c:v", "libx264", *B_FRAMES],
}  # fmt: skip


@pytest.mark.parametrize("name", list(IN_ORDER))
def test_pictures_come_in_the_order_they_are_shown(tmp_path, name: str) -> None:
    path = encode(tmp_path / name, *IN_ORDER[name], numbers=range(100))
    numbers, report = shown(path, 100)
    assert report.status is Status.OK
    assert numbers == list(range(100))


def test_b_frames_in_an_avi_written_by_hand(tmp_path) -> None:
    source = encode(tmp_path / "s.mkv", "-c:v", "libx264", "-bf", "3", "-g", "30")
    path = avi(tmp_path / "a.avi", annexb(source), b"H264", 30)
    assert shown(path, 60)[0] == list(range(60))


def test_pictures_left_out_of_an_avi_mean_the_same_again(tmp_path) -> None:
    source = packets(encode(tmp_path / "s.mkv", "-c:v", "mpeg4", "-g", "1", numbers=range(120)))
    held = avi(tmp_path / "a.avi", [*source[:100], *[b""] * 20], b"XVID", 1)
    numbers, report = shown(held, 120)
    assert (report.status, report.reason, report.duration_s) == (Status.OK, "", pytest.approx(4.8))
    assert numbers == [*range(100), *[99] * 20]
    sparse = avi(tmp_path / "b.avi", [c for k in range(4) for c in (source[k], *[b""] * 74)],
                 b"XVID", 1)  # fmt: skip
    numbers, report = shown(sparse, 300)
    assert report.status is Status.OK
    assert numbers == [k for k in range(4) for _ in range(75)]
    data = bytearray(held.read_bytes())
    at = data.index(b"strh") + 8 + 32
    struct.pack_into("<I", data, at, 1200)  # a header that counts what neither index nor data hold
    (tmp_path / "d.avi").write_bytes(data)
    assert decode(tmp_path / "d.avi")[3].status is Status.PARTIAL
    cut = tmp_path / "c.avi"
    cut.write_bytes(held.read_bytes()[: held.stat().st_size // 2])
    assert decode(cut)[3].status is Status.PARTIAL


def test_fragments_whose_first_picture_is_late(tmp_path) -> None:
    source = encode(tmp_path / "s.mp4", "-c:v", "libx264", *B_FRAMES, numbers=range(100))
    sound = recorded(tmp_path / "s.wav", tones(1, 4.0))
    path = tmp_path / "a.mp4"
    ffmpeg("-itsoffset", 0.2, "-i", source, "-i", sound, "-c:v", "copy", "-c:a", "aac",
           "-movflags", "frag_keyframe+empty_moov+delay_moov", path)  # fmt: skip
    numbers, report = shown(path, 100)
    assert report.status is Status.OK
    assert numbers == list(range(100))


@pytest.mark.parametrize(
    ("n_tracks", "layout", "is_told"), [(4, "mono", True), (1, "mono", False), (2, "stereo", False)]
)
def test_microphones_in_tracks_of_their_own_are_pointed_out(
    tmp_path, n_tracks: int, layout: str, is_told: bool
) -> None:
    """Mono tracks are as field mixers write them; two stereo tracks are languages."""
    path = tmp_path / "a.mov"
    tone = f"sine=440:duration=1,aformat=channel_layouts={layout}"
    inputs = [word for _ in range(n_tracks) for word in ("-f", "lavfi", "-i", tone)]
    maps = [word for k in range(n_tracks) for word in ("-map", k)]
    ffmpeg(*inputs, *maps, "-c:a", "pcm_s16le", path)
    expected = ("it has 4 sound tracks, of which only the first is used",) if is_told else ()
    assert survey_file(str(path), LimitSettings()).remarks == expected


@pytest.mark.parametrize(("share", "is_told"), [(0.0, False), (0.05, False), (0.5, True)])
def test_opposite_phase_in_a_part_is_noticed(tmp_path, share: float, is_told: bool) -> None:
    """A cable swapped half-way: the first ten seconds, by which it is decided, are right."""
    noise = np.random.default_rng(0).normal(size=16_000 * 24) / 10
    second = noise.copy()
    second[noise.size - round(share * noise.size) :] *= -1
    path = recorded(tmp_path / "a.wav", np.stack([noise, second], axis=1))
    *_, report = decode(path)
    assert report.status is Status.OK
    assert ("cancel each other in the mix for 12.0 s" in report.reason) == is_told
    assert is_told or report.reason == ""


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<f4", "u1"])
@pytest.mark.parametrize("n_channels", [65, 128, 512])
def test_more_channels_than_ffmpeg_mixes_are_read(tmp_path, n_channels: int, kind: str) -> None:
    """The last one alone has a tone."""
    channels = np.zeros((16_000, n_channels))
    channels[:, -1] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    path = recorded(tmp_path / "a.wav", channels, kind)
    for channel, expected in ((n_channels, 0.5), ("loudest", 0.5), ("mix", 0.5 / n_channels)):
        *_, wave, report = decode(path, audio_channel=channel)
        assert (report.status, report.reason) == (Status.OK, "")
        assert level(wave, 440) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("rate_hz", [5.0, 10.0])
def test_the_last_picture_of_a_raw_stream_lasts_as_long_as_the_others(tmp_path, rate_hz) -> None:
    path = tmp_path / "a.mjpeg"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-c:v", "mjpeg",
           "-f", "mjpeg", path)  # fmt: skip
    *_, report = decode(path, raw_frame_rate_hz=rate_hz)
    assert report.duration_s == pytest.approx(50 / rate_hz)


def test_sound_that_ends_before_a_block_is_full_is_mixed_too(tmp_path) -> None:
    """Its rest comes when no frame does any more; coded frames have a length of their own."""
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(1.37 * 48_000)) / 48_000)
    raw = recorded(tmp_path / "a.wav", np.stack([tone, tone], axis=1), rate_hz=48_000)
    for name in ("a.m4a", "a.ogg", "a.flac", "a.mka"):
        ffmpeg("-i", raw, "-ac", 2, tmp_path / name)
        *_, wave, report = decode(tmp_path / name)
        assert (report.status, report.reason) == (Status.OK, "")
        assert level(wave[:16_000], 440) == pytest.approx(0.4, rel=0.05)
