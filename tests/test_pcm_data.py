"""Headers that end before the sound does: all of it is read, and the row says so."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from data_prep.clip import ClipSource
from data_prep.clips.clip_decoder import decode_clip
from data_prep.clips.file_survey import survey_file
from data_prep.media import pcm_data
from data_prep.media.pcm_data import PcmFile, pcm_view
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import Status
from tests.helpers import odd_sound
from tests.helpers.odd_sound import OPEN, RATE_HZ, aiff, au, caf, chunk, clicks, pcm, w64, wav

SECONDS, SHORT_S = 3.0, 1.8
WAVE = clicks(SECONDS, (0.5, 2.75))
LITTLE, BIG = pcm(WAVE), pcm(WAVE, ">i2")
SHORT = round(SHORT_S * RATE_HZ) * 2
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"test")

LYING = {
    "short.wav": lambda p: wav(p, LITTLE, SHORT),
    "odd.wav": lambda p: wav(p, LITTLE, SHORT + 1),
    "wrapped.wav": lambda p: wav(p, LITTLE, 1000),
    "short then list.wav": lambda p: wav(p, LITTLE, SHORT, LIST),
    "rf64.wav": lambda p: wav(p, LITTLE, OPEN, magic=b"RF64", long_length=SHORT),
    "bw64.wav": lambda p: wav(p, LITTLE, OPEN, magic=b"BW64", long_length=SHORT),
    "short.w64": lambda p: w64(p, LITTLE, SHORT + 24),
    "short.aiff": lambda p: aiff(p, BIG, SHORT + 8, SHORT // 2),
    "short.caf": lambda p: caf(p, BIG, SHORT + 4),
    "short.au": lambda p: au(p, BIG, SHORT),
}
OPEN_ENDED = {
    "zero.wav": lambda p: wav(p, LITTLE, 0),
    "open.wav": lambda p: wav(p, LITTLE, OPEN),
    "no ds64.wav": lambda p: wav(p, LITTLE, OPEN, magic=b"RF64"),
    "ds64 zero.wav": lambda p: wav(p, LITTLE, OPEN, magic=b"RF64", long_length=0),
    "ds64 open.wav": lambda p: wav(p, LITTLE, OPEN, magic=b"RF64", long_length=2**64 - 1),
    "zero.w64": lambda p: w64(p, LITTLE, 0),
    "head.w64": lambda p: w64(p, LITTLE, 24),
    "zero.aiff": lambda p: aiff(p, BIG, 0, 0),
    "eight.aiff": lambda p: aiff(p, BIG, 8, 0),
    "open.aiff": lambda p: aiff(p, BIG, OPEN, OPEN),
    "open.caf": lambda p: caf(p, BIG, -1),
    "zero.caf": lambda p: caf(p, BIG, 0),
    "open.au": lambda p: au(p, BIG, OPEN),
    "zero.au": lambda p: au(p, BIG, 0),
}
HONEST = {
    "whole.wav": lambda p: wav(p, LITTLE),
    "list.wav": lambda p: wav(p, LITTLE, tail=LIST),
    "list before.wav": lambda p: wav(p, LITTLE, before=LIST),
    "cut list.wav": lambda p: wav(p, LITTLE, tail=b"LIST" + struct.pack("<I", 400) + b"INFO"),
    "unknown chunk.wav": lambda p: wav(p, LITTLE, tail=chunk(b"xyZ1", b"a" * 10)),
    "id3v1.wav": lambda p: wav(p, LITTLE, tail=b"TAG" + bytes(125)),
    "text.wav": lambda p: wav(p, LITTLE, tail=b"written by a tool, 92 bytes"),
    "zeros.wav": lambda p: wav(p, LITTLE, tail=bytes(5000)),
    "erased.wav": lambda p: wav(p, LITTLE, tail=b"\xff" * 5000),
    "two chunks.wav": lambda p: wav(p, LITTLE[:SHORT], tail=chunk(b"data", LITTLE[SHORT:])),
    "three chunks.wav": lambda p: wav(
        p,
        LITTLE[:2000],
        tail=chunk(b"data", LITTLE[2000:SHORT]) + LIST + chunk(b"data", LITTLE[SHORT:]),
    ),
    "no pad.wav": lambda p: wav(p, LITTLE, before=b"junk" + struct.pack("<I", 3) + b"abc"),
    "wrong byte rate.wav": lambda p: wav(
        p, LITTLE, fmt=struct.pack("<HHIIHH", 1, 1, RATE_HZ, 1000, 2, 16)
    ),
    "rf64.wav": lambda p: wav(p, LITTLE, OPEN, LIST, b"RF64", len(LITTLE)),
    "whole.w64": lambda p: w64(p, LITTLE),
    "whole.aiff": lambda p: aiff(p, BIG),
    "whole.caf": lambda p: caf(p, BIG),
    "whole.au": lambda p: au(p, BIG),
}


def read(path) -> tuple[np.ndarray, Status, str, float]:
    settings = DecodeSettings(ClipSettings(frame_size_px=32), LimitSettings())
    chunks, waves = decode_clip(ClipSource("x", str(path)), settings), []
    try:
        while True:
            waves.append(next(chunks).samples)
    except StopIteration as end:
        report = end.value
    return np.concatenate(waves), report.status, report.reason, report.duration_s


@pytest.mark.parametrize("name", [*LYING, *OPEN_ENDED, *(f"honest {name}" for name in HONEST)])
def test_all_of_the_sound_is_read_at_its_place(tmp_path, name: str) -> None:
    make = LYING.get(name) or OPEN_ENDED.get(name) or HONEST[name.removeprefix("honest ")]
    path = make(tmp_path / name)
    wave, status, reason, duration_s = read(path)
    assert status is Status.OK
    assert duration_s == pytest.approx(SECONDS, abs=0.01)
    assert (np.flatnonzero(wave > 0.5) / RATE_HZ).tolist() == [0.5, 2.75]
    found = survey_file(str(path), LimitSettings())
    assert found.duration_s == pytest.approx(SECONDS, abs=0.01)
    assert found.problem == ""
    if name in LYING:
        declared = "0.03" if name == "wrapped.wav" else f"{SHORT_S:.2f}"
        assert reason == (
            f"its header declares {declared} s of sound, the file holds 3.00 s: all of it is read"
        )
        assert found.remarks == (reason,)
    else:
        assert reason == ""


AIFC = {
    b"NONE": (pcm(WAVE, ">i2"), 16), b"twos": (pcm(WAVE, ">i2"), 16),
    b"sowt": (pcm(WAVE), 16), b"fl32": (WAVE.astype(">f4").tobytes(), 32),
    b"FL64": (WAVE.astype(">f8").tobytes(), 64),
    b"in24": (b"".join(struct.pack(">i", round(2**31 * 0.99 * x))[:3] for x in WAVE), 24),
    # 0xFF is silence in mu-law and 0x80 its loudest sample, 0xD5 and 0xAA in A-law
    b"ulaw": (np.where(WAVE > 0.5, 0x80, 0xFF).astype(np.uint8).tobytes(), 16),
    b"alaw": (np.where(WAVE > 0.5, 0xAA, 0xD5).astype(np.uint8).tobytes(), 16),
    b"raw ": (np.where(WAVE > 0.5, 0xFF, 0x80).astype(np.uint8).tobytes(), 8),
}  # fmt: skip


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("kind", AIFC)
def test_aiff_of_more_than_32_bits_can_count_is_read_whole(
    tmp_path, monkeypatch, kind: bytes, is_large: bool
) -> None:
    """The lengths that do not fit are those of a small file here: only the bound is moved."""
    if is_large:
        monkeypatch.setattr(pcm_data, "_AIFF_ROOM_BYTES", 1000)
    data, bits = AIFC[kind]
    path = aiff(tmp_path / "a.aifc", data, 1008, 500, kind=kind, bits=bits)
    view = pcm_view(str(path))
    assert view is not None
    other = b"RIFF" if kind == b"raw " else b"caff"
    assert view.head[:4] == (other if is_large else b"FORM")
    wave, status, reason, duration_s = read(path)
    assert status is Status.OK
    assert "the file holds 3.00 s: all of it is read" in reason
    assert duration_s == pytest.approx(SECONDS, abs=0.01)
    assert (np.flatnonzero(wave > 0.5) / RATE_HZ).tolist() == [0.5, 2.75]


@pytest.mark.parametrize("bits", [8, 12, 16, 20, 24, 32])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_large_aiff_has_the_samples_of_a_small_one(
    tmp_path, monkeypatch, n_channels: int, bits: int
) -> None:
    sample_bytes = -(-bits // 8)
    rng = np.random.default_rng(bits)
    data = rng.integers(0, 256, RATE_HZ * n_channels * sample_bytes, np.uint8).tobytes()
    path = aiff(tmp_path / "a.aiff", data, 1008, 500, bits=bits, n_channels=n_channels)
    small, *_ = read(path)
    monkeypatch.setattr(pcm_data, "_AIFF_ROOM_BYTES", 1000)
    large, *_ = read(path.rename(tmp_path / "b.aiff"))  # what is known of a name is remembered
    assert small.size >= RATE_HZ
    np.testing.assert_array_equal(small, large)


def test_packets_that_no_header_can_count_are_read_in_part_and_said(tmp_path, monkeypatch) -> None:
    """IMA ADPCM: 34 bytes for 64 samples."""
    data = bytes(34) * (3 * RATE_HZ // 64)
    path = aiff(tmp_path / "a.aifc", data, None, len(data) // 34, kind=b"ima4")
    assert read(path)[1:3] == (Status.OK, "")
    monkeypatch.setattr(pcm_data, "_AIFF_ROOM_BYTES", 34 * 300 + 200)
    other = path.rename(tmp_path / "b.aifc")
    _, status, reason, _ = read(other)
    assert status is Status.PARTIAL
    assert f"the file holds {len(data)}" in reason


@pytest.mark.parametrize(
    "name", ["whole.wav", "whole.w64", "whole.aiff", "whole.caf", "whole.au", "rf64.wav"]
)
def test_a_file_that_broke_off_is_partial(tmp_path, name: str) -> None:
    path = HONEST[name](tmp_path / name)
    path.write_bytes(path.read_bytes()[: -len(LITTLE) // 2])
    wave, status, reason, duration_s = read(path)
    assert status is Status.PARTIAL
    assert reason.startswith("read 1.50 of 3.00 s of sound: ")
    assert duration_s == pytest.approx(SECONDS / 2, abs=0.13)
    assert (np.flatnonzero(wave > 0.5) / RATE_HZ).tolist() == [0.5]


@pytest.mark.parametrize("n_chunks", [2, 3])
def test_a_file_that_broke_off_in_a_later_chunk_is_partial(tmp_path, n_chunks: int) -> None:
    parts = [LITTLE[k * len(LITTLE) // n_chunks // 2 * 2 :][: len(LITTLE) // n_chunks // 2 * 2]
             for k in range(n_chunks)]  # fmt: skip
    cut = b"data" + struct.pack("<I", len(parts[-1])) + parts[-1][: len(parts[-1]) // 4]
    tail = b"".join(chunk(b"data", part) for part in parts[1:-1]) + cut
    _, status, reason, _ = read(wav(tmp_path / "a.wav", parts[0], tail=tail))
    assert status is Status.PARTIAL
    read_s = SECONDS * (1 - 0.75 / n_chunks)
    assert f"read {read_s:.2f} of {SECONDS:.2f} s of sound" in reason


def test_packets_that_a_header_counts_too_low_are_said_to_be_unread(tmp_path) -> None:
    data = (b"\0\x10" + bytes(range(32))) * 1500
    path = aiff(tmp_path / "a.aifc", data, 34 * 500 + 8, 500, kind=b"ima4")
    _, status, reason, duration_s = read(path)
    assert status is Status.PARTIAL
    assert f"its header declares {34 * 500} bytes of sound, the file holds {len(data)}" in reason
    assert duration_s == pytest.approx(2.0, abs=0.01)


def test_room_taken_in_advance_is_not_looked_through_for_chunks(tmp_path) -> None:
    """FFmpeg takes every eight zero bytes for an empty chunk: a quarter second for a megabyte."""
    path = wav(tmp_path / "a.wav", LITTLE, tail=bytes(1 << 20))
    view = pcm_view(str(path))
    assert view is not None
    assert view.parts == ((44, 44 + len(LITTLE)),)
    assert read(path)[3] == pytest.approx(SECONDS, abs=0.01)


def test_a_recording_of_silence_whose_header_was_written_is_not_longer(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", LITTLE, tail=bytes(3 * RATE_HZ))
    view = pcm_view(str(path))
    assert view is not None
    assert view.remark == ""
    assert view.parts == ((44, 44 + len(LITTLE)),)


def test_parts_behind_the_declared_end_can_be_asked_for(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", LITTLE, SHORT)
    settings = DecodeSettings(ClipSettings(frame_size_px=32), LimitSettings())
    chunks = decode_clip(ClipSource("x", str(path), 2.5, 3.0), settings)
    wave = next(chunks).samples
    assert (np.flatnonzero(wave > 0.5) / RATE_HZ).tolist() == [0.25]


def test_the_view_reads_and_seeks_as_one_file(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", LITTLE[:SHORT], tail=chunk(b"data", LITTLE[SHORT:]))
    view = pcm_view(str(path))
    assert view is not None
    file = PcmFile(str(path), view)
    whole = file.read()
    assert whole == view.head + LITTLE
    for at in (0, 10, len(view.head) + SHORT - 3, len(whole) - 5):
        assert file.seek(at) == at
        assert file.read(8) == whole[at : at + 8]
    assert file.seek(-4, 2) == len(whole) - 4
    assert file.seek(2, 1) == len(whole) - 2
    file.close()


def test_files_of_other_kinds_are_left_alone(tmp_path) -> None:
    for name, data in (
        ("a.avi", b"RIFF\x10\0\0\0AVI " + bytes(8)),
        ("b", b"x"),
        ("c.wav", b"RIFF"),
    ):
        (tmp_path / name).write_bytes(data)
        assert pcm_view(str(tmp_path / name)) is None


@pytest.mark.parametrize(("kind", "bits", "valid"), [("<i4", 32, 24), ("<i4", 32, 16)])
def test_samples_with_fewer_valid_bits_than_they_take(tmp_path, kind, bits, valid) -> None:
    """FFmpeg 8.1 goes by the valid bits for the width of a sample; libsndfile reads them right."""
    wave = np.round(WAVE * (2 ** (valid - 1) - 1)).astype(kind) << (bits - valid)
    fmt = bytearray(odd_sound.form(1, RATE_HZ, kind, 4))
    struct.pack_into("<H", fmt, 18, valid)
    path = wav(tmp_path / "a.wav", wave.tobytes(), fmt=bytes(fmt))
    found, status, reason, _ = read(path)
    assert (status, reason) == (Status.OK, "")
    assert np.abs(found - WAVE).max() < 1e-4


@pytest.mark.parametrize(
    "name", ["short.wav", "rf64.wav", "short.w64", "short.aiff", "short.caf", "short.au"]
)
def test_headers_cut_off_or_damaged_end_in_no_traceback(tmp_path, name: str) -> None:
    path = LYING[name](tmp_path / name)
    whole = path.read_bytes()
    for length in range(4, 140):
        path.write_bytes(whole[:length])
        _lies_in_the_file(path)
    for place in range(4, 120):
        for value in (0, 0x7F, 0xFF):
            path.write_bytes(whole[:place] + bytes([value]) * 8 + whole[place + 8 :])
            _lies_in_the_file(path)


def _lies_in_the_file(path: Path) -> None:
    """The decoder is to say what is wrong: sound is taken from nowhere but the file."""
    view = pcm_view(str(path))
    size = path.stat().st_size
    assert view is None or all(0 <= begin <= end <= size for begin, end in view.parts)
