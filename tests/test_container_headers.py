"""Declared lengths from real files, whole and cut; damaged headers give nothing, and no error."""

from __future__ import annotations

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.media.container_headers import missing_end, mp3_length_s, mp4_lengths_s, wav_length_s
from tests.helpers.media import remux, write_video

TIMES = [40 * i for i in range(100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("headers")


def sound(path, codec):
    return write_video(path, TIMES, sound_ms=(0, 4000), audio_codec=codec, picture=False)


def cut(path, share: float = 0.5):
    short = path.with_name(f"cut_{path.name}")
    data = path.read_bytes()
    short.write_bytes(data[: int(len(data) * share)])
    return short


def test_wav_tells_its_length_also_when_cut(folder) -> None:
    path = sound(folder / "a.wav", "pcm_s16le")
    assert wav_length_s(str(path)) == pytest.approx(4.0, abs=0.1)
    assert wav_length_s(str(cut(path))) == wav_length_s(str(path))


def test_mp3_tells_its_length_also_when_cut(folder) -> None:
    path = sound(folder / "a.mp3", "libmp3lame")
    assert mp3_length_s(str(path)) == pytest.approx(4.0, abs=0.15)
    assert mp3_length_s(str(cut(path))) == mp3_length_s(str(path))


def test_mp4_tells_the_length_of_each_track(folder) -> None:
    path = write_video(folder / "a.mp4", TIMES, sound_ms=(0, 3000))
    picture_s, sound_s = mp4_lengths_s(str(path))
    assert picture_s == pytest.approx(4.0, abs=0.1)
    assert sound_s == pytest.approx(3.0, abs=0.15)


def test_what_an_edit_list_hides_is_not_declared(folder) -> None:
    whole = write_video(folder / "whole.mp4", TIMES)
    trimmed = remux(whole, folder / "trimmed.mp4", earlier_ms=1500)
    assert mp4_lengths_s(str(trimmed))[0] == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("a.gif", "gif", {"codec": "gif"}),
        ("a.ogg", "ogg", {"picture": False, "audio_codec": "libopus", "sound_ms": (0, 4000)}),
    ],
)
def test_a_missing_end_is_noticed(folder, name: str, container: str, options) -> None:
    path = write_video(folder / name, TIMES, **options)
    assert missing_end(str(path), container) == ""
    assert missing_end(str(cut(path)), container)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_bytes_are_survived(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x"
    begin = data.draw(st.sampled_from(
        [b"", b"RIFF\0\0\0\0WAVEfmt ", b"ID3\4\0\0\0\0\0\5", b"\xff\xfb\x90\0Xing",
         b"\0\0\0\x40moov\0\0\0\x38trak\0\0\0\x30mdia\0\0\0\x20mdhd", b"\0\0\0\1moov"]
    ))  # fmt: skip
    path.write_bytes(begin + data.draw(st.binary(max_size=80)))
    for read in (wav_length_s, mp3_length_s):
        length = read(str(path))
        assert length is None or length >= 0
    assert all(length is None or length >= 0 for length in mp4_lengths_s(str(path)))
    for container in ("gif", "apng", "ogg", "mp4"):
        missing_end(str(path), container)


def test_ffmpeg_reads_what_we_wrote(folder) -> None:
    with av.open(str(folder / "a.wav")) as container:
        assert container.duration
